package vpn

import (
	"strings"
	"testing"
	"time"

	"bulkhead/lab/pki"
)

// testCertificates are an authority's, and the gateway's credentials by it.
type testCertificates struct {
	t       *testing.T
	root    *pki.Authority
	gateway Credentials
}

func newTestCertificates(t *testing.T) *testCertificates {
	t.Helper()
	root, err := pki.NewAuthority("Fabrikam root")
	if err != nil {
		t.Fatal(err)
	}
	c := &testCertificates{t: t, root: root}
	c.gateway = c.issue(pki.Request{CommonName: "gw.fabrikam.example"})
	return c
}

// issue makes credentials with a new certificate.
func (c *testCertificates) issue(r pki.Request) Credentials {
	c.t.Helper()
	own, err := c.root.Issue(r)
	if err != nil {
		c.t.Fatal(err)
	}
	key, err := own.KeyPEM()
	if err != nil {
		c.t.Fatal(err)
	}
	return Credentials{Certificate: [][]byte{own.Raw}, PrivateKey: Secret(key), Authorities: [][]byte{c.root.Raw}}
}

// iface is an interface whose peer has a certificate by the authority.
func (c *testCertificates) iface(name string, n int, change ...func(*Interface)) Interface {
	i := iface(name, n, append([]func(*Interface){func(i *Interface) {
		i.Method, i.PSK, i.Authorities = Certificate, nil, [][]byte{c.root.Raw}
	}}, change...)...)
	return i
}

func TestCredentialsThatCannotWorkAreRefused(t *testing.T) {
	c := newTestCertificates(t)
	other := c.issue(pki.Request{CommonName: "other"})
	sub, err := c.root.Issue(pki.Request{CommonName: "between", Authority: true})
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Credentials){
		"does not belong to":       func(c *Credentials) { c.PrivateKey = other.PrivateKey },
		"private key is not one":   func(c *Credentials) { c.PrivateKey = Secret("secret of the gateway") },
		"without a certificate":    func(c *Credentials) { c.Certificate = nil },
		"the gateway's cert":       func(c *Credentials) { c.Certificate = [][]byte{[]byte("x")} },
		"certificate 1 after":      func(c *Credentials) { c.Certificate = append(c.Certificate, []byte("x")) },
		"revocation list 1":        func(c *Credentials) { c.RevocationLists = [][]byte{[]byte("x")} },
		`revocation "sometimes"`:   func(c *Credentials) { c.Revocation = "sometimes" },
		"declare the root":         func(c *Credentials) { c.Authorities = [][]byte{sub.Raw} },
		"is not a certificate aut": func(c *Credentials) { c.Authorities = other.Certificate },
	} {
		bad := c.gateway
		change(&bad)
		_, err := bad.parse()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		} else if strings.Contains(err.Error(), "secret of") {
			t.Errorf("the key is in: %v", err)
		}
	}
	if _, err := c.gateway.parse(); err != nil {
		t.Error(err)
	}
}

func TestWhatExpiresIsTold(t *testing.T) {
	c := newTestCertificates(t)
	m := New(Options{})
	credentials := c.issue(pki.Request{CommonName: "gw", Lifetime: time.Hour})
	if _, err := credentials.parse(); err != nil {
		t.Fatal(err)
	}
	_ = m.SetCredentials(t.Context(), credentials) // charon is not there
	mustDeclare(t, m, "Contoso", c.iface("IfCe1", 1))
	all := m.Certificates()
	if len(all) != 2 {
		t.Fatalf("the certificates are %+v", all)
	}
	own, root := all[0], all[1]
	if own.Use != "gateway" || !strings.Contains(own.Subject, "CN=gw") || time.Until(own.NotAfter) > time.Hour {
		t.Errorf("the gateway's is %+v", own)
	}
	if root.Use != "authority" || len(root.Tenants) != 1 || root.Tenants[0] != "Contoso" {
		t.Errorf("the authority's is %+v", root)
	}
}

func mustDeclare(t *testing.T, m *Manager, tenant string, want ...Interface) {
	t.Helper()
	if err := m.declare(tenant, want); err != nil {
		t.Fatal(err)
	}
}

func TestPeersWithCertificatesAreToldApart(t *testing.T) {
	c := newTestCertificates(t)
	with := func(id string) Interface { return c.iface("IfCe1", 1, func(i *Interface) { i.RemoteID = id }) }
	psk := func(id string) Interface { return iface("IfCe1", 1, func(i *Interface) { i.RemoteID = id }) }
	eap := func(user string) Interface { return Interface{Method: EAP, UserName: user, RemoteID: "gw"} }
	for _, p := range []struct {
		a, b  Interface
		clash bool
	}{
		{with("NY"), with("SFO"), false},
		{with("NY"), with("ny"), true},
		{with("NY"), with("O=Contoso, CN=NY"), true},
		{with("O=Contoso, CN=NY"), with("CN=NY, O=Woodgrove"), false},
		{with("fqdn:ny.example"), with("ny.example"), false},
		{with("fqdn:ny.example"), psk("ny.example"), true},
		{with("NY"), psk("NY"), false},
		{eap("IfCe1"), eap("ifce1"), true},
		{eap("IfCe1"), eap("IfCe2"), false},
		{with("gw"), eap("NY"), false},
	} {
		a, b := p.a.who(), p.b.who()
		if a.clashes(b) != p.clash || b.clashes(a) != p.clash {
			t.Errorf("%s %s and %s %s: clash is not %v", p.a.Method, p.a.RemoteID, p.b.Method, p.b.RemoteID, p.clash)
		}
	}
}
