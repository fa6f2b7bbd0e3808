package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const bgpKeys = "../docs/bgp-keys.md"

// TestEveryKeyOfARouterIsDocumentedWithItsDefault holds the page to the schema.
func TestEveryKeyOfARouterIsDocumentedWithItsDefault(t *testing.T) {
	rows := map[string]string{} // left out, by section and key
	section := ""
	for line := range strings.Lines(string(readFile(t, bgpKeys))) {
		if m := regexp.MustCompile("^## .*`(bgp[a-z.]*)`").FindStringSubmatch(line); m != nil {
			section = m[1]
		}
		cells := strings.Split(line, " | ")
		if len(cells) < 3 || !strings.HasPrefix(line, "| `") {
			continue
		}
		for key := range strings.SplitSeq(strings.Trim(cells[0], "| "), ", ") {
			rows[section+"."+strings.Trim(key, "`")] = strings.Trim(cells[1], "`")
		}
	}
	defs, specs := kindSchemas(t)
	seen := 0
	walk(specs[kindTenant], defs, "", func(where string, s schemaObject) {
		for name, p := range s["properties"].(schemaObject) {
			key := strings.ReplaceAll(where+"."+name, "[]", "")
			key = strings.Replace(key, "bgp.policies.statements.", "bgp.policies.", 1)
			got, ok := rows[key]
			delete(rows, key)
			property := p.(schemaObject)
			items, _ := property["items"].(schemaObject)
			switch {
			case !strings.HasPrefix(key, "bgp.") || strings.HasPrefix(key, "bgp.peers.password."):
				continue
			case property["$ref"] != nil || items["$ref"] != nil || key == "bgp.policies.name":
				continue // the keys below stand there, or the text tells
			}
			seen++
			want := fmt.Sprint(property["default"])
			if !ok || property["default"] != nil && got != want {
				t.Errorf("%s: the page has %q, the schema %q", key, got, want)
			}
		}
	})
	if len(rows) > 0 || seen < 40 {
		t.Errorf("of %d keys these of the page are none: %v", seen, rows)
	}
}

// TestDocumentedRouterLoads puts the page's router in the place of the reference deployment's.
func TestDocumentedRouterLoads(t *testing.T) {
	m := regexp.MustCompile("(?s)```yaml woodgrove\n(.*?)```").FindStringSubmatch(string(readFile(t, bgpKeys)))
	if m == nil {
		t.Fatalf("%s has no router", bgpKeys)
	}
	woodgrove := string(readFile(t, "fabrikam/woodgrove.yaml"))
	before, rest, _ := strings.Cut(woodgrove, "  bgp:\n")
	_, after, _ := strings.Cut(rest, "  remoteAccess:\n")
	router := "  " + strings.ReplaceAll(strings.TrimSpace(m[1]), "\n", "\n  ") + "\n"
	dir := t.TempDir()
	for name, text := range map[string]string{
		"woodgrove.yaml": before + router + "  remoteAccess:\n" + after, "ny.md5": "a secret\n",
		"gateway.yaml": string(readFile(t, "fabrikam/gateway.yaml")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if b := c.Tenants[0].BGP; len(b.Policies) != 2 || len(b.Peers) != 2 || string(b.Peers[0].Password.Reveal()) != "a secret" {
		t.Errorf("the router is %+v", b)
	}
	if w := c.Warnings(); len(w) != 0 {
		t.Errorf("the documented router has the warnings %q", w)
	}
}
