package hnv_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
	"bulkhead/lab/hnv"
)

// cable is a VM's end of its connection: frames that the test sends and receives.
type cable struct {
	sent, received chan []byte
	closed         chan struct{}
	once           sync.Once
}

func newCable() *cable {
	return &cable{sent: make(chan []byte, 16), received: make(chan []byte, 16), closed: make(chan struct{})}
}

func (c *cable) Read(b []byte) (int, error) {
	select {
	case frame := <-c.sent:
		return copy(b, frame), nil
	case <-c.closed:
		return 0, io.EOF
	}
}

func (c *cable) Write(b []byte) (int, error) {
	select {
	case c.received <- bytes.Clone(b):
		return len(b), nil
	case <-c.closed:
		return 0, io.ErrClosedPipe
	}
}

func (c *cable) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// next is the next frame that the VM gets.
func (c *cable) next(t *testing.T) []byte {
	t.Helper()
	select {
	case frame := <-c.received:
		return frame
	case <-time.After(3 * time.Second):
		t.Fatal("the VM got no frame")
		return nil
	}
}

var policy = hnv.Policy{
	Subnets: []hnv.Subnet{
		{RoutingDomain: "red", VSID: 5001, Prefix: netip.MustParsePrefix("10.0.0.0/24")},
		{RoutingDomain: "red", VSID: 5003, Prefix: netip.MustParsePrefix("10.0.3.0/24")},
		{RoutingDomain: "blue", VSID: 5002, Prefix: netip.MustParsePrefix("10.0.0.0/24")},
	},
	Records: []hnv.Record{
		{RoutingDomain: "red", VSID: 5001, CA: netip.MustParseAddr("10.0.0.10"), MAC: macA, PA: paA},
		{RoutingDomain: "red", VSID: 5003, CA: netip.MustParseAddr("10.0.3.10"), MAC: macB, PA: paB},
		{RoutingDomain: "blue", VSID: 5002, CA: netip.MustParseAddr("10.0.0.20"), MAC: macB, PA: paB},
	},
	Routes: []hnv.Route{
		{RoutingDomain: "red", Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: netip.MustParseAddr("10.0.3.10")},
	},
}

// wire connects hosts by a switch. Each is closed with the test.
func wire(t *testing.T, configs ...hnv.Config) []*hnv.Host {
	t.Helper()
	middle := testenv.Namespace(t)
	add := func(ns *netns.Namespace, link netlink.Link) {
		t.Helper()
		handle, err := ns.Netlink()
		if err != nil {
			t.Fatal(err)
		}
		defer handle.Close()
		if err := handle.LinkAdd(link); err != nil {
			t.Fatal(err)
		}
	}
	up := func(ns *netns.Namespace, name, master string) {
		t.Helper()
		handle, err := ns.Netlink()
		if err != nil {
			t.Fatal(err)
		}
		defer handle.Close()
		link, err := handle.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if master != "" {
			bridge, err := handle.LinkByName(master)
			if err != nil {
				t.Fatal(err)
			}
			if err := handle.LinkSetMaster(link, bridge); err != nil {
				t.Fatal(err)
			}
		}
		if err := handle.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
	named := func(name string) netlink.LinkAttrs {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		return attrs
	}
	snooping := false // a switch that floods multicast needs no querier
	add(middle, &netlink.Bridge{LinkAttrs: named("switch"), MulticastSnooping: &snooping})
	up(middle, "switch", "")
	var hosts []*hnv.Host
	for _, c := range configs {
		c.Namespace, c.Interface = testenv.Namespace(t), "nic"
		add(middle, &netlink.Veth{
			LinkAttrs: named(c.Name), PeerName: "nic", PeerNamespace: netlink.NsFd(c.Namespace.Fd()),
		})
		up(middle, c.Name, "switch")
		up(c.Namespace, "nic", "")
		h, err := hnv.Start(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
		hosts = append(hosts, h)
	}
	// A port forwards once the kernel has noticed that it is up.
	handle, err := middle.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	for _, c := range configs {
		testenv.Eventually(t, c.Name+" is connected", func() bool {
			link, err := handle.LinkByName(c.Name)
			return err == nil && link.Attrs().OperState == netlink.OperUp
		})
	}
	return hosts
}

// twoHosts are hosts on one wire: a runs a VM of red in 5001, b one in 5003 and one of blue in 5002.
func twoHosts(t *testing.T) (a, b *hnv.Host, vmA, vmB, blue *cable) {
	t.Helper()
	vmA, vmB, blue = newCable(), newCable(), newCable()
	hosts := wire(t,
		hnv.Config{Name: "a", PA: paA, Policy: policy, Ports: []hnv.Port{{VSID: 5001, MAC: macA, Device: vmA}}},
		hnv.Config{Name: "b", PA: paB, Policy: policy, Ports: []hnv.Port{
			{VSID: 5003, MAC: macB, Device: vmB}, {VSID: 5002, MAC: macB, Device: blue}}})
	return hosts[0], hosts[1], vmA, vmB, blue
}

// echo is an echo request of the VM 10.0.0.10.
func echo(to net.HardwareAddr, destination string, id uint16) []byte {
	return hnv.EchoRequest(macA, to, netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr(destination), id, 1)
}

func TestRouterSendsWithVSIDAndMACOfTheDestinationsRecord(t *testing.T) {
	a, b, vmA, vmB, blue := twoHosts(t)
	vmA.sent <- echo(hnv.RouterMAC, "10.0.3.10", 1)
	got := vmB.next(t)
	if !bytes.Equal(got[:6], macB) {
		t.Errorf("the VM got a frame for %v", net.HardwareAddr(got[:6]))
	}
	// What is in no virtual subnet goes to the customer route's next hop, with its VSID too.
	vmA.sent <- echo(hnv.RouterMAC, "65.10.10.100", 1)
	if got := vmB.next(t); !bytes.Contains(got, []byte{65, 10, 10, 100}) {
		t.Errorf("the next hop got %x", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	o, err := b.Await(ctx, func(o hnv.Observation) bool { return strings.Contains(o.Inner, "65.10.10.100") })
	if err != nil || o.VSID != 5003 || o.Source != paA || o.Dropped != "" {
		t.Errorf("observed %v, %v", o, err)
	}
	if len(blue.received) != 0 || len(a.Drops())+len(b.Drops()) != 0 {
		t.Errorf("the other routing domain got %d frames; drops %v %v", len(blue.received), a.Drops(), b.Drops())
	}
}

func TestRouterDropsWhatNoRecordOfTheRoutingDomainNames(t *testing.T) {
	a, _, vmA, _, blue := twoHosts(t)
	vmA.sent <- echo(hnv.RouterMAC, "10.0.0.20", 1) // blue's
	vmA.sent <- echo(macB, "10.0.3.10", 1)          // a MAC of another VSID
	vmA.sent <- echo(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "10.0.0.255", 1)
	vmA.sent <- echo(hnv.RouterMAC, "10.0.0.1", 1) // answered, so the three before have been handled
	if got := vmA.next(t); got[34] != 0 {
		t.Errorf("want the router's echo reply, got %x", got)
	}
	drops := a.Drops()
	if drops[hnv.DropNoRecord] != 2 || drops[hnv.DropMulticast] != 1 || len(a.Observations()) != 0 ||
		len(blue.received) != 0 {
		t.Errorf("drops %v, observations %v", drops, a.Observations())
	}
}

func TestHostAnswersARPForTheRouterAndForRecordsOfTheVSIDOnly(t *testing.T) {
	a, _, vmA, _, _ := twoHosts(t)
	request := func(target string) []byte {
		f := append(bytes.Repeat([]byte{0xff}, 6), macA...)
		f = append(f, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
		f = append(append(f, macA...), 10, 0, 0, 99)
		f = append(f, 0, 0, 0, 0, 0, 0)
		return append(f, netip.MustParseAddr(target).AsSlice()...)
	}
	for target, want := range map[string]net.HardwareAddr{"10.0.0.1": hnv.RouterMAC, "10.0.0.10": macA} {
		vmA.sent <- request(target)
		got := vmA.next(t)
		if got[21] != 2 || !bytes.Equal(got[22:28], want) || !bytes.Equal(got[28:32], netip.MustParseAddr(target).AsSlice()) {
			t.Errorf("%s: want a reply with %v, got %x", target, want, got)
		}
	}
	for _, target := range []string{"10.0.0.20", "10.0.3.10", "10.0.0.77"} {
		vmA.sent <- request(target)
	}
	vmA.sent <- request("10.0.0.1")
	if got := vmA.next(t); !bytes.Equal(got[22:28], hnv.RouterMAC) {
		t.Errorf("somebody else's address was answered: %x", got)
	}
	if a.Drops()[hnv.DropARP] != 3 || len(a.Observations()) != 0 {
		t.Errorf("drops %v; on the wire %v", a.Drops(), a.Observations())
	}
}

func TestFlowIDVariesWithTheInnerFlowAndStaysWithinIt(t *testing.T) {
	a, _, _, _, _ := twoHosts(t)
	seen := map[uint8]bool{}
	for i := range 64 {
		to := netip.AddrFrom4([4]byte{10, 0, 3, byte(i)}).String()
		id := a.Packet(paB, 5003, echo(macB, to, 1)).FlowID
		if id != a.Packet(paB, 5003, echo(macB, to, 2)).FlowID {
			t.Errorf("two packets of one flow differ")
		}
		seen[id] = true
	}
	if len(seen) < 40 {
		t.Errorf("64 flows have %d FlowIDs", len(seen))
	}
}

func TestSenderStripsAVLANTag(t *testing.T) {
	_, _, vmA, vmB, _ := twoHosts(t)
	vmA.sent <- hnv.Tag(echo(hnv.RouterMAC, "10.0.3.10", 1), 7)
	if got := vmB.next(t); got[12] != 8 || got[13] != 0 {
		t.Errorf("the tag arrived: %x", got)
	}
}

func TestFramesForAProviderAddressThatNobodyHasAreGivenUp(t *testing.T) {
	a, _, _, _, _ := twoHosts(t)
	nobody := netip.MustParseAddr("192.168.0.99")
	var last error
	for range 70 {
		last = a.Send(a.Packet(nobody, 5001, echo(macB, "10.0.3.10", 1)))
	}
	if last == nil || len(a.Observations()) != 0 {
		t.Errorf("the 70th frame: %v; on the wire: %v", last, a.Observations())
	}
}
