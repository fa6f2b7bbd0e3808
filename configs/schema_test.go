package configs

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// schemaObject is an object of a JSON Schema.
type schemaObject = map[string]any

func parsedSchema(t *testing.T) schemaObject {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var root schemaObject
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatalf("the schema is not JSON: %v", err)
	}
	return root
}

// walk visits every object schema below s, with the definitions that it refers to put in place.
func walk(s, defs schemaObject, where string, visit func(where string, s schemaObject)) {
	if ref, ok := s["$ref"].(string); ok {
		s = defs[strings.TrimPrefix(ref, "#/$defs/")].(schemaObject)
	}
	if properties, ok := s["properties"].(schemaObject); ok {
		visit(where, s)
		for name, p := range properties {
			walk(p.(schemaObject), defs, strings.TrimPrefix(where+"."+name, "."), visit)
		}
	}
	if items, ok := s["items"].(schemaObject); ok {
		walk(items, defs, where+"[]", visit)
	}
	forms, _ := s["oneOf"].([]any)
	for _, form := range forms {
		walk(form.(schemaObject), defs, where, visit)
	}
}

// kindSchemas gives the schema of each kind's spec.
func kindSchemas(t *testing.T) (defs schemaObject, specs map[string]schemaObject) {
	t.Helper()
	root := parsedSchema(t)
	specs = map[string]schemaObject{}
	for _, branch := range root["allOf"].([]any) {
		b := branch.(schemaObject)
		kind := b["if"].(schemaObject)["properties"].(schemaObject)["kind"].(schemaObject)["const"].(string)
		specs[kind] = b["then"].(schemaObject)["properties"].(schemaObject)["spec"].(schemaObject)
	}
	return root["$defs"].(schemaObject), specs
}

// TestSchemaAndDecoderTakeTheSameKeys asks the decoder about every key of the schema, and the schema about every key
// that the decoder names when it meets an unknown one.
func TestSchemaAndDecoderTakeTheSameKeys(t *testing.T) {
	defs, specs := kindSchemas(t)
	objects := 0
	for kind, spec := range specs {
		walk(spec, defs, "", func(where string, s schemaObject) {
			objects++
			if s["additionalProperties"] != false {
				t.Errorf("%s %s: the schema takes unknown keys", kind, where)
			}
			want := slices.Sorted(maps.Keys(s["properties"].(schemaObject)))
			if diff := cmp.Diff(want, decoderKeys(kind, where)); diff != "" {
				t.Errorf("%s %s: keys differ (-schema +decoder):\n%s", kind, where, diff)
			}
		})
	}
	if objects < 25 {
		t.Errorf("only %d objects found in the schema", objects)
	}
}

// decoderKeys learns from the decoder's own messages which keys it takes at a place.
func decoderKeys(kind, where string) []string {
	probe := &node{kind: mappingNode, entries: []entry{{key: textOf("zzzzzzzzzzzz"), value: textOf("x")}}}
	if i := strings.LastIndex(where, "."); slices.Contains(secretKeys, strings.Trim(where[i+1:], "[]")) {
		return slices.Sorted(slices.Values(sources)) // these messages name no keys, so that they show no secret
	}
	spec := probe
	parts := strings.Split(where, ".")
	slices.Reverse(parts)
	for _, part := range parts {
		if part == "" {
			continue
		}
		name, isList := strings.CutSuffix(part, "[]")
		if isList {
			spec = &node{kind: listNode, items: []*node{spec}}
		}
		spec = &node{kind: mappingNode, entries: []entry{{key: textOf(name), value: spec}}}
	}
	var problems Problems
	root := &node{kind: mappingNode, entries: []entry{{key: textOf("spec"), value: spec}}}
	d := &decoder{doc: &document{root: root, problems: &problems}}
	target := map[string]any{kindGateway: &Gateway{}, kindTenant: &Tenant{}}[kind]
	d.value(spec, at(), reflect.ValueOf(target).Elem(), rules{})
	for _, p := range problems {
		if _, list, ok := strings.Cut(p.Message, `"zzzzzzzzzzzz"; known here: `); ok {
			return slices.Sorted(slices.Values(strings.Split(list, ", ")))
		}
	}
	return nil
}

var secretKeys = []string{
	"sharedSecret", "password", "secret", "privateKey", "certificate", "certificateAuthorities",
	"previousSharedSecret", "revocationLists",
}

func textOf(s string) *node { return &node{kind: textNode, text: s} }

func TestSchemaDescribesEveryKey(t *testing.T) {
	defs, specs := kindSchemas(t)
	for kind, spec := range specs {
		walk(spec, defs, "", func(where string, s schemaObject) {
			if i := strings.LastIndex(where, "."); slices.Contains(secretKeys, strings.Trim(where[i+1:], "[]")) {
				return // value, file and env speak for themselves
			}
			for name, p := range s["properties"].(schemaObject) {
				if description, _ := p.(schemaObject)["description"].(string); len(description) < 10 {
					t.Errorf("%s %s.%s has no description", kind, where, name)
				}
			}
		})
	}
}

// TestEveryKeyIsLoadedByATest holds testdata/everything to its name.
func TestEveryKeyIsLoadedByATest(t *testing.T) {
	found := map[string]bool{}
	for _, file := range []string{"testdata/everything/gateway.yaml", "testdata/everything/tenants.yml"} {
		var problems Problems
		docs, _ := parse(file, readFile(t, file), &problems)
		for _, doc := range docs {
			collect(doc.root.get("spec"), doc.kind, found)
		}
	}
	defs, specs := kindSchemas(t)
	for kind, spec := range specs {
		walk(spec, defs, kind, func(where string, s schemaObject) {
			for name := range s["properties"].(schemaObject) {
				if key := where + "." + name; !found[key] && !slices.Contains(sources, name) {
					t.Errorf("%s does not stand in testdata/everything", key)
				}
			}
		})
	}
}

func collect(n *node, where string, found map[string]bool) {
	found[where] = true
	for _, e := range n.entries {
		collect(e.value, where+"."+e.key.text, found)
	}
	for _, item := range n.items {
		collect(item, where+"[]", found)
	}
}

func TestSchemaOfTheEnvelopeNamesVersionAndKinds(t *testing.T) {
	root := parsedSchema(t)
	if root["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("the schema is of dialect %v", root["$schema"])
	}
	properties := root["properties"].(schemaObject)
	if diff := cmp.Diff([]any{APIVersion}, properties["apiVersion"].(schemaObject)["enum"]); diff != "" {
		t.Errorf("apiVersion differs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{"Gateway", "Tenant"}, properties["kind"].(schemaObject)["enum"]); diff != "" {
		t.Errorf("kind differs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{"apiVersion", "kind", "metadata", "spec"}, root["required"]); diff != "" {
		t.Errorf("required keys differ (-want +got):\n%s", diff)
	}
}
