package configs

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// loadIKE decodes a gateway whose ike is given, and a tenant with an interface whose ike is given.
func loadIKE(t *testing.T, gateway, site string) (*Config, error) {
	t.Helper()
	return new(loader).load("here", []source{{"all.yaml", []byte(`apiVersion: bulkhead/v1
kind: Gateway
metadata: {name: GW}
spec:
  backend: {interface: backend0, providerAddresses: [{address: 192.168.0.11/24}]}
  external: {interface: If2, addresses: [{address: 131.107.10.10/24}]}
  ike: ` + gateway + `
---
apiVersion: bulkhead/v1
kind: Tenant
metadata: {name: Contoso}
spec:
  routingDomainId: 12345678-1000-2000-3000-123456780001
  virtualSubnets: [{vsid: 5001, prefix: 10.0.0.0/24}]
  internalInterfaces: [{name: IfCi1, vsid: 5001, addresses: [10.0.0.2/24]}]
  siteToSite:
    - name: IfCe1
      destination: 59.10.10.10
      authentication: {method: PSK, sharedSecret: {value: abc}}
      ike: ` + site + "\n")}})
}

func policies(t *testing.T, gateway, site string) (g, s IKEPolicy) {
	t.Helper()
	c, err := loadIKE(t, gateway, site)
	if err != nil {
		t.Fatal(err)
	}
	return c.Gateway.IKE.IKEPolicy, c.Tenants[0].SiteToSite[0].IKE
}

func TestProfilesAreWholeAndGood(t *testing.T) {
	names := Profile("").values()
	for _, want := range []string{"azure-default", "aws-default", "rras-default", "default"} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no profile %s, only %q", want, names)
		}
	}
	for name, p := range profiles {
		for _, s := range p.Proposals {
			if err := checkIKEProposal(s); err != nil {
				t.Errorf("%s: %s %v", name, s, err)
			}
		}
		for _, s := range p.ESPProposals {
			if err := checkESPProposal(s); err != nil {
				t.Errorf("%s: %s %v", name, s, err)
			}
		}
		if err := checkPFS(p.PerfectForwardSecrecy, false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(p.Proposals) == 0 || len(p.ESPProposals) == 0 || p.IKELifetime < time.Minute || p.ESPLifetime < time.Minute {
			t.Errorf("%s leaves something to others: %+v", name, p)
		}
		if name != ProfileDefault && p.PerfectForwardSecrecy == "" {
			t.Errorf("%s does not say whether the device wants perfect forward secrecy", name)
		}
	}
	if weak := weakIn(slices.Concat(profiles[ProfileDefault].Proposals, profiles[ProfileDefault].ESPProposals)...); len(weak) > 0 {
		t.Errorf("weak by default: %q", weak)
	}
}

func TestEveryProfileLoadsAndTheWeakAreWarnedOf(t *testing.T) {
	for name, p := range profiles {
		c, err := loadIKE(t, "{}", "{profile: "+string(name)+"}")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		weak := weakIn(slices.Concat(p.Proposals, p.ESPProposals, []string{string(p.PerfectForwardSecrecy)})...)
		warnings := strings.Join(c.Warnings(), "\n")
		if told := strings.Contains(warnings, "siteToSite[IfCe1].ike takes"); told != (len(weak) > 0) {
			t.Errorf("%s has the weak algorithms %q, and the warnings are %q", name, weak, warnings)
		}
		for _, w := range weak {
			if !strings.Contains(warnings, w) || !strings.Contains(warnings, "profile: "+string(name)) {
				t.Errorf("%s: the warnings %q lack %s", name, warnings, w)
			}
		}
	}
}

func TestWhatIsDeclaredComesBeforeTheProfileAndThatBeforeTheGateway(t *testing.T) {
	gateway := "{proposals: [aes256-sha512-modp4096], espProposals: [aes128gcm16], lifetime: 2h, espLifetime: 20m, " +
		"deadPeerDetection: 5s, mobike: false, fragmentation: false, forceEncapsulation: true, hardwareOffload: true, " +
		"perfectForwardSecrecy: ecp384}"
	azure, std := profiles[ProfileAzure], profiles[ProfileDefault]

	g, s := policies(t, gateway, "{}")
	if diff := cmp.Diff(g, s); diff != "" {
		t.Errorf("inherited from the gateway (-gateway +interface):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"aes128gcm16-ecp384"}, s.ESPProposals); diff != "" {
		t.Errorf("ESP proposals with the gateway's group (-want +got):\n%s", diff)
	}

	_, s = policies(t, gateway, "{profile: azure-default, lifetime: 1h}")
	want := IKEPolicy{
		Profile: ProfileAzure, Proposals: azure.Proposals, ESPProposals: azure.ESPProposals,
		PerfectForwardSecrecy: NoKeyExchange, DeadPeerDetection: 5 * time.Second, IKELifetime: time.Hour,
		ESPLifetime: azure.ESPLifetime, ESPLifetimeBytes: azure.ESPLifetimeBytes,
		MOBIKE: SwitchOff, Fragmentation: SwitchOff, ForceEncapsulation: SwitchOn, HardwareOffload: SwitchOn,
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("profile of the interface (-want +got):\n%s", diff)
	}

	_, s = policies(t, gateway, "{profile: default, mobike: true, hardwareOffload: false}")
	if s.Proposals[0] != std.Proposals[0] || s.IKELifetime != std.IKELifetime || !s.MOBIKE.On() || !s.Fragmentation.On() ||
		s.ForceEncapsulation.On() || s.HardwareOffload.On() {
		t.Errorf("the profile default over the gateway's own: %+v", s)
	}

	g, s = policies(t, "{profile: aws-default, espLifetime: 30m}", "{}")
	if diff := cmp.Diff([]string{"aes256gcm16-ecp384", "aes256-sha256-ecp384"}, g.ESPProposals); diff != "" {
		t.Errorf("profile of the gateway (-want +got):\n%s", diff)
	}
	if g.ESPLifetime != 30*time.Minute || s.IKELifetime != 8*time.Hour || s.DeadPeerDetection != 10*time.Second || s.Profile != "" {
		t.Errorf("profile of the gateway: %+v, %+v", g, s)
	}
}

func TestPerfectForwardSecrecyIsAddedWhereAProposalNamesNoGroup(t *testing.T) {
	for _, tt := range []struct {
		gateway, site string
		want          []string
	}{
		{"{}", "{}", []string{"aes256gcm16", "aes128gcm16", "aes256-sha256"}},
		{"{perfectForwardSecrecy: ecp384}", "{perfectForwardSecrecy: none}", []string{"aes256gcm16", "aes128gcm16", "aes256-sha256"}},
		{"{}", "{perfectForwardSecrecy: x25519, espProposals: [aes256gcm16-esn, aes256gcm16-modp4096, aes256-sha256-modp2048-ecp256]}",
			[]string{"aes256gcm16-esn-x25519", "aes256gcm16-modp4096", "aes256-sha256-modp2048-ecp256"}},
		{"{perfectForwardSecrecy: ecp384, espProposals: [aes128gcm16]}", "{perfectForwardSecrecy: ecp521}", []string{"aes128gcm16-ecp521"}},
		{"{espProposals: [aes128gcm16-modp2048]}", "{perfectForwardSecrecy: none}", []string{"aes128gcm16-modp2048"}},
		{"{perfectForwardSecrecy: ecp384}", "{espProposals: [aes256-sha512]}", []string{"aes256-sha512-ecp384"}},
	} {
		_, s := policies(t, tt.gateway, tt.site)
		if diff := cmp.Diff(tt.want, s.ESPProposals); diff != "" {
			t.Errorf("%s and %s (-want +got):\n%s", tt.gateway, tt.site, diff)
		}
	}
	if got := profiles[ProfileAWS].ESPProposals; got[0] != "aes256gcm16" {
		t.Errorf("a policy changed the profile that it inherits: %q", got)
	}
}

func TestWeakAlgorithmsAreTakenByNameOnly(t *testing.T) {
	weak := []string{
		"proposals: [aes256-sha256-modp2048, 3des-sha256-modp2048]", "proposals: [aes256-sha1-modp2048]",
		"proposals: [aes256-sha256-modp1024]", "proposals: [aes256gcm16-prfsha1-modp2048]", "proposals: [aes256-sha256-modp1536]",
		"proposals: [aes256-sha256-modp2048s256]", "proposals: [aes256-sha256-ecp192]", "proposals: [aes256-sha256-ecp384-modp1024]",
		"espProposals: [aes256-sha1]", "espProposals: [3des-sha256]", "espProposals: [aes256-sha]",
		"espProposals: [aes256gcm16-modp1024]", "perfectForwardSecrecy: modp1024",
	}
	for _, key := range weak {
		for _, where := range [][2]string{{"{" + key + "}", "{}"}, {"{}", "{" + key + "}"}} {
			if _, err := loadIKE(t, where[0], where[1]); err == nil || !strings.Contains(err.Error(), "weakAlgorithms: allowed") {
				t.Errorf("%q was taken, or refused with %v", where, err)
			}
		}
		// The word counts beside the proposals, not for those who inherit.
		if _, err := loadIKE(t, "{weakAlgorithms: allowed}", "{"+key+"}"); err == nil {
			t.Errorf("the gateway's word was taken for %s of the interface", key)
		}
		if _, err := loadIKE(t, "{profile: rras-default}", "{"+key+"}"); err == nil {
			t.Errorf("the gateway's profile was taken for %s of the interface", key)
		}
		if _, err := loadIKE(t, "{}", "{profile: rras-default, "+key+"}"); err == nil {
			t.Errorf("the profile was taken for %s beside it", key)
		}
		c, err := loadIKE(t, "{weakAlgorithms: allowed, "+key+"}", "{}")
		if err != nil {
			t.Errorf("%s with the word: %v", key, err)
			continue
		}
		if w := c.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "Gateway/GW: ike takes") {
			t.Errorf("%s of the gateway, inherited: warnings %q, want one", key, w)
		}
	}
}

// TestProposalsAreThoseThatCharonIsAsked holds testdata/proposals.txt, which vpn asks the real charon about, to having
// every algorithm and every profile.
func TestProposalsAreThoseThatCharonIsAsked(t *testing.T) {
	var lines []string
	for word, kind := range algorithms {
		ike, esp := "", ""
		switch kind {
		case cipher:
			ike, esp = word+"-sha256-modp2048", word+"-sha256"
		case aead:
			ike, esp = word+"-prfsha256-modp2048", word
		case integrity:
			ike, esp = "aes256-"+word+"-modp2048", "aes256-"+word
			if checkIKEProposal(ike) != nil {
				ike = "aes256-" + word + "-prfsha256-modp2048"
			}
		case prf:
			ike = "aes256gcm16-" + word + "-modp2048"
		case keyExchange:
			ike, esp = "aes256-sha256-"+word, "aes256gcm16-"+word
		case sequenceNumbers:
			esp = "aes256gcm16-" + word
		}
		for protocol, proposal := range map[string]string{"ike": ike, "esp": esp} {
			check := map[string]func(string) error{"ike": checkIKEProposal, "esp": checkESPProposal}[protocol]
			if proposal == "" {
				continue
			}
			if err := check(proposal); err != nil {
				t.Errorf("%s %q %v", protocol, proposal, err)
			}
			lines = append(lines, protocol+" "+proposal)
		}
	}
	for _, p := range profiles {
		p.settle()
		for _, proposal := range p.Proposals {
			lines = append(lines, "ike "+proposal)
		}
		for _, proposal := range p.ESPProposals {
			lines = append(lines, "esp "+proposal)
		}
	}
	slices.Sort(lines)
	got := strings.Join(slices.Compact(lines), "\n") + "\n"
	const file = "testdata/proposals.txt"
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(readFile(t, file)), got); diff != "" {
		t.Errorf("differs from %s, -update writes it anew (-want +got):\n%s", file, diff)
	}
}

func TestSwitchesAreTrueOrFalse(t *testing.T) {
	for _, value := range []string{"yes", "on", "1", `"true"`, "~", "[]", "TRUE"} {
		if _, err := loadIKE(t, "{mobike: "+value+"}", "{}"); err == nil {
			t.Errorf("mobike: %s was taken", value)
		}
	}
	for _, s := range []Switch{SwitchLeftOut, SwitchOff, SwitchOn} {
		if s.On() != (s == SwitchOn) || s.String() != []string{"", "false", "true"}[s] {
			t.Errorf("%d prints as %q", s, s)
		}
	}
}

func FuzzProposals(f *testing.F) {
	for _, p := range profiles {
		for _, s := range slices.Concat(p.Proposals, p.ESPProposals) {
			f.Add(s, string(p.PerfectForwardSecrecy))
		}
	}
	f.Add("aes256--sha256", "none")
	f.Fuzz(func(t *testing.T, proposal, group string) {
		ike, esp := checkIKEProposal(proposal), checkESPProposal(proposal)
		if ike == nil && esp == nil && strings.Contains(proposal, "esn") {
			t.Errorf("%q is taken for both", proposal)
		}
		if esp != nil || checkPFS(KeyExchange(group), true) != nil {
			return
		}
		p := IKEPolicy{ESPProposals: []string{proposal}, PerfectForwardSecrecy: KeyExchange(group)}
		p.settle()
		if err := checkESPProposal(p.ESPProposals[0]); err != nil || len(weakIn(p.ESPProposals[0])) != len(weakIn(proposal)) {
			t.Errorf("%q with %q becomes %q: %v", proposal, group, p.ESPProposals, err)
		}
	})
}
