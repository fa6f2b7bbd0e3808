//go:build vm

package vpn_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
	"bulkhead/lab"
	"bulkhead/vpn"
)

// The network of these tests. Both tenants' compartments have 10.0.254.2, both sites have 10.1.0.1.
//
//	contoso    --IfCe1 (if_id 101)--+                 +-- NY of Contoso, 59.10.10.10, ipsec0
//	                                gateway, 131.107.10.10
//	woodgrove  --IfCe1 (if_id 102)--+                 +-- NY of Woodgrove, 59.10.10.100, ipsec0
const gatewayAddress = "131.107.10.10"

var siteAddress = map[string]string{"Contoso": "59.10.10.10", "Woodgrove": "59.10.10.100"}

type network struct {
	t           *testing.T
	gateway     *netns.Namespace
	charon      *charon
	compartment map[string]*netns.Namespace
	site        map[string]*site
	logs        *logBuffer
	events      *eventLog
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{
		t: t, gateway: testenv.Namespace(t), compartment: map[string]*netns.Namespace{}, site: map[string]*site{},
		logs: &logBuffer{}, events: &eventLog{},
	}
	v4Only(t, n.gateway)
	up(t, n.gateway, "lo")
	for k, tenant := range []string{"Contoso", "Woodgrove"} {
		home, far := testenv.Namespace(t), testenv.Namespace(t)
		for _, ns := range []*netns.Namespace{home, far} {
			v4Only(t, ns)
			up(t, ns, "lo")
		}
		join(t, n.gateway, fmt.Sprintf("w%d", k), gatewayAddress, far, "wan", siteAddress[tenant])
		xfrm(t, n.gateway, home, "IfCe1", uint32(101+k), "10.0.254.2", "10.1.0.0/24")
		xfrm(t, far, far, "ipsec0", 7, "10.1.0.1", "10.0.0.0/16")
		n.compartment[tenant] = home
		n.site[tenant] = &site{
			charon: startCharon(t, tenant, far), address: siteAddress[tenant], gateway: gatewayAddress, key: "key of " + tenant,
		}
	}
	n.charon = startCharon(t, "the gateway", n.gateway)
	for _, s := range n.site {
		s.load()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the manager's log:\n%s", n.logs)
		}
	})
	return n
}

// manager runs a Manager until the returned function is called, or the test ends.
func (n *network) manager() (*vpn.Manager, func()) {
	n.t.Helper()
	m := vpn.New(vpn.Options{
		Socket: n.charon.Socket, Namespace: n.gateway, OnEvent: n.events.add,
		Log: slog.New(slog.NewTextHandler(n.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			n.t.Errorf("Run: %v", err)
		}
	})
	stop := func() { cancel(); wg.Wait() }
	n.t.Cleanup(stop)
	select {
	case <-m.Ready():
	case <-time.After(30 * time.Second):
		n.t.Fatal("the manager did not find charon")
	}
	return m, stop
}

// wanted is the declaration of a tenant's one interface.
func wanted(tenant string, change ...func(*vpn.Interface)) []vpn.Interface {
	i := vpn.Interface{
		Name: "IfCe1", IfID: 101, LocalAddress: netip.MustParseAddr(gatewayAddress),
		PeerAddress: netip.MustParseAddr(siteAddress[tenant]), PSK: vpn.Secret("key of " + tenant),
		Policy: vpn.Policy{DPD: 2 * time.Second}, Initiate: vpn.Never,
	}
	if tenant == "Woodgrove" {
		i.IfID = 102
	}
	for _, f := range change {
		f(&i)
	}
	return []vpn.Interface{i}
}

func set(t *testing.T, m *vpn.Manager, tenant string, want []vpn.Interface) {
	t.Helper()
	if err := m.Set(context.Background(), tenant, want); err != nil {
		t.Fatal(err)
	}
}

// tunnel is the state of a tenant's one tunnel.
func tunnel(t *testing.T, m *vpn.Manager, tenant string) vpn.Tunnel {
	t.Helper()
	all, err := m.Tunnels(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		if one.Tenant == tenant {
			return one
		}
	}
	t.Fatalf("no tunnel of %s in %+v", tenant, all)
	return vpn.Tunnel{}
}

func waitState(t *testing.T, m *vpn.Manager, tenant string, want vpn.State) vpn.Tunnel {
	t.Helper()
	var last vpn.Tunnel
	eventually(t, 60*time.Second, fmt.Sprintf("%s to be %s", tenant, want), func() bool {
		all, err := m.Tunnels(context.Background())
		for _, one := range all {
			if err == nil && one.Tenant == tenant {
				last = one
			}
		}
		return last.State == want
	})
	return last
}

// ping tells whether the compartment of a tenant reaches 10.1.0.1.
func (n *network) ping(tenant string) bool {
	node := &lab.Node{Name: tenant, NS: n.compartment[tenant]}
	_, err := node.Run(context.Background(), "ping", "-c", "1", "-W", "2", "10.1.0.1")
	return err == nil
}

// bothUp declares both tenants, dials both and returns their tunnels.
func (n *network) bothUp(m *vpn.Manager) map[string]vpn.Tunnel {
	n.t.Helper()
	out := map[string]vpn.Tunnel{}
	for tenant := range n.site {
		set(n.t, m, tenant, wanted(tenant))
		if err := m.Connect(context.Background(), tenant, "IfCe1"); err != nil {
			n.t.Fatal(err)
		}
	}
	for tenant := range n.site {
		out[tenant] = waitState(n.t, m, tenant, vpn.Connected)
	}
	return out
}

// Network pieces.

func handle(t *testing.T, ns *netns.Namespace) *netlink.Handle {
	t.Helper()
	h, err := ns.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// v4Only keeps the kernel from sending router solicitations and the like through what is made later, so that packets
// can be counted.
func v4Only(t *testing.T, ns *netns.Namespace) {
	t.Helper()
	must(t, ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	}))
}

func up(t *testing.T, ns *netns.Namespace, name string) netlink.Link {
	t.Helper()
	h := handle(t, ns)
	link, err := h.LinkByName(name)
	must(t, err)
	must(t, h.LinkSetUp(link))
	return link
}

// join connects two namespaces by a link on which each end has one address and a route to the other's.
func join(t *testing.T, a *netns.Namespace, nameA, addrA string, b *netns.Namespace, nameB, addrB string) {
	t.Helper()
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: nameA}, PeerName: nameB, PeerNamespace: netlink.NsFd(b.Fd()),
	}
	must(t, handle(t, a).LinkAdd(veth))
	for _, end := range []struct {
		ns                *netns.Namespace
		name, addr, other string
	}{{a, nameA, addrA, addrB}, {b, nameB, addrB, addrA}} {
		address(t, end.ns, end.name, end.addr)
		route(t, end.ns, up(t, end.ns, end.name), end.other+"/32", end.addr)
	}
}

func address(t *testing.T, ns *netns.Namespace, name, addr string) {
	t.Helper()
	h := handle(t, ns)
	link, err := h.LinkByName(name)
	must(t, err)
	a, err := netlink.ParseAddr(addr + "/32")
	must(t, err)
	must(t, h.AddrAdd(link, a))
}

func route(t *testing.T, ns *netns.Namespace, link netlink.Link, prefix, src string) {
	t.Helper()
	_, dst, err := net.ParseCIDR(prefix)
	must(t, err)
	must(t, handle(t, ns).RouteAdd(&netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: dst, Src: net.ParseIP(src), Scope: netlink.SCOPE_LINK,
	}))
}

// xfrm makes an xfrm interface in one namespace, where its SAs are, and moves it to another.
func xfrm(t *testing.T, from, to *netns.Namespace, name string, ifID uint32, addr, prefix string) {
	t.Helper()
	h := handle(t, from)
	temporary := fmt.Sprintf("x%d", ifID)
	must(t, h.LinkAdd(&netlink.Xfrmi{LinkAttrs: netlink.LinkAttrs{Name: temporary}, Ifid: ifID}))
	link, err := h.LinkByName(temporary)
	must(t, err)
	must(t, h.LinkSetNsFd(link, to.Fd()))
	h = handle(t, to)
	link, err = h.LinkByName(temporary)
	must(t, err)
	must(t, h.LinkSetName(link, name))
	address(t, to, "lo", addr)
	must(t, h.LinkSetMTU(link, vpn.InnerMTU(1500, false, nil)))
	route(t, to, up(t, to, name), prefix, addr)
}

// logBuffer and eventLog collect from any goroutine.
type logBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

type eventLog struct {
	mu   sync.Mutex
	list []vpn.Event
}

func (e *eventLog) add(ev vpn.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

// find returns the first event that fits.
func (e *eventLog) find(fits func(vpn.Event) bool) (vpn.Event, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := slices.IndexFunc(e.list, fits); n >= 0 {
		return e.list[n], true
	}
	return vpn.Event{}, false
}

// contosos is the number of events of a kind about Contoso's tunnel.
func (e *eventLog) contosos(kind vpn.EventKind) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	var n int
	for _, ev := range e.list {
		if ev.Tenant == "Contoso" && ev.Kind == kind {
			n++
		}
	}
	return n
}
