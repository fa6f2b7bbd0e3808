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
