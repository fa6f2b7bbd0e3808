//go:build vm

package lab_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/strongswan/govici/vici"

	"bulkhead/lab"
	"bulkhead/lab/pki"
)

// credentials are those of a gateway that shows a certificate, and an authority that both ends trust.
type credentials struct {
	ca      *pki.Authority
	gateway *pki.Certificate
}

func newCredentials(t *testing.T) credentials {
	t.Helper()
	ca, err := pki.NewAuthority("Fabrikam CA")
	if err != nil {
		t.Fatal(err)
	}
	c := credentials{ca: ca}
	c.gateway = c.issue(t, pki.Request{CommonName: "gw.fabrikam.example", Names: []string{lab.GatewayAddress.String()}})
	return c
}

func (c credentials) issue(t *testing.T, r pki.Request) *pki.Certificate {
	t.Helper()
	certificate, err := c.ca.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// Sites that use each way of proving who they are, against a charon that is set up here by other means.
func TestSitesProveWhoTheyAreByCertificateAndByUserNameAlsoFromBehindNAT(t *testing.T) {
	l, c := newLab(t), newCredentials(t)
	plainGateway(t, l, addr("59.10.10.10"))
	session, err := vici.NewSession(vici.WithSocketPath(l.GatewayCharonSocket()))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	call := func(command string, fields ...any) {
		t.Helper()
		if _, err := session.Call(within(t, 10*time.Second), command, message(t, fields...)); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	key, err := c.gateway.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	call("load-cert", "type", "X509", "flag", "CA", "data", string(c.ca.Raw))
	call("load-key", "type", "any", "data", key)
	all := []string{"0.0.0.0/0"}
	connection := func(peer string, remote *vici.Message) {
		t.Helper()
		call("load-conn", "to-"+peer, message(t, "version", "2", "local_addrs", []string{"131.107.10.10"}, "if_id_in", "77",
			"if_id_out", "77", "remote_addrs", []string{peer}, "remote", remote,
			"local", message(t, "auth", "pubkey", "id", "131.107.10.10", "certs", []string{string(c.gateway.Raw)}),
			"children", message(t, "gw", message(t, "local_ts", all, "remote_ts", all))))
	}
	connection("59.10.10.33", message(t, "auth", "pubkey", "id", "CN=ContosoNY"))
	connection("59.10.10.100", message(t, "auth", "eap-mschapv2", "eap_id", "IfCe1"))
	connection("60.10.10.100", message(t, "auth", "eap-tls", "eap_id", "IfCe2"))
	call("load-shared", "id", "eap", "type", "EAP", "data", "a password", "owners", []string{"IfCe1"})

	trusted := []*pki.Authority{c.ca}
	home := addSite(t, l, lab.SiteOptions{
		Name: "Home", Address: addr("59.10.10.33"), Behind: netip.MustParsePrefix("192.168.1.50/24"),
	})
	for site, ike := range map[*lab.Site]lab.IKE{
		home:                   {Authorities: trusted, Certificate: c.issue(t, pki.Request{CommonName: "ContosoNY"})},
		l.Site("NY-Woodgrove"): {Authorities: trusted, UserName: "IfCe1", Password: "a password"},
		l.Site("SFO-Woodgrove"): {
			Authorities: trusted, UserName: "IfCe2",
			Certificate: c.issue(t, pki.Request{CommonName: "IfCe2", Names: []string{"IfCe2"}}),
		},
	} {
		if err := site.Start(t.Context(), ike); err != nil {
			t.Fatal(err)
		}
		if err := site.Up(t.Context()); err != nil {
			t.Errorf("%v", err)
		}
	}
}
