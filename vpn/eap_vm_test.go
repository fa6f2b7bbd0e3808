//go:build vm

package vpn_test

import (
	"net/netip"
	"os"
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

	contoso := w.site["Contoso"]
	for _, c := range []struct {
		own  *pki.Certificate
		user string
		good bool
	}{
		{w.issue(w.contoso, pki.Request{CommonName: "IfCe1", Names: []string{"IfCe1"}}), "IfCe1", true},
		{w.issue(w.contoso, pki.Request{CommonName: "Other", Names: []string{"IfCe1"}}), "IfCe1", false},
		{w.issue(w.contoso, pki.Request{CommonName: "IfCe1", Names: []string{"IfCe1"}, Expired: true}), "IfCe1", false},
		{w.issue(w.provider, pki.Request{CommonName: "IfCe1", Names: []string{"IfCe1"}}), "IfCe1", false},
		{w.issue(w.contoso, pki.Request{CommonName: `FABRIKAM\IfWe1`, Names: []string{`FABRIKAM\IfWe1`}}), `FABRIKAM\IfWe1`, false},
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

func TestEAPTunnelsOutliveTheManagerAndAChangeOfCertificateAndUsers(t *testing.T) {
	w := newEAPWorld(t)
	contoso, woodgrove := w.site["Contoso"], w.site["Woodgrove"]
	contoso.be("IfCe1", "secret of Contoso", w.provider)
	contoso.dial()
	before := waitState(t, w.manager, "Contoso", vpn.Connected)

	w.stop()
	w.certificates.gateway = w.issue(w.provider, pki.Request{CommonName: "new", Names: []string{"new.fabrikam.example"}})
	w.run()
	w.users.Sites[1].Password = vpn.Secret("new secret")
	radiusd := w.radius.Process().PID()
	must(t, radius.Set(w.dir(), w.users))
	eventually(t, 30*time.Second, "the new password and certificate to count", func() bool {
		woodgrove.be(`FABRIKAM\IfWe1`, "new secret", w.provider, func(conn map[string]any) {
			conn["remote"].(map[string]any)["id"] = "new.fabrikam.example"
		})
		woodgrove.dial()
		return settled(t, w.manager, "Woodgrove")
	})
	if w.radius.Process().PID() != radiusd {
		t.Error("changed users had FreeRADIUS started anew")
	}
	now := tunnel(t, w.manager, "Contoso")
	if now.SPIIn != before.SPIIn || now.State != vpn.Connected || !w.ping("Contoso") {
		t.Errorf("Contoso's tunnel was touched: %+v, before %+v", now, before)
	}
	if _, ok := w.events.find(func(e vpn.Event) bool { return e.Tenant == "Contoso" && e.Kind == vpn.Adopted }); !ok {
		t.Error("Contoso's tunnel was not adopted")
	}
}

// settled tells whether a dial came to the tunnel being up, once it has come to anything.
func settled(t *testing.T, m *vpn.Manager, tenant string) bool {
	t.Helper()
	var state vpn.State
	from := time.Now()
	eventually(t, 30*time.Second, "the dial to end", func() bool {
		one := tunnel(t, m, tenant)
		state = one.State
		return state == vpn.Connected || one.LastErrorAt.After(from)
	})
	return state == vpn.Connected
}

// upstreamConf is a RADIUS server of the provider's, which knows one site and one person.
const upstreamConf = `
prefix = /usr
libdir = /usr/lib/freeradius
raddbdir = DIR
logdir = DIR
run_dir = DIR
pidfile = DIR/radiusd.pid
name = upstream
log { 
	destination = stdout
	auth = yes
}
client gateway {
	ipaddr = 127.0.0.1
	secret = "the provider's \"$secret\""
}
modules {
	files {
		filename = DIR/users
	}
	mschap {
	}
	eap {
		default_eap_type = mschapv2
		mschapv2 {
		}
	}
}
server default {
	listen {
		type = auth
		ipaddr = 127.0.0.3
		port = 1812
	}
	authorize {
		files
		eap
	}
	authenticate {
		Auth-Type MS-CHAP {
			mschap
		}
		eap
	}
}
`

func TestEAPUsersOfTheProviderAreAskedOfTheFirstServerThatAnswers(t *testing.T) {
	w := newEAPWorld(t)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"radiusd.conf": strings.ReplaceAll(upstreamConf, "DIR", dir),
		"users": `IfCe1 Cleartext-Password := "known upstream"
Person Cleartext-Password := "of no site"
	Class := "S2S"
`,
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	upstream, err := lab.StartRADIUS(t.Context(), w.charon.node, dir)
	must(t, err)
	t.Cleanup(func() {
		if err := upstream.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the provider's server:\n%s", upstream.Process().LogTail(50))
		}
	})
	secret := vpn.Secret(`the provider's "$secret"`)
	w.users.Sites[0].Password = nil
	w.users.Upstream = []radius.Server{
		{Address: netip.MustParseAddrPort("127.0.0.2:1812"), Secret: secret}, // nobody is there
		{Address: netip.MustParseAddrPort("127.0.0.3:1812"), Secret: secret},
	}
	before := w.radius.Process().PID()
	must(t, radius.Set(w.dir(), w.users))
	eventually(t, 20*time.Second, "FreeRADIUS to be started anew", func() bool { return w.radius.Process().PID() != before })

	contoso := w.site["Contoso"]
	contoso.be("IfCe1", "known upstream", w.provider)
	contoso.dial()
	waitState(t, w.manager, "Contoso", vpn.Connected)
	contoso.restart()
	contoso.be("Person", "of no site", w.provider)
	from := time.Now()
	contoso.dial()
	if got := w.refusal(from); !strings.Contains(got, "no S2S interface has the user name Person") {
		t.Errorf("refused because %q", got)
	}
}

// answer has a site wait for a user of its own, with a certificate of its own.
func (s *site) answer(id string, own *pki.Certificate, user, password string, root *pki.Authority) {
	s.t.Helper()
	key, err := own.KeyPEM()
	must(s.t, err)
	s.call("clear-creds", nil)
	s.call("load-key", message(s.t, map[string]any{"type": "any", "data": key}))
	s.call("load-cert", message(s.t, map[string]any{"type": "x509", "flag": "ca", "data": string(root.Raw)}))
	method := "eap-tls"
	if password != "" {
		method = "eap-mschapv2"
		s.call("load-shared", message(s.t, map[string]any{
			"id": "user", "type": "EAP", "data": password, "owners": []string{user},
		}))
	}
	everything := []string{"0.0.0.0/0", "::/0"}
	s.call("load-conn", message(s.t, map[string]any{"gw": map[string]any{
		"version": "2", "local_addrs": []string{s.address}, "remote_addrs": []string{s.gateway},
		"if_id_in": "7", "if_id_out": "7", "send_cert": "always",
		"local":  map[string]any{"auth": "pubkey", "id": id, "certs": []string{string(own.Raw)}},
		"remote": map[string]any{"auth": method, "eap_id": user, "id": "%any"},
		"children": map[string]any{"gw": map[string]any{
			"local_ts": everything, "remote_ts": everything, "replay_window": "1024",
			"esp_proposals": []string{"aes256gcm16", "aes256-sha256"},
		}},
	}}))
}

// dialling has an interface dial its site as a user there.
func dialling(user, password string, site *pki.Authority) func(*vpn.Interface) {
	return func(i *vpn.Interface) {
		i.Method, i.PSK, i.UserName, i.RemoteID = vpn.EAP, nil, "", "fqdn:ny.contoso.example"
		i.DialUserName, i.DialPassword, i.Authorities = user, vpn.Secret(password), [][]byte{site.Raw}
	}
}

func TestASiteIsDialledWithAUserNameThere(t *testing.T) {
	w := newEAPWorld(t)
	contoso := w.site["Contoso"]
	own := w.issue(w.contoso, pki.Request{CommonName: "ny", Names: []string{"ny.contoso.example"}})
	for _, c := range []struct {
		name, user, password, said string
		root                       *pki.Authority
		want                       string // where it fails
	}{
		{"password", "Fabrikam", "hush", "hush", w.contoso, ""},
		{"certificate", "Fabrikam", "", "", w.contoso, ""},
		{"wrong password", "Fabrikam", "hush", "wrong", w.contoso, "the peer refused our user name or password"},
		{"another's site", "Fabrikam", "hush", "hush", w.provider, "by none of the authorities"},
	} {
		contoso.restart()
		contoso.answer("ny.contoso.example", own, c.user, c.password, w.provider)
		set(t, w.manager, "Contoso", wanted("Contoso", dialling(c.user, c.said, c.root)))
		err := w.manager.Connect(t.Context(), "Contoso", "IfCe1")
		switch {
		case c.want == "" && (err != nil || !w.ping("Contoso")):
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err := w.manager.Disconnect(t.Context(), "Contoso", "IfCe1"); err != nil {
			t.Error(err)
		}
	}

	// Another tenant's site may know us by the same name, with another password.
	woodgrove := w.site["Woodgrove"]
	other := w.issue(w.provider, pki.Request{CommonName: "ny", Names: []string{"ny.woodgrove.example"}})
	woodgrove.answer("ny.woodgrove.example", other, "Fabrikam", "another", w.provider)
	set(t, w.manager, "Woodgrove", wanted("Woodgrove", dialling("Fabrikam", "another", w.provider), func(i *vpn.Interface) {
		i.UserName, i.RemoteID = "IfWe1", "fqdn:ny.woodgrove.example"
	}))
	contoso.restart()
	contoso.answer("ny.contoso.example", own, "Fabrikam", "hush", w.provider)
	set(t, w.manager, "Contoso", wanted("Contoso", dialling("Fabrikam", "hush", w.contoso)))
	for tenant := range w.site {
		if err := w.manager.Connect(t.Context(), tenant, "IfCe1"); err != nil {
			t.Error(err)
		}
	}
	if err := w.manager.Disconnect(t.Context(), "Contoso", "IfCe1"); err != nil {
		t.Error(err)
	}

	// The site's own user dials the same interface, which is known by the one or the other.
	contoso.restart()
	contoso.be("IfCe1", "secret of Contoso", w.provider)
	contoso.dial()
	waitState(t, w.manager, "Contoso", vpn.Connected)
	before := tunnel(t, w.manager, "Contoso")
	set(t, w.manager, "Contoso", wanted("Contoso", dialling("Fabrikam", "other", w.contoso)))
	if now := tunnel(t, w.manager, "Contoso"); now.SPIIn != before.SPIIn || before.SPIIn == "" {
		t.Errorf("another password to dial with ended the tunnel: %+v, before %+v", now, before)
	}
}
