package configs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"bulkhead/configs"
)

func tenantNames(c *configs.Config) []string {
	var names []string
	for _, t := range c.Tenants {
		names = append(names, t.Name)
	}
	return names
}

func TestLoadTakesTheFilesOfAFolderAndNoOthers(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "gateway.yml", read(t, "fabrikam/gateway.yaml"))
	write(t, dir, "contoso.yaml", read(t, "fabrikam/contoso.yaml"))
	for _, other := range []string{".hidden.yaml", "notes.txt", "woodgrove.yaml.bak", "woodgrove.json"} {
		write(t, dir, other, read(t, "fabrikam/woodgrove.yaml"))
	}
	if err := os.Mkdir(filepath.Join(dir, "below.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "below.yaml"), "woodgrove.yaml", read(t, "fabrikam/woodgrove.yaml"))
	c, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Contoso"}, tenantNames(c)); diff != "" {
		t.Errorf("tenants differ (-want +got):\n%s", diff)
	}
}

func TestLoadTakesAFileOnceHoweverOftenItIsNamed(t *testing.T) {
	abs, err := filepath.Abs("fabrikam/contoso.yaml")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(abs, link); err != nil {
		t.Fatal(err)
	}
	c, err := configs.Load("fabrikam", "fabrikam/../fabrikam/contoso.yaml", abs, link)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Tenants) != 2 {
		t.Errorf("got the tenants %v, want two", tenantNames(c))
	}
}

func TestLoadGivesTheSameWhateverTheOrderAndTheCutIntoFiles(t *testing.T) {
	parts := []string{
		read(t, "fabrikam/woodgrove.yaml"), read(t, "fabrikam/gateway.yaml"), read(t, "fabrikam/contoso.yaml"),
	}
	want := fabrikam(t)
	for name, text := range map[string]string{
		"markers":         strings.Join(parts, "---\n"),
		"commented":       "# comment\n--- # one\n" + strings.Join(parts, "--- # next\n") + "...\n",
		"empty documents": "---\n# nothing\n---\n---\n" + strings.Join(parts, "...\n---\n---\n# nothing\n---\n") + "---\n",
		"carriage return": strings.ReplaceAll(strings.Join(parts, "---\n"), "\n", "\r\n"),
		"byte order mark": "\ufeff" + strings.Join(parts, "---\n"),
	} {
		dir := t.TempDir()
		write(t, dir, "all.yaml", text)
		got, err := configs.Load(filepath.Join(dir, "all.yaml"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got, equal); diff != "" {
			t.Errorf("%s: differs (-folder +file):\n%s", name, diff)
		}
	}
}

func TestLinesCountFromTheTopOfTheFileInEveryDocument(t *testing.T) {
	dir := t.TempDir()
	text := read(t, "fabrikam/gateway.yaml") + "---\n" + read(t, "fabrikam/contoso.yaml") + "---\r\n" +
		strings.Replace(read(t, "fabrikam/woodgrove.yaml"), "asn: 65412", "asn: none", 1)
	write(t, dir, "all.yaml", text)
	_, err := configs.Load(dir)
	var problems configs.Problems
	if !errors.As(err, &problems) || len(problems) != 1 {
		t.Fatalf("got %v, want one problem", err)
	}
	before, _, found := strings.Cut(text, "asn: none")
	line := 1 + strings.Count(before, "\n")
	if !found || problems[0].Line != line || problems[0].Path != "Tenant/Woodgrove spec.bgp.asn" {
		t.Errorf("got %v, want line %d", problems[0], line)
	}
}

func TestLoadTellsUnreadableFilesFromBadContent(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, paths := range [][]string{{missing}, {"fabrikam", missing}, nil} {
		c, err := configs.Load(paths...)
		var problems configs.Problems
		if err == nil || c != nil || errors.As(err, &problems) {
			t.Errorf("Load(%q) gave %v and %v, want an error that is no Problems", paths, c, err)
		}
		if len(paths) > 0 && (!errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing)) {
			t.Errorf("the error %v does not say that %s is missing", err, missing)
		}
	}
}

func TestProblemsAreInTheOrderOfTheirPlaces(t *testing.T) {
	_, err := configs.Load("testdata/bad/gateway-and-tenants-full-of-errors.yaml")
	var problems configs.Problems
	if !errors.As(err, &problems) || len(problems) < 50 {
		t.Fatalf("got %d problems, want at least 50", len(problems))
	}
	if !slices.IsSortedFunc(problems, func(a, b configs.Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	}) {
		t.Errorf("the problems are not sorted:\n%v", err)
	}
	for _, p := range problems {
		if p.Line < 1 || p.Column < 1 || p.Path == "" || p.Message == "" {
			t.Errorf("%+v lacks its place", p)
		}
	}
}

func TestLoadReadsNothingThatBlocksOrNeverEnds(t *testing.T) {
	pipe, device := t.TempDir(), t.TempDir()
	if err := unix.Mkfifo(filepath.Join(pipe, "tenant.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(device, "tenant.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{pipe, device} {
		if _, err := configs.Load(dir); err == nil || !strings.Contains(err.Error(), "tenant.yaml is not a regular file") {
			t.Errorf("error %v, want that the file is not a regular one", err)
		}
	}
	if _, err := configs.Load("/dev/zero"); err == nil || !strings.Contains(err.Error(), "/dev/zero is larger") {
		t.Errorf("error %v, want one for the file that never ends", err)
	}
}
