// Package configs is what an operator declares: the kinds Gateway and Tenant in YAML, with strict decoding, defaults,
// and checks within and across objects.
//
// [Load] finds every problem of a set of files at once, each with its file, line and column and with what would be
// right, and gives a [Config] only if there is none. What a file declares and the gateway cannot do yet is listed by
// [Config.Pending]. [Schema] describes the kinds to editors.
package configs

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Fabrikam holds, under fabrikam/, the reference deployment that examples, demo and tests use.
//
//go:embed fabrikam/*.yaml
var Fabrikam embed.FS

// APIVersion is the version of the kinds, which every document names.
const APIVersion = "bulkhead/v1"

// Kinds of objects.
const (
	kindGateway = "Gateway"
	kindTenant  = "Tenant"
)

// Config is a whole declaration: the gateway and its tenants, with defaults filled in.
type Config struct {
	Gateway *Gateway
	// Tenants by name.
	Tenants []*Tenant

	standing standing
}

// Tenant finds a tenant by name; nil if there is none.
func (c *Config) Tenant(name string) *Tenant {
	for _, t := range c.Tenants {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Load reads a whole declaration from files and folders. Of a folder it takes the files *.yaml and *.yml, not those in
// folders below it nor those whose names start with a dot. A file may hold several documents. A file NAME.policy holds
// statements of the tenant or gateway NAME ([ParseChange]), a line each, which come after the YAML. The error is [Problems]
// if the files could be read and what they declare cannot be taken; no Config is returned then.
func Load(paths ...string) (*Config, error) {
	files, err := list(paths)
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	var l loader
	var sources []source
	for _, file := range files {
		if filepath.Ext(file) == policyExt {
			p, err := newPolicyFile(file, &l.problems)
			if err != nil {
				return nil, fmt.Errorf("load configuration: %w", err)
			}
			l.check.files = append(l.check.files, p)
			continue
		}
		text, err := readSource(file)
		if err != nil {
			return nil, fmt.Errorf("load configuration: %w", err)
		}
		sources = append(sources, source{file: file, text: text})
	}
	return l.load(strings.Join(paths, ", "), sources)
}

// maxFile bounds a file of declarations, in bytes: some hundred thousand lookup records.
const maxFile = 64 << 20

// readSource reads a file, but not for ever.
func readSource(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes; split it", name, maxFile)
	}
	return text, nil
}

// list resolves folders to their files and leaves out repetitions.
func list(paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, errors.New("no file or folder given")
	}
	var files []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, p)
			continue
		}
		entries, err := os.ReadDir(p)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			ext := filepath.Ext(e.Name())
			if e.IsDir() || strings.HasPrefix(e.Name(), ".") || (ext != ".yaml" && ext != ".yml" && ext != policyExt) {
				continue
			}
			file := filepath.Join(p, e.Name())
			if info, err := os.Stat(file); err != nil {
				return nil, err
			} else if !info.Mode().IsRegular() {
				return nil, fmt.Errorf("%s is not a regular file; want one", file) // a pipe would block the daemon
			}
			files = append(files, file)
		}
	}
	return unique(files), nil
}

// unique leaves out files that were named before, by whatever path.
func unique(files []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(files, func(f string) bool {
		real, err := filepath.EvalSymlinks(f)
		if err != nil {
			real = f
		}
		if abs, err := filepath.Abs(real); err == nil {
			real = abs
		}
		defer func() { seen[real] = true }()
		return seen[real]
	})
}

// source is a file's content.
type source struct {
	file string
	text []byte
}

// loader gathers objects and problems.
type loader struct {
	problems Problems
	check    checker
	// unknown is set where a document could not be told to be of any kind, so that it may be the one that lacks.
	unknown bool
}

// load decodes and checks files; where names them all for problems that are of none of them.
func (l *loader) load(where string, sources []source) (*Config, error) {
	for _, s := range sources {
		docs, ok := parse(s.file, s.text, &l.problems)
		l.unknown = l.unknown || !ok
		for _, doc := range docs {
			l.document(doc)
		}
	}
	l.gateways(where)
	l.check.run()
	c := &Config{standing: standing{
		policies: map[string]*policy{}, ways: l.check.ways(), rewriters: l.check.rewriters,
	}}
	for _, f := range l.check.files {
		if f.err != nil {
			return nil, fmt.Errorf("load configuration: %w", f.err)
		}
		if !f.used && !l.unknown {
			message := "no tenant and no gateway is called %q; want a policy file named after one"
			if slices.ContainsFunc(l.check.files, func(o *policyFile) bool { return o.used && o.name() == f.name() }) {
				message = "a second policy file of %q; want its statements in one"
			}
			l.problems = append(l.problems, Problem{File: f.file, Message: fmt.Sprintf(message, f.name())})
		}
		if f.torn != "" {
			c.standing.torn = append(c.standing.torn, fmt.Sprintf("%s: its last line has no end and is left out, as torn when it "+
				"was written: %q", f.file, shorten(f.torn)))
		}
		if f.long {
			c.standing.long = append(c.standing.long, f)
		}
	}
	if len(l.problems) > 0 {
		return nil, l.problems.ordered()
	}
	for _, g := range l.check.gateways {
		c.Gateway = g.Gateway
	}
	for _, t := range l.check.tenants {
		c.Tenants = append(c.Tenants, t.Tenant)
		c.standing.policies[t.Name] = t.policy
	}
	return c, nil
}

// envelope is what every document has around its spec.
type envelope struct {
	// The version of the kinds.
	APIVersion apiVersion `yaml:"apiVersion" rule:"required"`
	// What the document declares: the one Gateway, or a Tenant.
	Kind kind `yaml:"kind" rule:"required"`
	// What the object is called.
	Metadata metadata `yaml:"metadata" rule:"required"`
	// What is declared of the object.
	Spec anything `yaml:"spec" rule:"required"`
}

type metadata struct {
	// The object's name: 1 to 63 of A-Z a-z 0-9 . _ -, starting with a letter or digit.
	Name string `yaml:"name" rule:"required"`
}

type apiVersion string

func (apiVersion) values() []string { return []string{APIVersion} }

type kind string

func (kind) values() []string { return []string{kindGateway, kindTenant} }

// anything is decoded elsewhere, by the kind.
type anything struct{}

func (*anything) decode(*decoder, *node, *path) {}

func (l *loader) document(doc *document) {
	d := &decoder{doc: doc, dir: filepath.Dir(doc.file)}
	var e envelope
	d.value(doc.root, nil, reflect.ValueOf(&e).Elem(), rules{})
	spec := doc.root.get("spec")
	switch string(e.Kind) {
	case kindGateway:
		g := &Gateway{Name: e.Metadata.Name}
		l.check.gateways = append(l.check.gateways, gatewayDoc{g, doc})
		if spec != nil {
			d.value(spec, at(), reflect.ValueOf(g).Elem(), rules{})
		}
		g.setDefaults()
	case kindTenant:
		t := &Tenant{Name: e.Metadata.Name}
		l.check.tenants = append(l.check.tenants, tenantDoc{Tenant: t, doc: doc})
		if spec != nil {
			d.value(spec, at(), reflect.ValueOf(t).Elem(), rules{})
		}
	default:
		l.unknown = true
	}
}

// string is the text of a node; empty if there is none.
func (n *node) string() string {
	if n == nil || n.kind != textNode {
		return ""
	}
	return shorten(n.text)
}

// gateways holds the declaration to exactly one Gateway.
func (l *loader) gateways(where string) {
	switch gs := l.check.gateways; {
	case len(gs) == 0 && !l.unknown:
		l.problems = append(l.problems, Problem{File: where,
			Message: "no document of kind Gateway here; want exactly one, as in fabrikam/gateway.yaml"})
	case len(gs) > 1:
		for _, g := range gs[1:] {
			g.doc.bad((*path)(nil).key("kind"), "a second Gateway besides %s; want exactly one",
				gs[0].doc.place((*path)(nil).key("kind")))
		}
	}
}
