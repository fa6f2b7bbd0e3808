package configs

import (
	"embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
)

// sourceCode holds the types, whose comments are the descriptions in the schema.
//
//go:embed bgp.go bgp_policy.go gateway.go ike.go tenant.go records.go sitetosite.go services.go configs.go secret.go
var sourceCode embed.FS

// Schema is the JSON Schema (2020-12) of a document of any kind, for editors to complete and check by. It follows from
// the types that the decoder fills, so both take the same keys.
func Schema() ([]byte, error) {
	comments, err := readComments()
	if err != nil {
		return nil, fmt.Errorf("make JSON Schema: %w", err)
	}
	g := &schemaGenerator{comments: comments, defs: map[string]any{}}
	root := g.object(reflect.TypeFor[envelope]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Bulkhead " + APIVersion
	root["allOf"] = []any{
		g.kind(kindGateway, reflect.TypeFor[Gateway]()),
		g.kind(kindTenant, reflect.TypeFor[Tenant]()),
	}
	root["$defs"] = g.defs
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("make JSON Schema: %w", err)
	}
	return append(out, '\n'), nil
}

// alternative is a type that takes other forms besides that of its Go type, or instead of it if that is no struct or
// list of its own.
type alternative interface {
	forms() []any
}

type schemaGenerator struct {
	comments map[string]string // by Type.Field
	defs     map[string]any
}

// kind says that documents of a kind have the kind's spec.
func (g *schemaGenerator) kind(name string, t reflect.Type) map[string]any {
	return map[string]any{
		"if":   map[string]any{"properties": map[string]any{"kind": map[string]any{"const": name}}},
		"then": map[string]any{"properties": map[string]any{"spec": g.value(t, rules{})}},
	}
}

// value is the schema of a type. Structs are defined once and referred to.
func (g *schemaGenerator) value(t reflect.Type, r rules) map[string]any {
	if a, ok := reflect.Zero(t).Interface().(alternative); ok {
		return g.alternatives(t, a)
	}
	if t == reflect.TypeFor[anything]() {
		return map[string]any{}
	}
	if s, ok := scalars[t]; ok {
		return scalarSchema(s)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.value(t.Elem(), r)
	case reflect.Slice:
		return map[string]any{"type": "array", "items": g.value(t.Elem(), r)}
	case reflect.Struct:
		if _, ok := g.defs[t.Name()]; !ok {
			g.defs[t.Name()] = nil // a type that holds itself ends here
			g.defs[t.Name()] = g.object(t)
		}
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	case reflect.String:
		if e, ok := reflect.Zero(t).Interface().(enum); ok {
			return map[string]any{"enum": e.values()}
		}
		return map[string]any{"type": "string", "minLength": 1}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	}
	return map[string]any{"type": "integer", "minimum": r.min, "maximum": r.max}
}

func scalarSchema(s scalar) map[string]any {
	out := map[string]any{"type": "string", "minLength": 1, "description": s.want}
	if s.numbers {
		out["type"] = []string{"string", "integer"}
	}
	return out
}

func (g *schemaGenerator) alternatives(t reflect.Type, a alternative) map[string]any {
	forms := a.forms()
	switch t {
	case reflect.TypeFor[Bandwidth]():
		forms = append(forms, g.object(t))
	case reflect.TypeFor[NATAddresses]():
		forms = append(forms, map[string]any{"type": "array", "minItems": 1, "items": g.value(t.Elem(), rules{})})
	}
	if len(forms) == 1 {
		return forms[0].(map[string]any)
	}
	return map[string]any{"oneOf": forms}
}

// object is the schema of a struct.
func (g *schemaGenerator) object(t reflect.Type) map[string]any {
	properties := map[string]any{}
	var required []string
	for _, f := range fieldsOf(t) {
		properties[f.name] = g.property(f)
		if f.required {
			required = append(required, f.name)
		}
	}
	out := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

func (g *schemaGenerator) property(f field) map[string]any {
	p := g.value(f.typ, f.rules)
	if p["type"] == "array" {
		if f.required {
			p["minItems"] = 1
		} else {
			p["type"] = []string{"array", "null"} // a key whose items are all commented out
		}
	}
	description := g.comments[f.owner+"."+f.goName]
	if want, ok := p["description"].(string); ok && description != "" {
		description += " (" + want + ")"
	}
	if description != "" {
		p["description"] = description
	}
	if f.fallback != "" {
		p["default"] = f.fallback
		if p["type"] == "integer" {
			p["default"] = json.Number(f.fallback)
		}
	}
	return p
}

// readComments finds the comments of struct fields in the package's own source.
func readComments() (map[string]string, error) {
	comments := map[string]string{}
	files, err := sourceCode.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := sourceCode.ReadFile(f.Name())
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), text, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				fieldComments(spec, comments)
			}
			return true
		})
	}
	return comments, nil
}

func fieldComments(spec *ast.TypeSpec, comments map[string]string) {
	structure, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range structure.Fields.List {
		for _, name := range f.Names {
			comments[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
		}
	}
}
