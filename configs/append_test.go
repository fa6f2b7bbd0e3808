package configs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/configs"
)

func TestAppendedChangesComeBehindWholeLinesAndKeepTheMode(t *testing.T) {
	for name, test := range map[string]struct{ before, after string }{
		"new":       {"", ""},
		"whole":     {"# x\n", "# x\n"},
		"torn":      {"# x\nno lookup-rec", "# x\n"},
		"torn only": {"no lookup-rec", ""},
		"long tear": {"# x\n" + strings.Repeat("y", 10_000), "# x\n"},
		"zeros":     {"# x\n" + strings.Repeat("\x00", 5000), "# x\n"},
	} {
		dir := t.TempDir()
		file, mode := filepath.Join(dir, "Contoso.policy"), fs.FileMode(0o600)
		if test.before != "" {
			mode = 0o640
			if err := os.WriteFile(file, []byte(test.before), mode); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range []string{"no lookup-record 10.0.0.10", "no lookup-record 10.0.0.11"} {
			if err := configs.AppendChanges(dir, "Contoso", parse(t, s)); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := read(t, file), test.after+"no lookup-record 10.0.0.10\nno lookup-record 10.0.0.11\n"; got != want {
			t.Errorf("%s: the file is %q, want %q", name, got, want)
		}
		if info, err := os.Stat(file); err != nil || info.Mode() != mode {
			t.Errorf("%s: mode %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
}

func TestNothingIsAppendedThatLoadWouldNotTake(t *testing.T) {
	dir := policyFolder(t, nil)
	change := parse(t, "no lookup-record 10.0.0.10", "provider-address 192.168.1.11/24 vsids 5001")
	for range 20_000 {
		change[1].ProviderAddress.VSIDs = append(change[1].ProviderAddress.VSIDs, 5001)
	}
	for _, name := range []string{"GW", "../GW", ""} {
		if err := configs.AppendChanges(dir, name, change); err == nil {
			t.Errorf("a statement of 100 kB was written to %q", name)
		}
	}
	if _, err := configs.Load(dir); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "GW.policy")); err == nil && len(text) > 0 {
		t.Errorf("the policy file has %d bytes", len(text))
	}
}

func TestZerosBehindTheLastLineAreLeftOut(t *testing.T) {
	for _, many := range []int{1, 100_000} {
		dir := policyFolder(t, map[string]string{"Contoso": "no lookup-record 10.0.0.11\n" + strings.Repeat("\x00", many)})
		c, err := configs.Load(dir)
		if err != nil {
			t.Errorf("%d zeros: %v", many, err)
			continue
		}
		if w := c.Warnings(); len(c.Tenant("Contoso").LookupRecords) != 1 || len(w) != 1 || len(w[0]) > 1000 {
			t.Errorf("%d zeros: warnings %q", many, w)
		}
	}
}

func TestLineWithoutEndIsRefusedBeforeItFillsTheMemory(t *testing.T) {
	dir := policyFolder(t, map[string]string{"Contoso": "# x\n" + strings.Repeat("y", 1<<20) + "\n"})
	if _, err := configs.Load(dir); err == nil || !strings.Contains(err.Error(), "Contoso.policy:2: a line longer than") {
		t.Errorf("error %v, want one for the line", err)
	}
}
