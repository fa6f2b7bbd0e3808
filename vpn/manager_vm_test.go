//go:build vm

package vpn_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/vpn"
)

func TestTenantsWithTheSameAddressesHaveTunnelsOfTheirOwn(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	tunnels := n.bothUp(m)
	for tenant, tun := range tunnels {
		if tun.SPIIn == "" || tun.SPIOut == "" || tun.IKE == "" || tun.ESP == "" || tun.RekeyInSeconds <= 0 {
			t.Errorf("%s: incomplete: %+v", tenant, tun)
		}
		if tun.Peer != siteAddress[tenant]+":4500" && tun.Peer != siteAddress[tenant]+":500" {
			t.Errorf("%s: the peer is %s", tenant, tun.Peer)
		}
		if _, ok := n.events.find(func(e vpn.Event) bool { return e.Tenant == tenant && e.Kind == vpn.Up }); !ok {
			t.Errorf("%s: no event told that the tunnel is up", tenant)
		}
	}
	// Contoso's ping goes through Contoso's tunnel, to Contoso's site, and through nothing of Woodgrove's.
	if !n.ping("Contoso") {
		t.Fatal("no ping through Contoso's tunnel")
	}
	contoso, woodgrove := tunnel(t, m, "Contoso"), tunnel(t, m, "Woodgrove")
	if contoso.PacketsOut != 1 || contoso.PacketsIn != 1 || woodgrove.PacketsOut != 0 || woodgrove.PacketsIn != 0 {
		t.Errorf("one ping of Contoso's was counted as %+v and %+v", contoso, woodgrove)
	}
	if !n.ping("Woodgrove") {
		t.Error("no ping through Woodgrove's tunnel")
	}
}

func TestUnchangedSetChangesNothingAndAChangeTouchesOneInterface(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	before := n.bothUp(m)
	lines := strings.Count(n.charon.log(), "\n")
	for tenant := range n.site {
		set(t, m, tenant, wanted(tenant))
	}
	if after := strings.Count(n.charon.log(), "\n"); after != lines {
		t.Errorf("charon was told something by an unchanged Set:\n%s", n.charon.log())
	}
	// Another key or other timers leave even the interface's own SAs alone.
	set(t, m, "Contoso", wanted("Contoso", func(i *vpn.Interface) { i.DPD, i.Initiate = 3*time.Second, vpn.OnDemand }))
	for tenant, old := range before {
		if now := tunnel(t, m, tenant); now.SPIIn != old.SPIIn || now.SPIOut != old.SPIOut {
			t.Errorf("%s: the SPIs went from %s/%s to %s/%s", tenant, old.SPIIn, old.SPIOut, now.SPIIn, now.SPIOut)
		}
	}
	// Another identity ends the SAs of this interface before Set returns, and of no other.
	set(t, m, "Contoso", wanted("Contoso", func(i *vpn.Interface) { i.LocalID = "gw.example" }))
	if now := tunnel(t, m, "Contoso"); now.State == vpn.Connected {
		t.Errorf("Contoso's old SA stands: %+v", now)
	}
	if now := tunnel(t, m, "Woodgrove"); now.SPIIn != before["Woodgrove"].SPIIn {
		t.Errorf("Contoso's change took Woodgrove's SA: %+v", now)
	}
	// A removed interface is unknown to charon when Set returns.
	set(t, m, "Woodgrove", nil)
	tenants, err := m.Tenants(context.Background())
	if err != nil || !slices.Equal(tenants, []string{"Contoso"}) {
		t.Errorf("charon still has something of %q (%v)", tenants, err)
	}
	if left := n.spisTo("Woodgrove"); len(left) != 0 {
		t.Errorf("the kernel still has SAs of the removed interface: %q", left)
	}
	// And can come back at once.
	set(t, m, "Woodgrove", wanted("Woodgrove"))
	must(t, m.Connect(context.Background(), "Woodgrove", "IfCe1"))
	waitState(t, m, "Woodgrove", vpn.Connected)
	if !n.ping("Woodgrove") {
		t.Error("no ping after the interface came back")
	}
}

func TestAKeyOfAnotherTenantIsRefusedWithAReason(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	n.site["Contoso"].key = "key of Woodgrove"
	n.site["Contoso"].load()
	for tenant := range n.site {
		set(t, m, tenant, wanted(tenant))
	}
	n.site["Contoso"].dial()
	var refused vpn.Event
	eventually(t, 30*time.Second, "the refusal", func() bool {
		var ok bool
		refused, ok = n.events.find(func(e vpn.Event) bool { return e.Tenant == "Contoso" && e.Kind == vpn.Failed })
		return ok
	})
	if !strings.HasPrefix(refused.Peer, siteAddress["Contoso"]+":") ||
		!strings.Contains(refused.Reason, "wrong pre-shared key") {
		t.Errorf("the event does not say who and why: %+v", refused)
	}
	if now := tunnel(t, m, "Contoso"); now.State != vpn.Disconnected || now.LastError != refused.Reason {
		t.Errorf("the tunnel shows %+v", now)
	}
	if log := n.logs.String(); !strings.Contains(log, "wrong pre-shared key") || strings.Contains(log, "key of") {
		t.Errorf("the log lacks the reason, or has a key:\n%s", log)
	}
	// Dialled by us, the same peer is refused by itself, and unreachable.
	err := m.Connect(context.Background(), "Contoso", "IfCe1")
	if err == nil || !strings.Contains(err.Error(), "AUTHENTICATION_FAILED") {
		t.Errorf("Connect said %v", err)
	}
	now := waitState(t, m, "Contoso", vpn.Unreachable)
	if !strings.Contains(now.LastError, "AUTHENTICATION_FAILED") || now.LastErrorAt.IsZero() {
		t.Errorf("the tunnel shows %+v", now)
	}
	// With the right key declared here too, it comes up: the secret was replaced.
	set(t, m, "Woodgrove", nil)
	set(t, m, "Contoso", wanted("Contoso", func(i *vpn.Interface) { i.PSK = vpn.Secret("key of Woodgrove") }))
	n.site["Contoso"].dial()
	waitState(t, m, "Contoso", vpn.Connected)
}

func TestAPeerThatNoInterfaceExpectsIsRefusedWithAReason(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	set(t, m, "Contoso", wanted("Contoso"))
	n.site["Woodgrove"].dial()
	eventually(t, 30*time.Second, "the refusal of a strange address", func() bool {
		_, ok := n.events.find(func(e vpn.Event) bool {
			return e.Tenant == "" && e.Kind == vpn.Failed && e.Peer == siteAddress["Woodgrove"]
		})
		return ok
	})
	// Contoso's address, with the right key, but with an identity that is not Contoso's.
	n.site["Contoso"].id = siteAddress["Woodgrove"]
	n.site["Contoso"].load()
	n.site["Contoso"].dial()
	eventually(t, 30*time.Second, "the refusal of a strange identity", func() bool {
		_, ok := n.events.find(func(e vpn.Event) bool {
			return e.Kind == vpn.Failed && e.Peer == siteAddress["Contoso"] &&
				strings.Contains(e.Reason, siteAddress["Woodgrove"])
		})
		return ok
	})
	if now := tunnel(t, m, "Contoso"); now.State != vpn.Disconnected {
		t.Errorf("the tunnel shows %+v", now)
	}
}

func TestAPacketDialsATunnelOnDemandAlsoWithoutTheManager(t *testing.T) {
	n := newNetwork(t)
	m, stop := n.manager()
	for tenant := range n.site {
		set(t, m, tenant, wanted(tenant, func(i *vpn.Interface) { i.Initiate = vpn.OnDemand }))
	}
	if now := tunnel(t, m, "Contoso"); now.State != vpn.Disconnected {
		t.Fatalf("up before any packet: %+v", now)
	}
	eventually(t, 30*time.Second, "a ping through the tunnel that it dials", func() bool { return n.ping("Contoso") })
	waitState(t, m, "Contoso", vpn.Connected)
	if now := tunnel(t, m, "Woodgrove"); now.State != vpn.Disconnected {
		t.Errorf("Contoso's packet dialled Woodgrove: %+v", now)
	}
	stop()
	eventually(t, 30*time.Second, "a ping while no manager runs", func() bool { return n.ping("Woodgrove") })
	before := n.events.contosos(vpn.Up)
	// A new Manager adopts: nothing is told to go or come, the SPIs stay.
	spi := espSPIs(t, n)
	m, _ = n.manager()
	for tenant := range n.site {
		set(t, m, tenant, wanted(tenant, func(i *vpn.Interface) { i.Initiate = vpn.OnDemand }))
		if now := tunnel(t, m, tenant); now.State != vpn.Connected {
			t.Errorf("%s was not adopted: %+v", tenant, now)
		}
	}
	if after := espSPIs(t, n); after != spi || spi == "" {
		t.Errorf("the SPIs went from %s to %s", spi, after)
	}
	if n.events.contosos(vpn.Adopted) != 1 || n.events.contosos(vpn.Up) != before {
		t.Error("the new manager did not tell that Contoso's tunnel is up, or as if it had just come up")
	}
}

// restart kills a site's charon, so that nobody is told, and starts it with nothing in its kernel.
func (n *network) restart(s *site) {
	n.t.Helper()
	s.kill()
	s.start()
	s.load()
}

// spisTo is the SPIs of the gateway's SAs towards a tenant's site.
func (n *network) spisTo(tenant string) []string {
	n.t.Helper()
	out, err := n.charon.node.Run(context.Background(), "ip", "xfrm", "state")
	must(n.t, err)
	var to string
	var spis []string
	for line := range strings.SplitSeq(out, "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) > 3 && f[0] == "src":
			to = f[3]
		case len(f) > 3 && f[0] == "proto" && to == siteAddress[tenant] && f[3] != "0x00000000":
			spis = append(spis, f[3])
		}
	}
	return spis
}

// espSPIs is all SPIs in the gateway's kernel, as one comparable text.
func espSPIs(t *testing.T, n *network) string {
	t.Helper()
	out, err := n.charon.node.Run(context.Background(), "ip", "xfrm", "state")
	must(t, err)
	var spis []string
	for line := range strings.SplitSeq(out, "\n") {
		// Larval SAs of packets on their way have an SPI of 0.
		if f := strings.Fields(line); len(f) > 3 && f[0] == "proto" && f[3] != "0x00000000" {
			spis = append(spis, f[3])
		}
	}
	slices.Sort(spis)
	return strings.Join(spis, " ")
}

func TestANewManagerEndsSAsOfAnOlderDeclaration(t *testing.T) {
	n := newNetwork(t)
	m, stop := n.manager()
	before := n.bothUp(m)
	stop()
	m, _ = n.manager()
	set(t, m, "Woodgrove", wanted("Woodgrove"))
	set(t, m, "Contoso", wanted("Contoso", func(i *vpn.Interface) { i.IfID = 201 }))
	if now := tunnel(t, m, "Contoso"); now.State == vpn.Connected {
		t.Errorf("the SA with the old if_id stands: %+v", now)
	}
	if now := tunnel(t, m, "Woodgrove"); now.SPIIn != before["Woodgrove"].SPIIn {
		t.Errorf("Woodgrove's SA was touched: %+v", now)
	}
}

func TestTunnelsComeBackAfterCharonWasKilled(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	before := n.bothUp(m)
	n.charon.kill()
	eventually(t, 10*time.Second, "the manager to notice", func() bool {
		_, err := m.Tunnels(context.Background())
		return errors.Is(err, vpn.ErrNotConnected)
	})
	if err := m.Set(context.Background(), "Contoso", wanted("Contoso")); !errors.Is(err, vpn.ErrNotConnected) {
		t.Errorf("Set without charon returned %v", err)
	}
	n.charon.start()
	began := time.Now()
	for tenant := range n.site {
		eventually(t, 30*time.Second, "a ping of "+tenant, func() bool { return n.ping(tenant) })
		if now := waitState(t, m, tenant, vpn.Connected); now.SPIIn == before[tenant].SPIIn {
			t.Errorf("%s: still the old SA? %+v", tenant, now)
		}
	}
	t.Logf("both tunnels were back %v after charon was started", time.Since(began).Round(time.Millisecond))
}

func TestTunnelsComeBackAfterCharonWasStoppedInOrder(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	n.bothUp(m)
	must(t, n.charon.Stop())
	n.charon.start()
	for tenant := range n.site {
		waitState(t, m, tenant, vpn.Connected)
	}
}

func TestATunnelThatIsAlwaysUpIsDialledAgain(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	always := func(i *vpn.Interface) { i.Initiate = vpn.Always }
	set(t, m, "Contoso", wanted("Contoso", always))
	first := waitState(t, m, "Contoso", vpn.Connected)
	n.site["Contoso"].call("terminate", message(t, map[string]any{"ike": "gw", "timeout": "-1"}))
	eventually(t, 30*time.Second, "another tunnel", func() bool {
		now := tunnel(t, m, "Contoso")
		return now.State == vpn.Connected && now.SPIIn != first.SPIIn
	})
	down, _ := n.events.find(func(e vpn.Event) bool { return e.Tenant == "Contoso" && e.Kind == vpn.Down })
	if down.Reason != "closed by the peer" {
		t.Errorf("the first Down was %+v", down)
	}
	// An operator's disconnect holds.
	must(t, m.Disconnect(context.Background(), "Contoso", "IfCe1"))
	if now := tunnel(t, m, "Contoso"); now.State != vpn.Disconnected {
		t.Errorf("after Disconnect: %+v", now)
	}
	must(t, m.Connect(context.Background(), "Contoso", "IfCe1"))
	waitState(t, m, "Contoso", vpn.Connected)
}

func TestAPeerThatStartsAnewReplacesItsOwnSAOnly(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	// Dead peer detection must not be what removes the old SA.
	for tenant := range n.site {
		set(t, m, tenant, wanted(tenant, func(i *vpn.Interface) { i.DPD = time.Minute }))
		n.site[tenant].dial()
	}
	old, bystander := waitState(t, m, "Contoso", vpn.Connected), waitState(t, m, "Woodgrove", vpn.Connected)
	n.restart(n.site["Contoso"])
	n.site["Contoso"].dial()
	eventually(t, 30*time.Second, "a second SA, and then the old one to go", func() bool {
		now := tunnel(t, m, "Contoso")
		return now.State == vpn.Connected && now.SPIIn != old.SPIIn && len(n.spisTo("Contoso")) == 1
	})
	if !n.ping("Contoso") {
		t.Error("no ping through the new SA")
	}
	if now := tunnel(t, m, "Woodgrove"); now.SPIIn != bystander.SPIIn {
		t.Errorf("Woodgrove's SA was touched: %+v", now)
	}
	if n.events.contosos(vpn.Down) != 0 {
		t.Error("the tunnel was said to be down in between")
	}
}

func TestInitialContactWithAnotherTenantsIdentityHurtsNobody(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	before := n.bothUp(m)
	// Contoso's site starts anew, and says that it is Woodgrove's, and the only one.
	attacker := n.site["Contoso"]
	attacker.id = siteAddress["Woodgrove"]
	n.restart(attacker)
	attacker.dial()
	eventually(t, 30*time.Second, "the refusal", func() bool {
		_, ok := n.events.find(func(e vpn.Event) bool { return e.Kind == vpn.Failed && e.Peer == siteAddress["Contoso"] })
		return ok
	})
	if now := tunnel(t, m, "Woodgrove"); now.State != vpn.Connected || now.SPIIn != before["Woodgrove"].SPIIn {
		t.Errorf("Woodgrove's SA was touched: %+v", now)
	}
	if !n.ping("Woodgrove") {
		t.Error("no ping through Woodgrove's tunnel")
	}
}

func TestATunnelFollowsItsPeersAddress(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	n.bothUp(m)
	// The peers swap: each tenant's interface now names the other's site, key and all.
	swap := map[string]string{"Contoso": "Woodgrove", "Woodgrove": "Contoso"}
	to := func(tenant string) func(*vpn.Interface) {
		return func(i *vpn.Interface) {
			i.PeerAddress, i.PSK = netip.MustParseAddr(siteAddress[swap[tenant]]), vpn.Secret("key of "+swap[tenant])
		}
	}
	err := m.Set(context.Background(), "Contoso", wanted("Contoso", to("Contoso")))
	if err == nil || !strings.Contains(err.Error(), "Woodgrove/IfCe1") {
		t.Fatalf("a peer of two tenants at once was accepted: %v", err)
	}
	set(t, m, "Woodgrove", nil)
	set(t, m, "Woodgrove", wanted("Woodgrove", to("Woodgrove")))
	for tenant := range n.site {
		must(t, m.Connect(context.Background(), tenant, "IfCe1"))
		if now := waitState(t, m, tenant, vpn.Connected); !strings.HasPrefix(now.Peer, siteAddress[swap[tenant]]+":") {
			t.Errorf("%s: the peer is %s", tenant, now.Peer)
		}
	}
}

func TestRekeyingIsNoChangeOfState(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	before := n.bothUp(m)["Contoso"]
	for kind, name := range map[string]string{"child": "IfCe1", "ike": "Contoso/IfCe1"} {
		n.charon.call("rekey", message(t, map[string]any{kind: name}))
		eventually(t, 20*time.Second, "rekeying of the "+kind, func() bool {
			now := tunnel(t, m, "Contoso")
			if kind == "child" {
				return now.SPIIn != before.SPIIn
			}
			return now.UniqueID != before.UniqueID
		})
	}
	now := tunnel(t, m, "Contoso")
	if now.State != vpn.Connected || !now.Since.Equal(before.Since) || n.events.contosos(vpn.Up) != 1 ||
		n.events.contosos(vpn.Down) != 0 {
		t.Errorf("rekeying showed: %+v, before %+v", now, before)
	}
	if !n.ping("Contoso") {
		t.Error("no ping after rekeying")
	}
	// What the events said is still right: the end of the rekeyed SA is the end of the tunnel.
	n.site["Contoso"].call("terminate", message(t, map[string]any{"ike": "gw", "timeout": "-1"}))
	waitState(t, m, "Contoso", vpn.Disconnected)
	eventually(t, 10*time.Second, "the event", func() bool { return n.events.contosos(vpn.Down) == 1 })
}
