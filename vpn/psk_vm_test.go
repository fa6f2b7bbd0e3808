//go:build vm

package vpn_test

import (
	"strings"
	"testing"
	"time"

	"bulkhead/vpn"
)

// While two keys are good, a site may have either and either end may dial. The gateway itself can use one at a time, and
// finds out which after one refusal.
func TestOfTwoKeysThePeerMayHaveEitherWhoeverDials(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	set(t, m, "Contoso", wanted("Contoso", func(i *vpn.Interface) {
		i.PSK, i.PreviousPSK, i.Initiate = vpn.Secret("new"), vpn.Secret("key of Contoso"), vpn.Always
	}))
	site := n.site["Contoso"]
	first := waitState(t, m, "Contoso", vpn.Connected)

	// The site gets the new key: the standing tunnel stays, and the next dial finds out.
	site.key = "new"
	site.load()
	if now := tunnel(t, m, "Contoso"); now.SPIIn != first.SPIIn {
		t.Errorf("the tunnel was touched: %+v, before %+v", now, first)
	}
	must(t, m.Disconnect(t.Context(), "Contoso", "IfCe1"))
	if err := m.Connect(t.Context(), "Contoso", "IfCe1"); err == nil {
		t.Error("the site has both keys")
	}
	waitState(t, m, "Contoso", vpn.Connected)

	// And back, with the site dialling.
	set(t, m, "Contoso", wanted("Contoso", func(i *vpn.Interface) {
		i.PSK, i.PreviousPSK = vpn.Secret("new"), vpn.Secret("key of Contoso")
	}))
	must(t, m.Disconnect(t.Context(), "Contoso", "IfCe1"))
	site.key = "key of Contoso"
	site.load()
	loads := func() int { return strings.Count(n.charon.log(), "loaded IKE shared key with id 'Contoso/IfCe1") }
	before := loads()
	site.dial()
	eventually(t, 30*time.Second, "the gateway to turn to the other key", func() bool { return loads() == before+2 })
	site.dial()
	eventually(t, 30*time.Second, "a ping through the site's tunnel", func() bool { return n.ping("Contoso") })
	// With the old key out, it opens nothing.
	set(t, m, "Contoso", wanted("Contoso", func(i *vpn.Interface) { i.PSK = vpn.Secret("new") }))
	must(t, m.Disconnect(t.Context(), "Contoso", "IfCe1"))
	from := time.Now()
	site.dial()
	if reason := n.refusal(from); !strings.Contains(reason, "wrong pre-shared key") {
		t.Errorf("the reason is %q", reason)
	}
}
