package configs_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bulkhead/configs"
)

// disabledIn is a folder with the reference deployment, in which the YAML disables IfWe2, and a policy file of Woodgrove.
func disabledIn(t *testing.T, policy string) string {
	t.Helper()
	dir := besideFabrikam(t)
	yaml := read(t, filepath.Join(dir, "woodgrove.yaml"))
	write(t, dir, "woodgrove.yaml", strings.Replace(yaml, "- name: IfWe2", "- name: IfWe2\n      disabled: true", 1))
	if policy != "" {
		write(t, dir, "Woodgrove.policy", policy)
	}
	return dir
}

func wantDisabled(t *testing.T, what string, c *configs.Config, want ...string) {
	t.Helper()
	var got []string
	for _, tenant := range c.Tenants {
		for _, s := range tenant.SiteToSite {
			if s.Disabled {
				got = append(got, s.Name)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: disabled are %q, want %q", what, got, want)
	}
}

func TestLastWordAboutADisabledInterfaceCounts(t *testing.T) {
	for policy, want := range map[string][]string{
		"":                               {"IfWe2"},
		"interface IfWe1 disabled\n":     {"IfWe1", "IfWe2"},
		"no interface IfWe2 disabled\n":  nil,
		"interface IfWe2 disabled\n":     {"IfWe2"},
		"no interface IfWe1 disabled\n":  {"IfWe2"},
		"no interface Nobody disabled\n": {"IfWe2"},
		"interface Nobody disabled\nno interface Nobody disabled\n":                                 {"IfWe2"},
		"interface IfWe1 disabled # a while\nno interface IfWe1 disabled\n":                         {"IfWe2"},
		"no interface IfWe2 disabled\ninterface IfWe1 disabled\ninterface IfWe2 disabled\n":         {"IfWe1", "IfWe2"},
		"no interface IfWe2 disabled\ninterface IfWe2 disabled\nno interface IfWe2\tdisabled\r\n\n": nil,
	} {
		dir := disabledIn(t, policy)
		c, err := configs.Load(dir)
		if err != nil {
			t.Errorf("%q: %v", policy, err)
			continue
		}
		wantDisabled(t, policy, c, want...)
		running, err := configs.Load(disabledIn(t, ""))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(policy, "Nobody") {
			continue // at run time each statement is held against what is declared
		}
		for line := range strings.Lines(policy) {
			if statement, _, _ := strings.Cut(line, "#"); strings.TrimSpace(statement) != "" {
				if err := running.Change("Woodgrove", parse(t, strings.TrimSpace(statement)), func() error { return nil }); err != nil {
					t.Errorf("%q: %v", policy, err)
				}
			}
		}
		wantDisabled(t, policy+" at run time", running, want...)
	}
}

// refusedStatement is the declaration without a statement about Woodgrove that is refused, for the same reason in a policy file
// and at run time. folder makes a declaration with such a file.
func refusedStatement(t *testing.T, folder func(*testing.T, string) string, statement, want string) *configs.Config {
	t.Helper()
	_, err := configs.Load(folder(t, "# it moves\n"+statement+"\n"))
	var problems configs.Problems
	if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Line != 2 || !strings.Contains(problems[0].Message, want) {
		t.Errorf("%s: error %v, want one in line 2 with %q", statement, err, want)
	}
	c, err := configs.Load(folder(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	change, err := configs.ParseChange(statement)
	if err == nil {
		err = c.Change("Woodgrove", []configs.Change{change}, func() error { return nil })
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %v at run time, want %q", statement, err, want)
	}
	return c
}

func TestWhatIsNoInterfaceCannotBeDisabled(t *testing.T) {
	for statement, want := range map[string]string{
		"interface IfWe3 disabled":              `did you mean "IfWe1"`,
		"interface IfCe1 disabled":              `the tenant has no S2S interface "IfCe1"`,
		"interface IfWi1 disabled":              `no S2S interface "IfWi1"`,
		"interface Elsewhere disabled":          "it has: IfWe1, IfWe2",
		"interface IfWe1":                       "does not say what the interface is",
		"interface":                             "names no object",
		"no interface IfWe1":                    "want no interface NAME disabled",
		"interface IfWe1 disabled now":          `has "now" behind its end`,
		"interface IfWe1 disable":               `did you mean "disabled"`,
		"interface ../We1 disabled":             "is not a name",
		"interface AnInterfaceOfMany1 disabled": "1 to 15",
	} {
		c := refusedStatement(t, disabledIn, statement, want)
		wantDisabled(t, statement, c, "IfWe2")
	}
	c, err := configs.Load(disabledIn(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Change("GW-VM", parse(t, "interface IfWe1 disabled"), func() error { return nil }); err == nil {
		t.Error("an interface was disabled as the gateway's")
	}
}

func TestDisablingThatCannotBeWrittenLeavesTheListThatWasRead(t *testing.T) {
	c, err := configs.Load(disabledIn(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	before := c.Tenant("Woodgrove").SiteToSite
	full := errors.New("the disk is full")
	changes := parse(t, "no interface IfWe2 disabled", "interface IfWe1 disabled", "interface IfWe1 disabled")
	if err := c.Change("Woodgrove", changes, func() error { return full }); !errors.Is(err, full) {
		t.Errorf("error %v, want the writer's", err)
	}
	wantDisabled(t, "after the failure", c, "IfWe2")
	if err := c.Change("Woodgrove", changes, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	wantDisabled(t, "after the change", c, "IfWe1")
	if before[0].Disabled || !before[1].Disabled {
		t.Errorf("a change reached into the list that was read before: %v, %v", before[0].Disabled, before[1].Disabled)
	}
}

func TestCompactionKeepsWhichInterfacesAreDisabled(t *testing.T) {
	var text strings.Builder
	for n := range 600 {
		fmt.Fprintf(&text, "interface IfWe1 disabled\n%s", []string{"", "no interface IfWe1 disabled\n"}[n%2])
	}
	text.WriteString("no interface IfWe2 disabled\ninterface IfWe1 disabled\n" + strings.Repeat("no lookup-record 10.0.0.99\n", 200))
	dir := disabledIn(t, text.String())
	c, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CompactPolicies(); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, filepath.Join(dir, "Woodgrove.policy")), "no interface IfWe2 disabled\ninterface IfWe1 disabled\n"; got != want {
		t.Errorf("the file is %q, want %q", got, want)
	}
	if c, err = configs.Load(dir); err != nil {
		t.Fatal(err)
	}
	wantDisabled(t, "after compaction", c, "IfWe1")
}
