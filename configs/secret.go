package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxSource bounds what a file named in a declaration may hold, in bytes.
const maxSource = 1 << 20

// hidden is all that a secret prints.
const hidden = "(secret)"

// Secret is a secret that a file gives by value, or by the name of a file or of an environment variable that holds it.
// However it is printed or encoded, it shows as "(secret)". The zero value holds nothing.
type Secret struct {
	// The content hides behind a pointer, so that a printer that cannot call the methods below shows an address. It is
	// text since fmt follows pointers to slices and structs.
	content *string
}

// NewSecret makes a secret of its content.
func NewSecret(content []byte) Secret {
	text := string(content)
	return Secret{content: &text}
}

// Reveal is the secret itself.
func (s Secret) Reveal() []byte {
	if s.content == nil {
		return nil
	}
	return []byte(*s.content)
}

// IsZero tells whether there is no secret.
func (s Secret) IsZero() bool { return s.content == nil || *s.content == "" }

// Equal tells whether both secrets hold the same.
func (s Secret) Equal(o Secret) bool { return bytes.Equal(s.Reveal(), o.Reveal()) }

// String hides the secret.
func (s Secret) String() string { return hidden }

// GoString hides the secret.
func (s Secret) GoString() string { return hidden }

// Format hides the secret, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalJSON hides the secret.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalYAML hides the secret.
func (s Secret) MarshalYAML() (any, error) { return hidden, nil }

func (s *Secret) decode(d *decoder, n *node, p *path) {
	if content, ok := d.source(n, p, withoutLineEnd); ok {
		*s = NewSecret(content)
	}
}

func (Secret) forms() []any { return []any{sourceSchema()} }

// sources are the keys that a secret or certificate can come from.
var sources = []string{"value", "file", "env"}

// sourceSchema is the JSON Schema of value, file or env.
func sourceSchema() map[string]any {
	properties := map[string]any{}
	for _, s := range sources {
		properties[s] = map[string]any{"type": "string", "minLength": 1}
	}
	return map[string]any{
		"type": "object", "properties": properties, "additionalProperties": false,
		"minProperties": 1, "maxProperties": 1,
	}
}

// How a file is read: whole, or without the line end that editors put behind the last line.
const (
	asItIs         = false
	withoutLineEnd = true
)

// source reads what {value}, {file} or {env} stands for. Its messages show nothing of what the file says here: a
// secret may stand in any wrong place.
func (d *decoder) source(n *node, p *path, trim bool) ([]byte, bool) {
	const want = "want one of {value: TEXT}, {file: PATH}, {env: VARIABLE}"
	if n.kind != mappingNode {
		d.doc.bad(p, "is %s, %s", n.kind, want)
		return nil, false
	}
	if len(n.entries) != 1 {
		d.doc.bad(p, "has %d keys, %s", len(n.entries), want)
		return nil, false
	}
	from, value := n.entries[0].key.text, n.entries[0].value
	switch from {
	case "value", "file", "env":
	default:
		d.doc.bad(p, "has an unknown key, %s", want)
		return nil, false
	}
	if !d.is(value, p.key(from), textNode) {
		return nil, false
	}
	content, err := d.read(from, value.text)
	if from == "file" && trim {
		content = bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
	}
	if err == nil && len(content) == 0 {
		err = errors.New("holds nothing; want it to hold what it is for")
	}
	if err != nil {
		d.doc.bad(p.key(from), "%v", err)
		return nil, false
	}
	return content, true
}

func (d *decoder) read(from, value string) ([]byte, error) {
	switch from {
	case "file":
		return d.readFile(value)
	case "env":
		content, ok := os.LookupEnv(value)
		if !ok {
			return nil, errors.New("the environment has no variable of this name; want it set where the files are loaded")
		}
		return []byte(content), nil
	}
	return []byte(value), nil
}

// readFile reads a file; a relative name starts where the document is.
func (d *decoder) readFile(name string) ([]byte, error) {
	if strings.ContainsRune(name, 0) {
		return nil, errors.New("is not the name of a file")
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(d.dir, name)
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file; want one") // a pipe would block, a device never end
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w; want a file that is there and readable", errors.Unwrap(err))
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSource+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", errors.Unwrap(err))
	}
	if len(content) > maxSource {
		return nil, fmt.Errorf("is larger than %d bytes; want a smaller file", maxSource)
	}
	return content, nil
}
