//go:build vm

package vpn_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/strongswan/govici/vici"

	"bulkhead/lab/pki"
	"bulkhead/vpn"
)

// certificates are those of the provider, of whom the gateway and Woodgrove's site have theirs, and of Contoso's own
// authority.
type certificates struct {
	t                 *testing.T
	provider, contoso *pki.Authority
	gateway           *pki.Certificate
}

func newCertificates(t *testing.T) *certificates {
	t.Helper()
	c := &certificates{t: t}
	var err error
	c.provider, err = pki.NewAuthority("Fabrikam root")
	must(t, err)
	c.contoso, err = pki.NewAuthority("Contoso root")
	must(t, err)
	c.gateway = c.issue(c.provider, pki.Request{CommonName: "gw.fabrikam.example"})
	return c
}

func (c *certificates) issue(by *pki.Authority, r pki.Request) *pki.Certificate {
	c.t.Helper()
	issued, err := by.Issue(r)
	must(c.t, err)
	return issued
}

// credentials are the gateway's with one certificate.
func (c *certificates) credentials(own *pki.Certificate) vpn.Credentials {
	c.t.Helper()
	key, err := own.KeyPEM()
	must(c.t, err)
	return vpn.Credentials{
		Certificate: [][]byte{own.Raw}, PrivateKey: vpn.Secret(key), Authorities: [][]byte{c.provider.Raw},
	}
}

// by has an interface's peer prove itself with a certificate of an authority.
func by(a *pki.Authority, remoteID string) func(*vpn.Interface) {
	return func(i *vpn.Interface) {
		i.Method, i.PSK, i.Authorities, i.RemoteID = vpn.Certificate, nil, [][]byte{a.Raw}, remoteID
	}
}

// loadCertificate has the site prove itself with a certificate, and want one that the root vouches for.
func (s *site) loadCertificate(own *pki.Certificate, root *pki.Authority) {
	s.t.Helper()
	key, err := own.KeyPEM()
	must(s.t, err)
	s.call("clear-creds", nil)
	s.call("load-key", message(s.t, map[string]any{"type": "any", "data": key}))
	everything := []string{"0.0.0.0/0", "::/0"}
	s.call("load-conn", message(s.t, map[string]any{"gw": map[string]any{
		"version": "2", "local_addrs": []string{s.address}, "remote_addrs": []string{s.gateway},
		"if_id_in": "7", "if_id_out": "7", "keyingtries": "1", "dpd_delay": "5s", "send_cert": "always",
		"local":  map[string]any{"auth": "pubkey", "certs": []string{string(own.Raw)}},
		"remote": map[string]any{"auth": "pubkey", "id": "O=Fabrikam lab, CN=gw.fabrikam.example", "cacerts": []string{string(root.Raw)}},
		"children": map[string]any{"gw": map[string]any{
			"local_ts": everything, "remote_ts": everything, "replay_window": "1024", "dpd_action": "none",
			"esp_proposals": []string{"aes256gcm16", "aes256-sha256"},
		}},
	}}))
}

// refusal waits for the first failure from a moment on, of which Contoso's site was told, and returns its reason.
func (n *network) refusal(from time.Time) string {
	n.t.Helper()
	var reason string
	eventually(n.t, 30*time.Second, "the refusal of Contoso's site", func() bool {
		e, ok := n.events.find(func(e vpn.Event) bool {
			return e.Kind == vpn.Failed && e.Time.After(from) && strings.HasPrefix(e.Peer, siteAddress["Contoso"])
		})
		reason = e.Reason
		return ok
	})
	return reason
}

// keys are the private keys that the gateway's charon has.
func (n *network) keys() []string {
	n.t.Helper()
	session, err := vici.NewSession(vici.WithSocketPath(n.charon.Socket))
	must(n.t, err)
	defer session.Close()
	out, err := session.Call(n.t.Context(), "get-keys", nil)
	must(n.t, err)
	keys, _ := out.Get("keys").([]string)
	return keys
}

func TestCertificatesOpenTheTunnelsOfTheirTenantOnly(t *testing.T) {
	n, c := newNetwork(t), newCertificates(t)
	m, _ := n.manager()
	must(t, m.SetCredentials(t.Context(), c.credentials(c.gateway)))
	set(t, m, "Contoso", wanted("Contoso", by(c.contoso, "NY")))
	set(t, m, "Woodgrove", wanted("Woodgrove", by(c.provider, "WoodgroveNY"), func(i *vpn.Interface) {
		i.PeerAddress = netip.Addr{} // it may dial from anywhere
	}))
	n.site["Contoso"].loadCertificate(c.issue(c.contoso, pki.Request{CommonName: "NY"}), c.provider)
	n.site["Woodgrove"].loadCertificate(c.issue(c.provider, pki.Request{CommonName: "WoodgroveNY"}), c.provider)
	// One is dialled, the other dials.
	must(t, m.Connect(context.Background(), "Contoso", "IfCe1"))
	n.site["Woodgrove"].dial()
	for tenant := range n.site {
		waitState(t, m, tenant, vpn.Connected)
		if !n.ping(tenant) {
			t.Errorf("no ping through %s's tunnel", tenant)
		}
	}
	before := tunnel(t, m, "Woodgrove")

	attacker := n.site["Contoso"]
	revoked := c.issue(c.contoso, pki.Request{CommonName: "NY"})
	c.contoso.Revoke(revoked)
	list, err := c.contoso.CRL()
	must(t, err)
	credentials := c.credentials(c.gateway)
	credentials.RevocationLists = [][]byte{list}
	must(t, m.SetCredentials(t.Context(), credentials))
	stranger, err := pki.NewAuthority("Contoso root") // the name is the same, the key is not
	must(t, err)
	posing, err := pki.NewAuthority("WoodgroveNY")
	must(t, err)
	set(t, m, "Contoso", wanted("Contoso", by(c.contoso, "NY"), func(i *vpn.Interface) {
		i.Authorities = append(i.Authorities, posing.Raw)
	}))
	for _, bad := range []struct {
		what   string
		own    *pki.Certificate
		reason string
	}{
		{"a tenant's authority issues another's name", c.issue(c.contoso, pki.Request{CommonName: "WoodgroveNY"}),
			"by none of the authorities that vouch for this interface, such as O=Fabrikam lab, CN=Fabrikam root"},
		{"a tenant's authority has another's name", posing.Certificate, "lacks digitalSignature"},
		{"expired", c.issue(c.contoso, pki.Request{CommonName: "NY", Expired: true}), "not valid now"},
		{"revoked", revoked, "was revoked on"},
		{"another common name", c.issue(c.contoso, pki.Request{CommonName: "SFO"}), "no interface expects the identity"},
		{"of the provider, whom the tenant does not trust", c.issue(c.provider, pki.Request{CommonName: "NY"}),
			"by none of the authorities that vouch for this interface"},
		{"of an unknown authority", c.issue(stranger, pki.Request{CommonName: "NY"}), "no authority is known that vouches"},
	} {
		n.restart(attacker)
		attacker.loadCertificate(bad.own, c.provider)
		from := time.Now()
		attacker.dial()
		if reason := n.refusal(from); !strings.Contains(reason, bad.reason) {
			t.Errorf("%s: the reason is %q", bad.what, reason)
		}
		eventually(t, 10*time.Second, "the site to be refused", func() bool {
			return strings.Contains(attacker.log(), "received AUTHENTICATION_FAILED notify error")
		})
	}
	if now := tunnel(t, m, "Woodgrove"); now.SPIIn != before.SPIIn {
		t.Errorf("Woodgrove's SA was touched: %+v", now)
	}
}

func TestTheGatewaysCertificateIsReplacedUnderStandingTunnels(t *testing.T) {
	n, c := newNetwork(t), newCertificates(t)
	m, _ := n.manager()
	must(t, m.SetCredentials(t.Context(), c.credentials(c.gateway)))
	set(t, m, "Contoso", wanted("Contoso", by(c.contoso, "NY")))
	site := n.site["Contoso"]
	site.loadCertificate(c.issue(c.contoso, pki.Request{CommonName: "NY"}), c.provider)
	must(t, m.Connect(t.Context(), "Contoso", "IfCe1"))
	before := tunnel(t, m, "Contoso")

	next := c.issue(c.provider, pki.Request{CommonName: "gw.fabrikam.example"})
	must(t, m.SetCredentials(t.Context(), c.credentials(next)))
	if now := tunnel(t, m, "Contoso"); now.SPIIn != before.SPIIn || now.UniqueID != before.UniqueID {
		t.Errorf("the tunnel was touched: %+v, before %+v", now, before)
	}
	// From now on the old one is not good enough for the site.
	c.provider.Revoke(c.gateway)
	list, err := c.provider.CRL()
	must(t, err)
	site.call("load-cert", message(t, map[string]any{"type": "X509_CRL", "data": string(list)}))
	must(t, m.Disconnect(t.Context(), "Contoso", "IfCe1"))
	must(t, m.Connect(t.Context(), "Contoso", "IfCe1"))
	if now := tunnel(t, m, "Contoso"); now.State != vpn.Connected || now.SPIIn == before.SPIIn {
		t.Errorf("not dialled anew: %+v", now)
	}
	if keys := n.keys(); len(keys) != 1 {
		t.Errorf("charon has the keys %q", keys)
	}
}
