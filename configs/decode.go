package configs

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// decoder fills typed values from the nodes of one document. It notes every problem and carries on; a value with a
// problem keeps its zero value, which the checks pass over.
type decoder struct {
	doc *document
	dir string // where relative file names in the document start
}

// custom is a type that decodes itself, for values with more than one form.
type custom interface {
	decode(d *decoder, n *node, p *path)
}

// enum is a text type with a fixed set of values.
type enum interface {
	values() []string
}

// value decodes n into v as the rules of its field say.
func (d *decoder) value(n *node, p *path, v reflect.Value, r rules) {
	if n.kind == brokenNode {
		return
	}
	if n.kind == nullNode && !plainList(v) {
		d.doc.bad(p, "has no value; give one or leave the key out")
		return
	}
	if c, ok := v.Addr().Interface().(custom); ok {
		c.decode(d, n, p)
		return
	}
	if s, ok := scalars[v.Type()]; ok {
		d.scalar(n, p, v, r, s)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, p, v.Elem(), r)
	case reflect.Struct:
		d.structure(n, p, v)
	case reflect.Slice:
		d.list(n, p, v, r)
	case reflect.String:
		d.text(n, p, v)
	case reflect.Bool:
		value, _ := d.boolean(n, p)
		v.SetBool(value)
	case reflect.Int, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.integer(n, p, v, r)
	default:
		panic("configs: no way to decode " + v.Type().String())
	}
}

// is notes a problem unless the node is of the kind wanted.
func (d *decoder) is(n *node, p *path, want nodeKind) bool {
	if n.kind == want {
		return true
	}
	hint := ""
	switch {
	case want == textNode && (n.kind == numberNode || n.kind == boolNode || n.kind == mappingNode && len(n.entries) == 1):
		hint = "; put it in quotes if it is meant as text" // A:B in brackets is a mapping to the parser
	case want == listNode && (n.kind == textNode || n.kind == numberNode):
		hint = "; put it in brackets if it is the only item"
	}
	d.doc.bad(p, "is %s, want %s%s", n.kind, want, hint)
	return false
}

func (d *decoder) structure(n *node, p *path, v reflect.Value) {
	fields := fieldsOf(v.Type())
	if n.kind != mappingNode && len(fields) < 6 {
		d.doc.bad(p, "is %s, want a mapping with the keys %s", n.kind, strings.Join(names(fields), ", "))
		return
	}
	if !d.is(n, p, mappingNode) {
		return
	}
	known := map[string]bool{}
	for _, f := range fields {
		known[f.name] = true
	}
	for _, e := range n.entries {
		if !known[e.key.text] {
			d.unknownKey(e.key, p, fields)
		}
	}
	for _, f := range fields {
		d.field(n, p, v.FieldByIndex(f.index), f)
	}
}

func (d *decoder) field(n *node, p *path, v reflect.Value, f field) {
	child := n.get(f.name)
	switch {
	case child != nil:
		d.value(child, p.key(f.name), v, f.rules)
		if f.required && emptyList(child, v) {
			d.doc.bad(p.key(f.name), "is empty, want at least one item")
		}
	case f.required:
		d.doc.bad(p, "lacks the key %q", f.name)
	case f.fallback != "":
		d.value(&node{kind: fallbackKind(v.Kind()), text: f.fallback}, p.key(f.name), v, f.rules)
	case v.Kind() == reflect.Struct && hasFallbacks(v.Type()):
		d.structure(&node{kind: mappingNode}, p.key(f.name), v)
	}
}

// plainList tells whether v is a list as such, which may be left empty by giving its key no value.
func plainList(v reflect.Value) bool {
	_, isCustom := v.Addr().Interface().(custom)
	_, isScalar := scalars[v.Type()]
	return v.Kind() == reflect.Slice && !isCustom && !isScalar
}

func emptyList(n *node, v reflect.Value) bool {
	return n.kind == listNode && len(n.items) == 0 || n.kind == nullNode && plainList(v)
}

func fallbackKind(k reflect.Kind) nodeKind {
	switch k {
	case reflect.Int, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return numberNode
	}
	return textNode
}

// names lists the keys of fields.
func names(fields []field) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.name
	}
	return list
}

func (d *decoder) unknownKey(key *node, p *path, fields []field) {
	message := fmt.Sprintf("unknown key %q", shorten(key.text))
	if near := nearest(key.text, names(fields)); near != "" {
		message += fmt.Sprintf("; did you mean %q?", near)
	} else {
		message += "; known here: " + strings.Join(names(fields), ", ")
	}
	d.doc.badAt(key.line, key.column, p, message)
}

func (d *decoder) list(n *node, p *path, v reflect.Value, r rules) {
	if n.kind == nullNode || !d.is(n, p, listNode) {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		d.value(item, p.item(i), v.Index(i), r)
	}
}

func (d *decoder) text(n *node, p *path, v reflect.Value) {
	if e, ok := v.Interface().(enum); ok && n.kind != textNode {
		d.doc.bad(p, "is %s, want %s", n.kind, strings.Join(e.values(), ", "))
		return
	}
	if !d.is(n, p, textNode) {
		return
	}
	if n.text == "" {
		d.doc.bad(p, "is empty; give a value or leave the key out")
		return
	}
	if e, ok := v.Interface().(enum); ok {
		d.enum(n, p, v, e.values())
		return
	}
	v.SetString(n.text)
}

func (d *decoder) enum(n *node, p *path, v reflect.Value, values []string) {
	for _, want := range values {
		if n.text == want {
			v.SetString(want)
			return
		}
	}
	d.doc.bad(p, "%q is none of %s", shorten(n.text), strings.Join(values, ", "))
}

func (d *decoder) integer(n *node, p *path, v reflect.Value, r rules) {
	if n.kind != numberNode {
		d.doc.bad(p, "is %s, want a number from %d to %d", n.kind, r.min, r.max)
		return
	}
	// Digits only: YAML's 0x, 0o and _ forms mean different numbers to different readers.
	i, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil || strconv.FormatInt(i, 10) != n.text || i < r.min || i > r.max {
		d.doc.bad(p, "%s is not a number from %d to %d in plain digits", shorten(n.text), r.min, r.max)
		return
	}
	if v.CanInt() {
		v.SetInt(i)
	} else {
		v.SetUint(uint64(i))
	}
}

func (d *decoder) boolean(n *node, p *path) (value, ok bool) {
	if n.kind != boolNode || n.text != "true" && n.text != "false" {
		d.doc.bad(p, "is %s, want true or false without quotes", n.kind)
		return false, false
	}
	return n.text == "true", true
}

func (d *decoder) scalar(n *node, p *path, v reflect.Value, r rules, s scalar) {
	number := n.kind == numberNode && (s.numbers || s.bare)
	if !number && !d.is(n, p, textNode) {
		return
	}
	value, err := s.parse(n.text, r)
	if err != nil {
		d.doc.bad(p, "%q %v", shorten(n.text), err)
		return
	}
	v.Set(reflect.ValueOf(value))
}

// shorten keeps a message on one readable line, whatever the file holds.
func shorten(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}

// nearest is the candidate that a person who typed word most likely meant; empty if none is near.
func nearest(word string, candidates []string) string {
	best, least := "", 3
	for _, c := range candidates {
		if n := distance(strings.ToLower(shorten(word)), strings.ToLower(c)); n < least && n < len(c)/2+1 {
			best, least = c, n
		}
	}
	return best
}

// distance is the Levenshtein distance of two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
