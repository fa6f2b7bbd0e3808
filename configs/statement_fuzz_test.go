package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParseChange holds the parser of statements to taking back what it gives, and to errors of one readable line.
func FuzzParseChange(f *testing.F) {
	for _, s := range []string{
		"lookup-record 10.0.0.10 vsid 5001 mac 60:00:60:00:01:01 pa 192.168.0.22",
		"lookup-record fd00::10 vsid 5001 mac 6000.6000.0101 pa 2001:db8::22 type GatewayWildcard rule rewrite # it",
		"lookup-record l2only vsid 5001 mac 60-00-60-00-01-01 pa 192.168.0.22", "no lookup-record 10.0.0.10",
		"no lookup-record l2only vsid 5001 mac 60:00:60:00:01:01", "customer-route 0.0.0.0/0 vsid 6001 next-hop 10.0.254.2",
		"customer-route fd00::/64 vsid 6001 next-hop on-link metric 9999", "no customer-route ::/0 vsid 6001 next-hop ::",
		"provider-route 192.168.7.0/24 next-hop 192.168.0.1", "no provider-route ::/0 next-hop fe80::1",
		"provider-address 192.168.0.11/24 vlan 7 vsids 5001,5002", "no provider-address 2001:db8::11/64", "\tno \r", "#", "interface IfCe1 disabled",
		"no interface IfCe1 disabled", "bgp-peer NY started", "bgp-peer NY stopped", "no bgp-peer NY",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseChange(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 1000 {
				t.Errorf("the error is %q", err)
			}
			return
		}
		again, err := ParseChange(c.String())
		if err != nil || again.String() != c.String() || again.Remove != c.Remove || again.ofGateway() != c.ofGateway() {
			t.Errorf("%q is %q, which is %q, %v", text, c, again, err)
		}
	})
}

// FuzzPolicyFile holds Load to giving a configuration or problems, whatever a policy file holds, and Change to taking each
// statement of a file that Load takes.
func FuzzPolicyFile(f *testing.F) {
	for _, text := range []string{
		"lookup-record 10.0.0.11 vsid 5001 mac 60:00:60:00:03:01 pa 192.168.0.22\nno lookup-record 10.0.0.10\n",
		"lookup-record l2only vsid 5001 mac 60:00:60:00:03:01 pa 192.168.0.22\nlookup-record 10.0.0.12",
		"lookup-record 10.0.254.2 vsid 6001 mac 60:01:60:01:03:01 pa 192.168.0.11 type GatewayWildcard # it\n",
		"lookup-record 10.0.0.11 vsid 5001 mac 60:00:60:00:03:01 pa 192.168.0.44 rule rewrite\n",
		"customer-route 10.9.0.0/16 vsid 6001 next-hop 10.0.254.2\nno customer-route 10.9.0.0/16 vsid 6001 next-hop 10.0.254.2\n",
	} {
		f.Add("Contoso", []byte(text))
	}
	f.Add("Contoso", []byte("interface IfCe1 disabled\nno interface IfCe1 disabled\ninterface IfCe1 disabled\n"))
	f.Add("GW-VM", []byte("provider-route 192.168.8.0/24 next-hop 192.168.0.1\nprovider-address 2001:db8::11/64 vlan 7 vsids 5001\n"))
	f.Add("Woodgrove", []byte("bgp-peer NY stopped\nbgp-peer SFO started\nno bgp-peer NY\ninterface IfWe1 disabled\n"))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		if name != "Contoso" && name != "Woodgrove" {
			name = "GW-VM"
		}
		file := filepath.Join(t.TempDir(), name+policyExt)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load("fabrikam", file)
		if err != nil {
			return
		}
		base, err := Load("fabrikam")
		if err != nil {
			t.Fatal(err)
		}
		c.Warnings()
		for _, r := range c.Tenant("Contoso").LookupRecords {
			base.standing.policies["Contoso"].set(r.key(), nil)
		}
		for _, r := range c.Tenant("Contoso").LookupRecords {
			if err := base.Change(name, []Change{{Record: &r}}, func() error { return nil }); name == "Contoso" && err != nil {
				t.Errorf("Load takes the record for %s, Change does not: %v", r.subject(), err)
			}
		}
	})
}
