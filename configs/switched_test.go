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

// switchedIn is a folder with the reference deployment, in which SFO is Manual, and a policy file of Woodgrove.
func switchedIn(t *testing.T, policy string) string {
	t.Helper()
	dir := besideFabrikam(t)
	yaml := read(t, filepath.Join(dir, "woodgrove.yaml"))
	write(t, dir, "woodgrove.yaml", strings.Replace(yaml, "asn: 65414, operationMode: Mixed, peeringMode: Automatic",
		"asn: 65414, operationMode: Mixed, peeringMode: Manual", 1))
	if policy != "" {
		write(t, dir, "Woodgrove.policy", policy)
	}
	return dir
}

func wantStopped(t *testing.T, what string, c *configs.Config, want ...string) {
	t.Helper()
	var got []string
	for _, p := range c.Tenant("Woodgrove").BGP.Peers {
		if p.Stopped {
			got = append(got, p.Name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: stopped are %q, want %q", what, got, want)
	}
}

func TestLastWordAboutABGPPeerCounts(t *testing.T) {
	for policy, want := range map[string][]string{
		"":                       {"SFO"},
		"bgp-peer NY stopped\n":  {"NY", "SFO"},
		"bgp-peer SFO started\n": nil,
		"bgp-peer SFO stopped\n": {"SFO"},
		"bgp-peer NY started\n":  {"SFO"},
		"no bgp-peer SFO\n":      {"SFO"},
		"no bgp-peer Nobody\n":   {"SFO"},
		"bgp-peer Nobody stopped\nno bgp-peer Nobody\n":                           {"SFO"},
		"bgp-peer NY stopped # a while\nno bgp-peer NY\n":                         {"SFO"},
		"bgp-peer NY stopped\nbgp-peer SFO started\nbgp-peer NY started\n":        nil,
		"bgp-peer SFO started\nbgp-peer SFO stopped\nbgp-peer\tSFO started\r\n\n": nil,
		"bgp-peer SFO started\nno bgp-peer SFO\n":                                 {"SFO"},
	} {
		dir := switchedIn(t, policy)
		c, err := configs.Load(dir)
		if err != nil {
			t.Errorf("%q: %v", policy, err)
			continue
		}
		wantStopped(t, policy, c, want...)
		if strings.Contains(policy, "Nobody") {
			continue // at run time each statement is held against what is declared
		}
		running, err := configs.Load(switchedIn(t, ""))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(policy) {
			if statement, _, _ := strings.Cut(line, "#"); strings.TrimSpace(statement) != "" {
				if err := running.Change("Woodgrove", parse(t, strings.TrimSpace(statement)), func() error { return nil }); err != nil {
					t.Errorf("%q: %v", policy, err)
				}
			}
		}
		wantStopped(t, policy+" at run time", running, want...)
	}
}

func TestWhatIsNoBGPPeerIsNeitherStartedNorStopped(t *testing.T) {
	for statement, want := range map[string]string{
		"bgp-peer NJ stopped":        `did you mean "NY"`,
		"bgp-peer Elsewhere started": "it has: NY, SFO",
		"bgp-peer NY":                "does not say what the peer is; want bgp-peer NAME started|stopped",
		"bgp-peer":                   "names no object",
		"no bgp-peer":                "names no object; want no bgp-peer NAME",
		"no bgp-peer NY stopped":     `has "stopped" behind its end; want no bgp-peer NAME`,
		"bgp-peer NY stopped now":    `has "now" behind its end`,
		"bgp-peer NY stoped":         `did you mean "stopped"`,
		"bgp-peer ../NY stopped":     "is not a name",
		"bgp-per NY stopped":         `did you mean "bgp-peer"`,
	} {
		c := refusedStatement(t, switchedIn, statement, want)
		wantStopped(t, statement, c, "SFO")
	}
	c, err := configs.Load(switchedIn(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"GW-VM", "Contoso"} {
		if err := c.Change(name, parse(t, "bgp-peer NY stopped"), func() error { return nil }); err == nil {
			t.Errorf("a peer was stopped as one of %s's", name)
		}
	}
	if err := c.Change("Contoso", parse(t, "no bgp-peer NY"), func() error { return nil }); err != nil {
		t.Errorf("what is not there cannot be left to its mode: %v", err)
	}
}

func TestStartingThatCannotBeWrittenLeavesTheRouterThatWasRead(t *testing.T) {
	c, err := configs.Load(switchedIn(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	before := c.Tenant("Woodgrove").BGP
	full := errors.New("the disk is full")
	changes := parse(t, "bgp-peer SFO started", "bgp-peer NY stopped", "bgp-peer NY started", "bgp-peer NY stopped")
	if err := c.Change("Woodgrove", changes, func() error { return full }); !errors.Is(err, full) {
		t.Errorf("error %v, want the writer's", err)
	}
	wantStopped(t, "after the failure", c, "SFO")
	if err := c.Change("Woodgrove", changes, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	wantStopped(t, "after the change", c, "NY")
	if before.Peers[0].Stopped || !before.Peers[1].Stopped {
		t.Errorf("a change reached into the router that was read before: %v, %v", before.Peers[0].Stopped, before.Peers[1].Stopped)
	}
}

func TestCompactionKeepsWhichBGPPeersAreStopped(t *testing.T) {
	var text strings.Builder
	for n := range 600 {
		fmt.Fprintf(&text, "bgp-peer NY %s\n", []string{"started", "stopped"}[n%2])
	}
	text.WriteString("bgp-peer SFO started # for a while\nno bgp-peer SFO\n" + strings.Repeat("no bgp-peer SFO\n", 500))
	dir := switchedIn(t, text.String())
	c, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CompactPolicies(); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, filepath.Join(dir, "Woodgrove.policy")), "bgp-peer NY stopped\n"; got != want {
		t.Errorf("the file is %q, want %q", got, want)
	}
	if c, err = configs.Load(dir); err != nil {
		t.Fatal(err)
	}
	wantStopped(t, "after compaction", c, "NY", "SFO")
}
