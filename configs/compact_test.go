package configs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/configs"
)

// churned is a policy file in which machines came and went, and one of the YAML's went for good.
func churned() string {
	var text strings.Builder
	text.WriteString("# Contoso's machines\nno lookup-record 10.0.0.11   # for good\n")
	for n := range 1000 {
		fmt.Fprintf(&text, "lookup-record 10.0.1.%d vsid 5001 mac 60:00:60:00:02:%02x pa 192.168.0.%d\n", n%8, n%8, 20+n%200)
		fmt.Fprintf(&text, "no lookup-record 10.0.2.%d\n", n%250)
	}
	text.WriteString("customer-route 172.21.0.0/16 vsid 5001 next-hop 10.0.1.7\n")
	return text.String()
}

func TestCompactionKeepsWhatIsDeclaredAndCommentsAndDropsTheRest(t *testing.T) {
	dir := policyFolder(t, map[string]string{"Contoso": churned()})
	file := filepath.Join(dir, "Contoso.policy")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	c, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := policyOf(c)
	added := "lookup-record 10.0.3.1 vsid 5001 mac 60:00:60:00:03:01 pa 192.168.0.22"
	if err := configs.AppendChanges(dir, "Contoso", parse(t, added)); err != nil {
		t.Fatal(err)
	}
	if err := c.CompactPolicies(); err != nil {
		t.Fatal(err)
	}
	text := read(t, file)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != 1+1+8+1+1 || lines[0] != "# Contoso's machines" || lines[1] != "no lookup-record 10.0.0.11   # for good" ||
		lines[len(lines)-1] != added {
		t.Errorf("the file is\n%s", text)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	again, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Change("Contoso", parse(t, "no lookup-record 10.0.3.1"), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	wantPolicy(t, again, want...)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

func TestCompactionLeavesFilesAloneThatAreNotWorthIt(t *testing.T) {
	short := strings.Repeat("no lookup-record 10.0.0.99\n", 1000)
	var full strings.Builder
	for n := range 2000 {
		fmt.Fprintf(&full, "lookup-record 10.1.%d.%d vsid 5001 mac 60:00:60:01:%02x:%02x pa 192.168.0.22\n", n>>8, n&255, n>>8, n&255)
	}
	for name, text := range map[string]string{"short": short, "full": full.String()} {
		dir := policyFolder(t, map[string]string{"Contoso": text})
		c, err := configs.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.CompactPolicies(); err != nil {
			t.Fatal(err)
		}
		if read(t, filepath.Join(dir, "Contoso.policy")) != text {
			t.Errorf("%s: the file was rewritten", name)
		}
	}
}

func TestCompactionThatCannotBeWrittenLeavesTheFileAsItIs(t *testing.T) {
	dir := policyFolder(t, map[string]string{"Contoso": churned()})
	c, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	gone := dir + ".gone"
	if err := os.Rename(dir, gone); err != nil {
		t.Fatal(err)
	}
	if err := c.CompactPolicies(); err == nil || !strings.Contains(err.Error(), "Contoso.policy") {
		t.Errorf("error %v, want one that names the file", err)
	}
	if read(t, filepath.Join(gone, "Contoso.policy")) != churned() {
		t.Error("the file was changed")
	}
}
