package configs_test

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bulkhead/configs"
)

// examples are the policy files in docs/policy.md, by name.
func examples(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```policy (\\S+)\n(.*?)```").FindAllStringSubmatch(read(t, "../docs/policy.md"), -1) {
		files[m[1]] = m[2]
	}
	return files
}

// besideFabrikam is a folder with the reference deployment.
func besideFabrikam(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	sub, err := fs.Sub(configs.Fabrikam, "fabrikam")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, sub); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestEveryExampleOfTheDocumentedPolicyWorks loads the documented policy files, and makes the same of them at run time. They
// have every statement that the table names.
func TestEveryExampleOfTheDocumentedPolicyWorks(t *testing.T) {
	files := examples(t)
	if len(files) != 3 {
		t.Fatalf("docs/policy.md has %d examples, want those of Contoso, Woodgrove and GW-VM", len(files))
	}
	dir := besideFabrikam(t)
	running, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, name := range []string{"GW-VM", "Contoso", "Woodgrove"} { // a record goes by a provider route
		write(t, dir, name+".policy", files[name])
		var statements []string
		for line := range strings.Lines(files[name]) {
			statement, _, _ := strings.Cut(line, "#")
			if statement = strings.TrimSpace(statement); statement == "" {
				continue
			}
			statements = append(statements, statement)
			words = append(words, form(statement))
		}
		if err := running.Change(name, parse(t, statements...), func() error { return nil }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	loaded, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	wantPolicy(t, loaded, policyOf(running)...)
	table := regexp.MustCompile("`((?:no )?(?:[a-z]+-(?:record|route|address|peer)|interface)[^`]*)`").FindAllStringSubmatch(read(t, "../docs/policy.md"), -1)
	if len(table) < 10 {
		t.Fatalf("docs/policy.md names %d statements", len(table))
	}
	for _, m := range table {
		if !slices.Contains(words, form(m[1])) {
			t.Errorf("no example of %q", m[1])
		}
	}
}

// form is the words that tell what a statement is.
func form(statement string) string {
	words := strings.Fields(statement)
	if i := slices.Index(words, "interface"); i >= 0 {
		return strings.Join(words[:i+1], " ")
	}
	last := 1 + slices.IndexFunc(words, func(w string) bool { return strings.Contains(w, "-") })
	if last < len(words) && words[last] == "l2only" {
		last++
	}
	return strings.Join(words[:last], " ")
}

func TestWarningsTellWhatIsBetterAvoided(t *testing.T) {
	golden(t, "testdata/everything.warnings.txt", strings.Join(everything(t).Warnings(), "\n")+"\n")
	if w := fabrikam(t).Warnings(); len(w) != 0 {
		t.Errorf("the reference deployment has the warnings %q", w)
	}
	dir := policyFolder(t, map[string]string{
		"Contoso": "lookup-record 10.0.0.12 vsid 5001 mac 60:00:60:00:01:0c pa 192.168.0.44 rule rewrite\n",
		"GW":      "provider-address 192.168.1.11/24 vsids 7001\n",
	})
	c, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(c.Warnings(), "\n")
	for _, want := range []string{"192.168.1.11 is for VSID 7001, which no tenant has", "no internal interface has a providerAddress"} {
		if !strings.Contains(got, want) {
			t.Errorf("the warnings %q lack %q", got, want)
		}
	}
}
