//go:build vm

package vpn_test

import (
	"strings"
	"testing"

	"bulkhead/lab/pki"
	"bulkhead/vpn"
)

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
