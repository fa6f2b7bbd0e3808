package peerconfig_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulkhead/vpn"
	"bulkhead/vpn/peerconfig"
)

var update = flag.Bool("update", false, "write the goldens anew")

// newYork is Contoso's site of the book.
func newYork() peerconfig.Params {
	return peerconfig.Params{
		Tenant: "Contoso", Name: "IfCe1",
		Gateway: netip.MustParseAddr("131.107.10.10"), Site: netip.MustParseAddr("59.10.10.10"),
		Policy: vpn.Policy{
			IKEProposals: []string{"aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"},
			ESPProposals: []string{"aes256gcm16", "aes128gcm16", "aes256-sha256"},
			DPD:          10 * time.Second, IKELifetime: 4 * time.Hour, ESPLifetime: time.Hour,
		},
		Networks:     []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.1.0/24")},
		SiteNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")},
	}
}

// berlin is a site with certificates, IPv6 inside and outside, no known address and everything else set.
func berlin() peerconfig.Params {
	p := newYork()
	p.Name, p.Gateway, p.Site = "IfCe2", netip.MustParseAddr("2001:db8:131::10"), netip.Addr{}
	p.Method, p.SiteID, p.GatewayID = vpn.Certificate, "ContosoBerlin", "O=Fabrikam, CN=gw.fabrikam.example"
	p.MTU = 1380
	p.Networks = append(p.Networks, netip.MustParsePrefix("fd00:1::/64"))
	p.Policy = vpn.Policy{
		IKEProposals: []string{"aes256-aes128-sha384-ecp384-curve448", "chacha20poly1305-prfsha256-curve25519"},
		ESPProposals: []string{"aes256gcm16-ecp384", "aes256gcm16", "camellia256-sha256-ecp384"},
		DPD:          20 * time.Second, IKELifetime: 8 * time.Hour, ESPLifetime: 2 * time.Hour, ESPLifetimeBytes: 1 << 30,
		NoMOBIKE: true, NoFragmentation: true, ForceEncapsulation: true,
	}
	return p
}

// home is a site that logs in with EAP, from anywhere.
func home() peerconfig.Params {
	p := newYork()
	p.Name, p.Site, p.Method, p.UserName, p.GatewayID = "IfCe3", netip.Addr{}, vpn.EAP, "ContosoHome", "gw.fabrikam.example"
	return p
}

func TestTextsAreAsTheGoldensSay(t *testing.T) {
	for name, p := range map[string]peerconfig.Params{"newyork": newYork(), "berlin": berlin(), "home": home()} {
		for _, device := range peerconfig.Devices() {
			t.Run(name+"/"+device, func(t *testing.T) {
				got, err := peerconfig.Render(device, p)
				if err != nil {
					got = "error: " + err.Error() + "\n"
				}
				path := filepath.Join("testdata", name+"."+device+".txt")
				if *update {
					if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestTheSecretIsThereOnlyWhereItIsGiven(t *testing.T) {
	for _, device := range peerconfig.Devices() {
		p := newYork()
		text, err := peerconfig.Render(device, p)
		if err != nil || !strings.Contains(text, "<pre-shared key>") {
			t.Errorf("%s: without a secret there is no placeholder (%v) in\n%s", device, err, text)
		}
		p.Secret = vpn.Secret("aB3-secret")
		text, err = peerconfig.Render(device, p)
		if err != nil || !strings.Contains(text, "aB3-secret") || strings.Contains(text, "<pre-shared key>") {
			t.Errorf("%s: the secret is not in (%v)\n%s", device, err, text)
		}
	}
}

func TestSecretsThatADeviceWouldMisreadAreEncoded(t *testing.T) {
	for _, c := range []struct{ device, secret, want string }{
		{"strongswan", `say "a\b"`, `secret = "say \"a\\b\""`},
		{"strongswan", "0x61", "secret = 0sMHg2MQ=="},
		{"strongswan", "0sYWJj", "secret = 0sMHNZV0pq"},
		{"fortigate", `say "a\b"`, `set psksecret "say \"a\\b\""`},
		{"fortigate", "0x61", "set psksecret 0x30783631"},
		{"cisco-ios-xe", "a?b", "pre-shared-key hex 613f62"},
		{"windows", "it's", "-SharedSecret 'it''s'"},
		{"windows", "a’; Restart-Computer #", "-SharedSecret 'a’’; Restart-Computer #'"},
	} {
		p := newYork()
		p.Secret = vpn.Secret(c.secret)
		text, err := peerconfig.Render(c.device, p)
		if err != nil || !strings.Contains(text, c.want) {
			t.Errorf("%s, %q: %v; want %s in\n%s", c.device, c.secret, err, c.want, text)
		}
	}
}

func TestADeviceBehindNATUsesItsOwnAddress(t *testing.T) {
	for device, want := range map[string]string{
		"strongswan": "local_addrs = 192.168.1.50", "cisco-ios-xe": "tunnel source 192.168.1.50",
		"vyos": "local-address '192.168.1.50'", "windows": "-SourceIpAddress '192.168.1.50'",
		"fortigate": "set local-gw 192.168.1.50", "generic": "Site's address:            59.10.10.10",
	} {
		p := newYork()
		p.SiteID = "192.168.1.50"
		text, err := peerconfig.Render(device, p)
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("%s: %v; want %q in\n%s", device, err, want, text)
		}
	}
}

func TestWhatCannotBeSaidIsRefusedWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		device string
		change func(*peerconfig.Params)
		want   string
	}{
		"a device that nobody knows": {"abacus", func(*peerconfig.Params) {}, "one of cisco-ios-xe, fortigate, generic"},
		"no proposals":               {"generic", func(p *peerconfig.Params) { p.Policy.IKEProposals = nil }, "no proposals"},
		"no key exchange": {
			"generic", func(p *peerconfig.Params) { p.Policy.IKEProposals = []string{"aes256-sha256"} }, "lacks a key exchange",
		},
		"no words for any proposal": {
			"windows", func(p *peerconfig.Params) { p.Policy.ESPProposals = []string{"chacha20poly1305"} },
			"no words for any of the ESP proposals chacha20poly1305",
		},
		"an identity that is not an address": {
			"windows", func(p *peerconfig.Params) { p.SiteID = "ny.contoso.example" }, "remoteIdentity",
		},
		"nobody knows who the site is": {
			"strongswan", func(p *peerconfig.Params) { p.Site = netip.Addr{} }, "an address or an identity",
		},
		"a gateway without a certificate": {
			"strongswan", func(p *peerconfig.Params) { p.Method = vpn.Certificate }, "no certificate yet",
		},
		"a secret of two lines": {
			"cisco-ios-xe", func(p *peerconfig.Params) { p.Secret = vpn.Secret("a\nreload") }, "control character",
		},
		"a secret with quotation marks": {
			"vyos", func(p *peerconfig.Params) { p.Secret = vpn.Secret(`a"b`) }, "choose another",
		},
		"an identity that would end its quotation": {
			"vyos", func(p *peerconfig.Params) { p.SiteID = "ny'; reboot; '" }, "choose another",
		},
		"no address of the gateway": {
			"vyos", func(p *peerconfig.Params) { p.Gateway = netip.Addr{} }, "address is unknown",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newYork()
			c.change(&p)
			text, err := peerconfig.Render(c.device, p)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q in it; the text is\n%s", err, c.want, text)
			}
			if err != nil && len(p.Secret) > 0 && strings.Contains(err.Error(), string(p.Secret)) {
				t.Error("the error has the secret")
			}
		})
	}
}
