//go:build vm

package vpn_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/vpn"
)

// cut takes a site's uplink down, and mend brings it back.
func (n *network) cut(tenant string) {
	n.t.Helper()
	far := n.site[tenant].node.NS
	must(n.t, handle(n.t, far).LinkSetDown(up(n.t, far, "wan")))
}

func (n *network) mend(tenant string) {
	n.t.Helper()
	far := n.site[tenant].node.NS
	route(n.t, far, up(n.t, far, "wan"), gatewayAddress+"/32", siteAddress[tenant])
}

func waitEvent(t *testing.T, n *network, tenant string, kind vpn.EventKind, after int) (vpn.Event, int) {
	t.Helper()
	var found vpn.Event
	eventually(t, 60*time.Second, "that "+tenant+"'s tunnel is "+string(kind), func() bool {
		n.events.mu.Lock()
		defer n.events.mu.Unlock()
		for k := after; k < len(n.events.list); k++ {
			if e := n.events.list[k]; e.Tenant == tenant && e.Kind == kind {
				found, after = e, k+1
				return true
			}
		}
		return false
	})
	return found, after
}

// Contoso's tunnel is dialled on demand, Woodgrove's always: both return with nobody's help, whether their site was
// silent when it was dialled, or fell silent later.
func TestUnreachableSitesReturnByThemselves(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	n.cut("Contoso")
	n.cut("Woodgrove")
	defaults := func(by vpn.Initiate) func(*vpn.Interface) {
		return func(i *vpn.Interface) { i.Initiate, i.DPD = by, 0 }
	}
	set(t, m, "Contoso", wanted("Contoso", defaults(vpn.OnDemand)))
	set(t, m, "Woodgrove", wanted("Woodgrove", defaults(vpn.Always)))
	m.Dial("Contoso", "IfCe1")
	seen := map[string]int{}
	unreachable := func() {
		t.Helper()
		began := time.Now()
		for tenant := range n.site {
			var e vpn.Event
			e, seen[tenant] = waitEvent(t, n, tenant, vpn.WentUnreachable, seen[tenant])
			if state := m.States(tenant)["IfCe1"]; e.Reason != "the peer does not answer" || state != vpn.Unreachable {
				t.Errorf("%s: %s, told %+v", tenant, state, e)
			}
			t.Logf("%s was unreachable after %v", tenant, time.Since(began).Round(time.Second))
			if now := tunnel(t, m, tenant); now.State != vpn.Unreachable || !strings.Contains(now.LastError, "answer") ||
				now.Since.Before(began) || now.LastErrorAt.Before(began) {
				t.Errorf("%s shows %+v", tenant, now)
			}
		}
	}
	back := func() {
		t.Helper()
		for tenant := range n.site {
			n.mend(tenant)
		}
		for tenant := range n.site {
			_, seen[tenant] = waitEvent(t, n, tenant, vpn.Up, seen[tenant])
			if !n.ping(tenant) {
				t.Errorf("%s: no ping", tenant)
			}
		}
	}
	unreachable()
	back()
	n.cut("Contoso")
	n.cut("Woodgrove")
	unreachable()
	back()
}

func TestAnIdleTunnelIsTakenDownWithoutCallingItUnreachable(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	set(t, m, "Contoso", wanted("Contoso", func(i *vpn.Interface) { i.Initiate, i.Idle = vpn.OnDemand, 2*time.Second }))
	must(t, m.Connect(context.Background(), "Contoso", "IfCe1"))
	down, seen := waitEvent(t, n, "Contoso", vpn.Down, 0)
	if !strings.HasPrefix(down.Reason, "idle for 2 s") || m.States("Contoso")["IfCe1"] != vpn.Disconnected {
		t.Errorf("told %+v, and the tunnel is %s", down, m.States("Contoso")["IfCe1"])
	}
	eventually(t, 10*time.Second, "the SAs' end", func() bool { return len(n.spisTo("Contoso")) == 0 })
	if sas := n.charon.sas(); len(sas) != 0 {
		t.Errorf("charon still has %q", sas)
	}
	// The next packet brings it up again.
	eventually(t, 30*time.Second, "a ping", func() bool { return n.ping("Contoso") })
	if _, again := waitEvent(t, n, "Contoso", vpn.Up, seen); again == 0 {
		t.Error("it did not come up")
	}
	if slices.ContainsFunc(n.events.list, func(e vpn.Event) bool { return e.Kind == vpn.WentUnreachable }) {
		t.Errorf("told %+v", n.events.list)
	}
}

func TestADisabledInterfaceIsDownAndNeitherEndDials(t *testing.T) {
	n := newNetwork(t)
	m, _ := n.manager()
	before := n.bothUp(m)
	disabled := func(i *vpn.Interface) { i.Initiate, i.Disabled = vpn.Always, true }
	set(t, m, "Contoso", wanted("Contoso", disabled))
	if now := tunnel(t, m, "Contoso"); now.State != vpn.Disconnected || !now.Disabled || len(n.spisTo("Contoso")) != 0 {
		t.Errorf("the tunnel shows %+v", now)
	}
	n.site["Contoso"].dial()
	eventually(t, 30*time.Second, "the refusal", func() bool {
		_, ok := n.events.find(func(e vpn.Event) bool { return e.Kind == vpn.Failed && e.Peer == siteAddress["Contoso"] })
		return ok
	})
	if err := m.Connect(context.Background(), "Contoso", "IfCe1"); err == nil || !strings.Contains(err.Error(), "disabled") {
		t.Errorf("Connect said %v", err)
	}
	if now := tunnel(t, m, "Woodgrove"); now.SPIIn != before["Woodgrove"].SPIIn {
		t.Errorf("Woodgrove's SA was touched: %+v", now)
	}
	set(t, m, "Contoso", wanted("Contoso", func(i *vpn.Interface) { i.Initiate = vpn.Always }))
	waitState(t, m, "Contoso", vpn.Connected)
}
