//go:build vm

package vpn_test

import (
	"strings"
	"testing"
	"time"

	"bulkhead/vpn"
)

// The site is behind NAT as far as IKE is concerned: it says who it is by a name of its own.
func TestAPolicyIsWhatIsNegotiated(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	site := n.site["Contoso"]
	site.id, site.ike, site.esp = "ny.contoso.example", []string{"aes128-sha256-ecp256"}, []string{"aes128gcm16-ecp256"}
	site.load()
	want := func(change ...func(*vpn.Interface)) []vpn.Interface {
		return wanted("Contoso", append([]func(*vpn.Interface){func(i *vpn.Interface) {
			i.RemoteID = site.id
			i.Policy = vpn.Policy{
				IKEProposals: site.ike, ESPProposals: site.esp, DPD: 2 * time.Second, IKELifetime: 2 * time.Hour,
				ESPLifetime: 30 * time.Minute, ESPLifetimeBytes: 4096, NoMOBIKE: true, NoFragmentation: true,
				ForceEncapsulation: true, HardwareOffload: true,
			}
		}}, change...)...)
	}
	set(t, m, "Contoso", want())
	must(t, m.Connect(t.Context(), "Contoso", "IfCe1"))
	now := tunnel(t, m, "Contoso")
	if !strings.Contains(now.IKE, "AES_CBC-128") || !strings.Contains(now.IKE, "ECP_256") ||
		now.ESP != "AES_GCM_16-128" || !now.Encapsulated || now.PeerID != site.id {
		t.Errorf("negotiated: %+v", now)
	}
	if now.RekeyInSeconds <= 0 || now.RekeyInSeconds > 1800 {
		t.Errorf("the ESP SA is replaced in %d s", now.RekeyInSeconds)
	}
	// 4 kB and not more, and the next SA has a key exchange of its own.
	eventually(t, 30*time.Second, "an SA for the next bytes", func() bool {
		n.ping("Contoso")
		next := tunnel(t, m, "Contoso")
		return next.SPIIn != now.SPIIn && strings.HasSuffix(next.ESP, "/ECP_256")
	})
	if down := n.events.contosos(vpn.Down); down != 0 {
		t.Errorf("the tunnel went down %d times", down)
	}

	for _, bad := range []struct {
		what, reason string
		dials        bool // the gateway does
		change       func(*vpn.Interface)
	}{
		{"another IKE proposal", "NO_PROPOSAL_CHOSEN", true,
			func(i *vpn.Interface) { i.IKEProposals = []string{"aes256-sha384-ecp384"} }},
		{"another ESP proposal", "NO_PROPOSAL_CHOSEN", true,
			func(i *vpn.Interface) { i.ESPProposals = []string{"aes256gcm16"} }},
		{"another IKE proposal", "no IKE proposal in common", false,
			func(i *vpn.Interface) { i.IKEProposals = []string{"aes256-sha384-ecp384"} }},
		{"another ESP proposal", "no proposal in common", false,
			func(i *vpn.Interface) { i.ESPProposals = []string{"aes256gcm16"} }},
	} {
		must(t, m.Disconnect(t.Context(), "Contoso", "IfCe1"))
		set(t, m, "Contoso", want(bad.change))
		from := time.Now()
		if bad.dials {
			err := m.Connect(t.Context(), "Contoso", "IfCe1")
			if err == nil || !strings.Contains(err.Error(), bad.reason) {
				t.Errorf("%s: dialling ends with %v", bad.what, err)
			}
			continue
		}
		site.dial()
		if reason := n.refusal(from); !strings.Contains(reason, bad.reason) {
			t.Errorf("%s: the reason is %q", bad.what, reason)
		}
	}
}
