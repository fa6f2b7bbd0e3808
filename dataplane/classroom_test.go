package dataplane

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"bulkhead/internal/drops"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// classroom is a gateway with two tenants alike and an agent, on a provider network that is a wire in the test's hand.
type classroom struct {
	*doors
	*wire
	inside map[string]*netns.Namespace
	events chan Event
	lines  *lines
	stop   func()
}

// lines counts what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// learningTenant is one of two tenants that differ in their VSIDs only. It has declared VMs, and one whose address is
// learned.
func learningTenant(name string) Tenant {
	id, n := contosoID, uint32(1)
	if name == "Woodgrove" {
		id, n = woodgroveID, 2
	}
	prefix := netip.MustParsePrefix
	return Tenant{
		Name: name, RoutingDomain: id,
		Subnets: []Subnet{
			{5000 + n, prefix("10.0.0.0/24")}, {5000 + n, prefix("fd00::/64")},
			{6000 + n, prefix("10.0.254.0/24")}, {6000 + n, prefix("fd00:254::/64")},
		},
		Interfaces: []Interface{{
			VSID: 6000 + n, Link: map[uint32]string{1: "bhi6001", 2: "bhi6002"}[n], MAC: gatewayMAC,
			Addresses: []netip.Addr{gatewayCA, gatewayCA6},
		}},
		Records: []Record{
			{CA: vmCA, VSID: 5000 + n, MAC: vmMAC, PA: host},
			{CA: addr("10.0.0.33"), VSID: 5000 + n, MAC: mac("60:00:60:00:01:33"), PA: otherHost},
			{Type: L2Only, VSID: 5000 + n, MAC: vm2MAC, PA: host},
			{Type: L2Only, VSID: 6000 + n, MAC: vm2MAC, PA: host},
		},
	}
}

func newClassroom(t *testing.T, ageing time.Duration) *classroom {
	t.Helper()
	ns, network := testenv.Namespace(t), testenv.Namespace(t)
	addVeth(t, ns, "backend0", backendMAC, network, "wire0", hostMAC)
	configure(t, ns, "backend0", providerMTU,
		[]string{"192.168.0.11/24", "192.168.0.12/24", provider6.String() + "/64"}, nil)
	neighbours(t, ns, "backend0", hostMAC, host, otherHost, addr("192.168.0.44"), host6)
	c := &classroom{doors: openDoors(t, ns), inside: make(map[string]*netns.Namespace)}
	for name, link := range map[string]string{"Contoso": "bhi6001", "Woodgrove": "bhi6002"} {
		c.inside[name] = testenv.Namespace(t)
		compartment(t, c.doors, c.inside[name], link, "IfCi1", gatewayMAC,
			[]string{"10.0.254.2/24", "fd00:254::2/64"}, []string{"10.0.0.0/24", "fd00::/64"})
	}
	c.wire = openWire(t, network, "wire0")
	c.do(t, func() error { return c.SetGateway(Gateway{Backend: "backend0", Providers: on(provider)}) })
	c.set(t, learningTenant("Contoso"), learningTenant("Woodgrove"))
	c.start(t, ageing)
	return c
}

// start runs an agent until the test ends or calls stop.
func (c *classroom) start(t *testing.T, ageing time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c.events, c.lines = make(chan Event, 1<<16), &lines{}
	done := make(chan error, 1)
	config := Agent{
		OnEvent: func(e Event) { c.events <- e }, Log: slog.New(slog.NewTextHandler(c.lines, nil)), Ageing: ageing,
	}
	go func() { done <- c.ns.Do(func() error { return c.Run(ctx, config) }) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the agent: %v", err)
		}
	})
	t.Cleanup(func() { c.stop() })
	testenv.Eventually(t, "the agent runs", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.lessons.learner != nil
	})
}

// expect waits for the next event.
func (c *classroom) expect(t *testing.T, want Event) {
	t.Helper()
	select {
	case got := <-c.events:
		if got.Kind != want.Kind || got.Tenant != want.Tenant || got.CA != want.CA || got.VSID != want.VSID ||
			got.PA != want.PA || got.OldPA != want.OldPA {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	case <-time.After(patience):
		t.Errorf("no event %+v", want)
	}
}

// from sends an inner frame from a host to the gateway.
func (c *classroom) from(t *testing.T, pa netip.Addr, vsid uint32, frame []byte) {
	t.Helper()
	if pa.Is6() {
		c.send(t, nvgre6(pa, vsid, frame))
		return
	}
	c.send(t, nvgre(pa, vsid, frame))
}

// receive waits for an inner frame of a kind to a host. Kinds are those of Ethernet.
func (c *classroom) receive(t *testing.T, pa netip.Addr, vsid uint32, kind uint16) []byte {
	t.Helper()
	frame := c.wire.receive(t, func(frame []byte) bool {
		inner, ok := innerFrame(frame, pa, vsid)
		return ok && etherType(inner) == kind
	})
	inner, _ := innerFrame(frame, pa, vsid)
	return inner
}

// innerFrame is what an NVGRE frame from the gateway to a host carries.
func innerFrame(frame []byte, pa netip.Addr, vsid uint32) ([]byte, bool) {
	header, to := 20, 16
	if pa.Is6() {
		header, to = 40, 24
	}
	at := 14 + header + 8
	return frame[min(at, len(frame)):], len(frame) > at && bytes.HasPrefix(frame, hostMAC) &&
		bytes.HasPrefix(frame[14+to:], pa.AsSlice()) && binary.BigEndian.Uint32(frame[at-4:])>>8 == vsid
}

// say sends a datagram from a compartment.
func (c *classroom) say(t *testing.T, tenant string, to netip.Addr) {
	t.Helper()
	network := "udp4"
	if to.Is6() {
		network = "udp6"
	}
	conn := dial(t, c.inside[tenant], network, "", net.JoinHostPort(to.String(), "7"))
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
}

// record is what the doors have for a customer address.
func (c *classroom) record(t *testing.T, tenant Tenant, ca netip.Addr) (Record, bool) {
	t.Helper()
	all, err := c.Records(tenant.RoutingDomain)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(r Record) bool { return r.CA == ca })
	if i < 0 {
		return Record{}, false
	}
	return all[i], true
}

// inbound is what the drop counters grew by, but for what a compartment's kernel says of itself.
func (c *classroom) inbound(t *testing.T, before []drops.Drop) []drops.Drop {
	t.Helper()
	grown, _ := c.dropped(t, before)
	return slices.DeleteFunc(grown, func(d drops.Drop) bool { return d.Reason == "link-scope" })
}

// teach makes the learned VM tell Contoso's gateway its address.
func (c *classroom) teach(t *testing.T) {
	t.Helper()
	c.from(t, host, 5001, ether(broadcast, vm2MAC, etherARP, arp(1, vm2MAC, vm2CA, noMAC, vm2CA)))
	c.expect(t, Event{Kind: Learned, Tenant: "Contoso", CA: vm2CA, VSID: 5001, PA: host})
}

// teachNothingMore checks that the agent told nobody anything and logged nothing.
func (c *classroom) teachNothingMore(t *testing.T) {
	t.Helper()
	c.stop()
	if len(c.events) > 0 || c.lines.String() != "" {
		t.Errorf("%d events, log: %s", len(c.events), c.lines)
	}
}
