package configs

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth bounds the nesting of a document. What is declared nests to 6.
const maxDepth = 64

// document is one YAML document and the object that it declares.
type document struct {
	file     string
	kind     string // empty until known
	name     string
	root     *node
	problems *Problems
}

// object is how messages name the document: "Tenant/Contoso".
func (d *document) object() string {
	if d.kind == "" || d.name == "" {
		return d.kind
	}
	return d.kind + "/" + d.name
}

// bad notes a problem of the value at p, or of what stands nearest above it.
func (d *document) bad(p *path, format string, args ...any) {
	n := d.find(p)
	d.badAt(n.line, n.column, p, fmt.Sprintf(format, args...))
}

func (d *document) badAt(line, column int, p *path, message string) {
	where := strings.TrimSpace(d.object() + " " + p.String())
	*d.problems = append(*d.problems,
		Problem{File: d.file, Line: max(line, 1), Column: max(column, 1), Path: where, Message: message})
}

// find is the value at p, or the nearest above it that exists.
func (d *document) find(p *path) *node {
	n := d.root
	for _, s := range p.steps() {
		var next *node
		switch {
		case s.name != "":
			next = n.get(s.name)
		case s.index < len(n.items):
			next = n.items[s.index]
		}
		if next == nil {
			break
		}
		n = next
	}
	return n
}

// has tells whether the file itself gives a value at p.
func (d *document) has(p *path) bool {
	n := d.root
	for _, s := range p.steps() {
		switch {
		case s.name != "":
			n = n.get(s.name)
		case n != nil && s.index < len(n.items):
			n = n.items[s.index]
		default:
			return false
		}
	}
	return n != nil && n.kind != nullNode
}

// place names the value at p for a message about another one that clashes with it.
func (d *document) place(p *path) string {
	n := d.find(p)
	return fmt.Sprintf("%s %s (%s:%d)", d.object(), p, d.file, n.line)
}

// parse splits a file into its documents. Empty ones are left out. What is not YAML is noted as a problem of its own,
// and ok is false then.
func parse(file string, text []byte, problems *Problems) (docs []*document, ok bool) {
	ok = true
	for _, part := range split(strings.TrimPrefix(string(text), "\ufeff")) {
		doc := &document{file: file, problems: problems}
		line, column, err := doc.parse(part)
		if err != nil {
			doc.badAt(line, column, nil, "not YAML: "+err.Error())
			ok = false
		} else if doc.root != nil {
			docs = append(docs, doc)
		}
	}
	return docs, ok
}

// part is the text of a document and the lines before it in the file.
type part struct {
	text   string
	offset int
}

// split cuts a file at its document markers. The parser's own splitting loses documents that follow an empty one, and
// nothing that is declared may be lost. A line that starts with a marker is one wherever it stands (YAML 1.2.2, 9.1.4).
func split(text string) []part {
	var parts []part
	lines := strings.SplitAfter(text, "\n")
	start := 0
	for i, line := range lines {
		if rest, ok := marker(line); ok {
			parts = append(parts, part{text: strings.Join(lines[start:i], ""), offset: start})
			lines[i] = "   " + rest // what follows the marker on its line belongs to the document
			start = i
		}
	}
	return append(parts, part{text: strings.Join(lines[start:], ""), offset: start})
}

// marker tells whether a line starts or ends a document, and gives what follows the marker.
func marker(line string) (rest string, ok bool) {
	for _, m := range []string{"---", "..."} {
		rest, ok := strings.CutPrefix(line, m)
		if ok && (rest == "" || strings.ContainsRune(" \t\r\n", rune(rest[0]))) {
			return rest, true
		}
	}
	return "", false
}

// parse reads one document; root stays nil if it is empty. The place is that of the error.
func (d *document) parse(p part) (line, column int, err error) {
	// The parser is a large piece of code with a history of panics on malformed text, which must not take the
	// daemon, and every tenant's configuration with it, down.
	defer func() {
		if r := recover(); r != nil {
			line, column, err = p.offset+1, 1, errors.New("the parser gave up on this document")
		}
	}()
	tokens := lexer.Tokenize(p.text)
	if tk := tooDeep(tokens); tk != nil {
		return tk.Position.Line + p.offset, tk.Position.Column, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return syntaxError(err, p.offset)
	}
	body, err := onlyBody(file)
	if err != nil {
		return p.offset + 1, 1, err
	}
	if body == nil {
		if blank(p.text) {
			return 0, 0, nil
		}
		return p.offset + 1, 1, errors.New("no value in this document")
	}
	var notes []func() // kept until the object's name is known
	c := &converter{offset: p.offset, anchors: map[string]*node{}}
	c.bad = func(line, column int, p *path, message string) {
		notes = append(notes, func() { d.badAt(line, column, p, message) })
	}
	d.root = c.node(body, nil)
	d.kind = d.root.get("kind").string()
	d.name = d.root.get("metadata").get("name").string()
	for _, note := range notes {
		note()
	}
	return 0, 0, nil
}

func onlyBody(file *ast.File) (ast.Node, error) {
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case doc.Body.Type() == ast.DirectiveType:
			return nil, errors.New("directives are not taken")
		case doc.Body.Type() == ast.CommentType:
		case body != nil:
			return nil, errors.New("several values without a --- between them")
		default:
			body = doc.Body
		}
	}
	return body, nil
}

// blank tells whether a text holds comments and white space only.
func blank(text string) bool {
	for line := range strings.Lines(text) {
		if s := strings.TrimSpace(line); s != "" && !strings.HasPrefix(s, "#") {
			return false
		}
	}
	return true
}

// syntaxError is the parser's error without its excerpt of the file, which might show a secret.
func syntaxError(err error, offset int) (line, column int, _ error) {
	var syntax yaml.Error
	if !errors.As(err, &syntax) {
		return offset + 1, 1, errors.New("the parser cannot read this document")
	}
	line, column = offset+1, 1
	if tk := syntax.GetToken(); tk != nil && tk.Position != nil {
		line, column = tk.Position.Line+offset, max(tk.Position.Column, 1)
	}
	// What follows a quotation mark is text of the file.
	message, _, _ := strings.Cut(syntax.GetMessage(), `"`)
	return line, column, errors.New(cmp.Or(strings.TrimRight(message, ": "), "unexpected text"))
}

// tooDeep finds where brackets or indicators of one line nest deeper than maxDepth. The parser calls itself once a
// level, so this bounds its stack and its time.
func tooDeep(tokens token.Tokens) *token.Token {
	flow, block, line := 0, 0, 0
	for _, tk := range tokens {
		if tk.Position == nil {
			continue
		}
		if tk.Position.Line != line {
			line, block = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			block++
		}
		// A flow list on one line may hold many anchors, so indicators count outside of brackets only.
		if flow > maxDepth || flow == 0 && block > maxDepth {
			return tk
		}
	}
	return nil
}
