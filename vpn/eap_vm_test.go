//go:build vm

package vpn_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/lab"
	"bulkhead/lab/pki"
	"bulkhead/vpn"
	"bulkhead/vpn/radius"
)

// eapWorld is the network with a FreeRADIUS, a certificate of the gateway's, and one EAP interface of each tenant.
type eapWorld struct {
	*network
	*certificates
	manager *vpn.Manager
	stop    func() // the manager
	users   radius.Config
	radius  *lab.RADIUS
}

func (w *eapWorld) dir() string { return filepath.Join(w.charon.dir, "radius") }

// eap has an interface's site be a user.
func eap(user string) func(*vpn.Interface) {
	return func(i *vpn.Interface) { i.Method, i.PSK, i.UserName, i.RemoteID = vpn.EAP, nil, user, "" }
}

func newEAPWorld(t *testing.T) *eapWorld {
	t.Helper()
	w := &eapWorld{network: newNetwork(t), certificates: newCertificates(t)}
	w.certificates.gateway = w.issue(w.provider, pki.Request{
		CommonName: "gw.fabrikam.example", Names: []string{"gw.fabrikam.example", "Fabrikam"},
	})
	key, err := w.certificates.gateway.KeyPEM()
	must(t, err)
	w.users = radius.Config{
		Certificate: [][]byte{w.certificates.gateway.Raw}, PrivateKey: vpn.Secret(key),
		Sites: []radius.Site{
			{Name: "IfCe1", Password: vpn.Secret("secret of Contoso")},
			{Name: `FABRIKAM\IfWe1`, Password: vpn.Secret("sécret of Woodgrove")},
			{Name: "Nobody's", Password: vpn.Secret("secret of nobody")},
		},
	}
	must(t, radius.Set(w.dir(), w.users))
	w.radius, err = lab.StartRADIUS(t.Context(), w.charon.node, w.dir())
	must(t, err)
	t.Cleanup(func() {
		if err := w.radius.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("FreeRADIUS:\n%s", w.radius.Process().LogTail(100))
		}
	})
	w.run()
	return w
}

// run runs a manager that is told everything.
func (w *eapWorld) run() {
	t := w.network.t
	t.Helper()
	w.manager, w.stop = w.network.manager()
	must(t, w.manager.SetCredentials(t.Context(), w.credentials(w.certificates.gateway)))
	set(t, w.manager, "Woodgrove", wanted("Woodgrove", eap(`FABRIKAM\IfWe1`)))
	set(t, w.manager, "Contoso", wanted("Contoso", eap("IfCe1")))
}

// be has a site say who it is when it dials.
func (s *site) be(user, password string, root *pki.Authority, change ...func(conn map[string]any)) {
	s.t.Helper()
	s.call("clear-creds", nil)
	s.call("load-shared", message(s.t, map[string]any{
		"id": "user", "type": "EAP", "data": password, "owners": []string{user},
	}))
	everything := []string{"0.0.0.0/0", "::/0"}
	conn := map[string]any{
		"version": "2", "local_addrs": []string{s.address}, "remote_addrs": []string{s.gateway},
		"if_id_in": "7", "if_id_out": "7", "keyingtries": "1", "dpd_delay": "5s",
		"local":  map[string]any{"auth": "eap-mschapv2", "eap_id": user},
		"remote": map[string]any{"auth": "pubkey", "id": "gw.fabrikam.example", "cacerts": []string{string(root.Raw)}},
		"children": map[string]any{"gw": map[string]any{
			"local_ts": everything, "remote_ts": everything, "replay_window": "1024", "dpd_action": "none",
			"esp_proposals": []string{"aes256gcm16", "aes256-sha256"},
		}},
	}
	for _, f := range change {
		f(conn)
	}
	s.call("load-conn", message(s.t, map[string]any{"gw": conn}))
}

func TestEAPUsersOpenTheTunnelsOfTheirInterfacesOnly(t *testing.T) {
	w := newEAPWorld(t)
	contoso, woodgrove := w.site["Contoso"], w.site["Woodgrove"]
	contoso.be("ifce1", "secret of Contoso", w.provider) // RADIUS and charon compare without case
	woodgrove.be(`FABRIKAM\IfWe1`, "sécret of Woodgrove", w.provider)
	contoso.dial()
	woodgrove.dial()
	for tenant := range w.site {
		waitState(t, w.manager, tenant, vpn.Connected)
		if !w.ping(tenant) {
			t.Errorf("no ping through %s's tunnel", tenant)
		}
	}
	before := tunnel(t, w.manager, "Woodgrove")

	for want, user := range map[string][2]string{
		"RADIUS refused the user IfCe1":               {"IfCe1", "secret of Woodgrove"},
		"RADIUS refused the user Stranger":            {"Stranger", "secret of Contoso"},
		"no S2S interface has the user name Nobody's": {"Nobody's", "secret of nobody"},
		`RADIUS refused the user FABRIKAM\IfWe1`:      {`FABRIKAM\IfWe1`, "secret of Contoso"},
	} {
		contoso.restart()
		contoso.be(user[0], user[1], w.provider)
		from := time.Now()
		contoso.dial()
		if got := w.refusal(from); !strings.Contains(got, want) {
			t.Errorf("refused because %q, want %q", got, want)
		}
	}
	// One that wants no EAP comes no further, and is told of as well.
	contoso.restart()
	contoso.load()
	from := time.Now()
	contoso.dial()
	if got := w.refusal(from); !strings.Contains(got, "59.10.10.10") {
		t.Errorf("a peer with a pre-shared key was refused because %q", got)
	}
	if now := tunnel(t, w.manager, "Woodgrove"); now.SPIIn != before.SPIIn || now.SPIIn == "" {
		t.Errorf("Woodgrove's SA was touched: %+v", now)
	}

	// By IPv6 too, at another address of the gateway's than the declared one.
	for _, end := range []struct {
		node      *lab.Node
		link, own string
	}{{w.charon.node, "w0", "2001:db8::1"}, {contoso.node, "wan", "2001:db8::10"}} {
		run(t, end.node, "sysctl", "-qw", "net.ipv6.conf."+end.link+".disable_ipv6=0")
		run(t, end.node, "ip", "addr", "add", end.own+"/64", "dev", end.link, "nodad")
	}
	contoso.restart()
	contoso.be("IfCe1", "secret of Contoso", w.provider, func(conn map[string]any) {
		conn["local_addrs"], conn["remote_addrs"] = []string{"2001:db8::10"}, []string{"2001:db8::1"}
	})
	contoso.dial()
	eventually(t, 30*time.Second, "the tunnel by IPv6", func() bool {
		return strings.HasPrefix(tunnel(t, w.manager, "Contoso").Peer, "[2001:db8::10]") && w.ping("Contoso")
	})
}

func run(t *testing.T, n *lab.Node, name string, args ...string) {
	t.Helper()
	if out, err := n.Run(t.Context(), name, args...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestEAPSitesWithCertificatesAreVouchedForByTheirOwnAuthorities(t *testing.T) {
	w := newEAPWorld(t)
	revoked := w.issue(w.contoso, pki.Request{CommonName: "IfCe1", Names: []string{"IfCe1"}})
	w.contoso.Revoke(revoked)
	list, err := w.contoso.CRL()
	must(t, err)
	w.users.RevocationLists, w.users.Responders = [][]byte{list}, true
	responder := "http://127.0.0.1:8888"
	takenBack := w.issue(w.contoso, pki.Request{CommonName: "IfCe1", Names: []string{"IfCe1"}, OCSP: responder})
	confirmed := w.issue(w.contoso, pki.Request{CommonName: "IfCe1", Names: []string{"IfCe1"}, OCSP: responder})
	w.contoso.Revoke(takenBack) // after the list was made
	w.respond(w.contoso)
	w.users.Sites = []radius.Site{
		{Name: "IfCe1", Authorities: [][]byte{w.contoso.Raw}},
		{Name: `FABRIKAM\IfWe1`, Password: vpn.Secret("sécret of Woodgrove"), Authorities: [][]byte{w.provider.Raw}},
	}
	before := w.radius.Process().PID()
	must(t, radius.Set(w.dir(), w.users))
	eventually(t, 20*time.Second, "FreeRADIUS to be started anew", func() bool { return w.radius.Process().PID() != before })

	contoso, other := w.site["Contoso"], `FABRIKAM\IfWe1`
	for _, c := range []struct {
		own  *pki.Certificate
		user string
		good bool
	}{
		{w.issue(w.contoso, pki.Request{CommonName: "IfCe1", Names: []string{"IfCe1"}}), "IfCe1", true},
		{w.issue(w.contoso, pki.Request{CommonName: "Other", Names: []string{"IfCe1"}}), "IfCe1", false},
		{w.issue(w.contoso, pki.Request{CommonName: "IfCe1", Names: []string{"IfCe1"}, Expired: true}), "IfCe1", false},
		{w.issue(w.provider, pki.Request{CommonName: "IfCe1", Names: []string{"IfCe1"}}), "IfCe1", false},
		{w.issue(w.contoso, pki.Request{CommonName: other, Names: []string{other}}), other, false},
		{revoked, "IfCe1", false},
		{takenBack, "IfCe1", false},
		{confirmed, "IfCe1", true},
	} {
		contoso.restart()
		contoso.be(c.user, "none", w.provider, func(conn map[string]any) {
			conn["local"] = map[string]any{"auth": "eap-tls", "eap_id": c.user, "certs": []string{string(c.own.Raw)}}
			key, err := c.own.KeyPEM()
			must(t, err)
			contoso.call("load-key", message(t, map[string]any{"type": "any", "data": key}))
		})
		from := time.Now()
		contoso.dial()
		if c.good {
			waitState(t, w.manager, "Contoso", vpn.Connected)
			must(t, w.manager.Disconnect(t.Context(), "Contoso", "IfCe1"))
			continue
		}
		if got := w.refusal(from); !strings.Contains(got, "RADIUS refused the user "+c.user) {
			t.Errorf("%s of %s as %s: refused because %q", c.own.Subject, c.own.Issuer, c.user, got)
		}
	}
}

func (s *site) restart() { s.kill(); s.start() }
