package dataplane

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// datagram is a UDP header and payload, with its checksum where that is not optional.
func datagram(src, dst netip.Addr, sport, dport uint16, text string) []byte {
	length := be16(uint16(8 + len(text)))
	d := append(append(append(be16(sport), be16(dport)...), append(length, 0, 0)...), text...)
	if src.Is6() {
		binary.BigEndian.PutUint16(d[6:], checksum(src.AsSlice(), dst.AsSlice(), be32(uint32(len(d))), be32(17), d))
	}
	return d
}

// A raw host, with a VM of each tenant alike in every address, against two compartments alike in every address:
//
//	host (raw frames) -- backend0 [doors] bhi6001 -- IfCi1 (Contoso)
//	                                      bhi6002 -- IfCi1 (Woodgrove)
func TestTwoTenantsAlikeInEverythingReachTheirOwnCompartments(t *testing.T) {
	ns, hostNS := testenv.Namespace(t), testenv.Namespace(t)
	addVeth(t, ns, "backend0", backendMAC, hostNS, "wire0", hostMAC)
	configure(t, ns, "backend0", providerMTU, []string{"192.168.0.11/24"}, nil)
	neighbours(t, ns, "backend0", hostMAC, host, addr("192.168.0.33"))
	d := openDoors(t, ns)
	for link, name := range map[string]string{"bhi6001": "Contoso", "bhi6002": "Woodgrove"} {
		inside := testenv.Namespace(t)
		compartment(t, d, inside, link, "IfCi1", gatewayMAC, []string{"10.0.254.2/24", "fd00:254::2/64"},
			[]string{"10.0.0.0/24", "fd00::/64"})
		serve(t, inside, "10.0.254.2:7", name)
		serve(t, inside, "[fd00:254::2]:7", name)
	}
	d.do(t, func() error {
		return d.SetGateway(Gateway{Backend: "backend0", Providers: on(provider)})
	})
	c, w := contoso(), woodgrove()
	c.External, w.External = nil, nil
	d.set(t, c, w)
	wire := openWire(t, hostNS, "wire0")

	for i, tenant := range []string{"Contoso", "Woodgrove"} {
		in, home := uint32(6001+i), uint32(5001+i)
		flows := make(map[byte]bool)
		for port := range uint16(8) {
			question := fmt.Sprint("question ", port)
			for _, a := range []struct {
				proto    uint16
				src, dst netip.Addr
				make     func(src, dst netip.Addr, proto byte, payload []byte) []byte
			}{{etherIPv4, vmCA, gatewayCA, ip4}, {etherIPv6, vmCA6, gatewayCA6, ip6}} {
				ask := a.make(a.src, a.dst, 17, datagram(a.src, a.dst, 4000+port, 7, question))
				frame := nvgre(host, in, ether(gatewayMAC, vmMAC, a.proto, ask))
				frame[41] = byte(port) * 37 // FlowID
				wire.send(t, frame)
				answer := wire.receive(t, func(f []byte) bool {
					return bytes.HasSuffix(f, []byte(tenant+": "+question)) && bytes.HasPrefix(f, hostMAC)
				})
				want := ether(hostMAC, backendMAC, etherIPv4, outer(provider, host, nil))[:14]
				if !bytes.Equal(answer[:14], want) || !bytes.Equal(answer[42:56], ether(vmMAC, gatewayMAC, a.proto, nil)) {
					t.Fatalf("%s: headers of the answer: %x", tenant, answer[:56])
				}
				if vsid := binary.BigEndian.Uint32(answer[38:]) >> 8; vsid != home {
					t.Errorf("%s: the answer is for VSID %d, not %d", tenant, vsid, home)
				}
				flows[answer[41]] = true
			}
		}
		if len(flows) < 4 {
			t.Errorf("%s: 16 flows have only %d FlowIDs", tenant, len(flows))
		}
	}
	wire.send(t, nvgre(host, 6001, ether(broadcast, vmMAC, etherARP, arp(1, vmMAC, vmCA, make([]byte, 6), gatewayCA))))
	want := answered(6001, ether(vmMAC, gatewayMAC, etherARP, arp(2, gatewayMAC, gatewayCA, vmMAC, vmCA)))
	wire.receive(t, func(f []byte) bool { return bytes.Equal(f, want) })
	wire.send(t, nvgre(host, 6009, make([]byte, 64)))
	d.awaitDrop(t, "", "unknown-vsid")
	for _, rdid := range []Tenant{c, w} {
		stats, err := d.Stats(rdid.RoutingDomain)
		if err != nil || len(stats) != 2 || stats[0].OutPackets != 16 || stats[1].InPackets != 16 {
			t.Errorf("traffic of %s: %+v, %v", rdid.Name, stats, err)
		}
	}
}

// awaitDrop waits for a drop counter.
func (d *doors) awaitDrop(t testing.TB, tenant, reason string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		all, err := d.Drops()
		if err != nil {
			t.Fatal(err)
		}
		for _, drop := range all {
			if drop.Tenant == tenant && drop.Reason == reason && drop.Packets > 0 && drop.Bytes > 0 {
				return
			}
		}
	}
	t.Errorf("nothing of tenant %q was dropped for %s", tenant, reason)
}

// transfer sends much through TCP and tells whether it arrived as it was.
func transfer(t testing.TB, from, to *netns.Namespace, local, remote string) {
	t.Helper()
	const blocks, block = 256, 1 << 16
	var listener net.Listener
	if err := to.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(remote, "0"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	type result struct {
		sum [32]byte
		err error
	}
	arrived := make(chan result, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			arrived <- result{err: err}
			return
		}
		defer func() { _ = conn.Close() }()
		hash := sha256.New()
		_, err = io.Copy(hash, conn)
		arrived <- result{[32]byte(hash.Sum(nil)), err}
	}()
	conn := dial(t, from, "tcp", local, listener.Addr().String())
	if err := conn.SetDeadline(time.Now().Add(4 * patience)); err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	data := make([]byte, block)
	for i := range blocks {
		binary.BigEndian.PutUint64(data[i*8:], uint64(i))
		hash.Write(data)
		if _, err := conn.Write(data); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
	}
	_ = conn.Close()
	select {
	case got := <-arrived:
		if got.err != nil || got.sum != [32]byte(hash.Sum(nil)) {
			t.Errorf("what arrived is not what was sent (%v)", got.err)
		}
	case <-time.After(4 * patience):
		t.Error("the transfer did not end")
	}
}

// passed is what passed the node's only interface, in the kernel's count: a GSO packet is one.
func (n *node) passed(t testing.TB) netlink.LinkStatistics64 {
	t.Helper()
	l, err := handle(t, n.inside).LinkByName("IfCi1")
	if err != nil {
		t.Fatal(err)
	}
	return netlink.LinkStatistics64(*l.Attrs().Statistics)
}

// meanSizes are the mean sizes of the packets since before; the direction of acknowledgements has small ones.
func (n *node) meanSizes(t testing.TB, before netlink.LinkStatistics64) (in, out uint64) {
	t.Helper()
	now := n.passed(t)
	return (now.RxBytes - before.RxBytes) / max(now.RxPackets-before.RxPackets, 1),
		(now.TxBytes - before.TxBytes) / max(now.TxPackets-before.TxPackets, 1)
}

// Two gateways back to back, each the other's Hyper-V host:
//
//	IfCi1 -- bhi6001 [doors] backend0 -- bridge -- backend0 [doors] bhi5001 -- IfCi1
func TestGSOPacketsSurviveEncapsulationAndDecapsulation(t *testing.T) {
	network, join := bridged(t)
	a := newNode(t, network, site{1, 6001, []string{"10.0.254.2/24", "fd00:254::2/64"},
		[]string{"10.0.0.0/24", "fd00::/64"}})
	b := newNode(t, network, site{2, 5001, []string{"10.0.0.10/24", "fd00::10/64"},
		[]string{"10.0.254.0/24", "fd00:254::/64"}})
	join("port1", "port2")
	meet(t, a, b)
	for _, segments := range []bool{true, false} {
		for _, way := range [][2]string{{"10.0.254.2", "10.0.0.10"}, {"fd00:254::2", "fd00::10"}} {
			beforeA, beforeB := a.passed(t), b.passed(t)
			transfer(t, a.inside, b.inside, way[0], way[1])
			if _, out := a.meanSizes(t, beforeA); out < 8000 {
				t.Errorf("%s: packets of %d bytes were encapsulated: GSO did not survive", way[0], out)
			}
			if in, _ := b.meanSizes(t, beforeB); (in > 2000) != segments {
				t.Errorf("%s: packets of %d bytes were decapsulated, with offload %v", way[0], in, segments)
			}
		}
		// A NIC that cannot segment leaves it to the kernel.
		noSegmentation(t, a.ns)
	}
}

func TestPacketsAsLargeAsTheMTUPassWhole(t *testing.T) {
	network, join := bridged(t)
	a := newNode(t, network, site{1, 6001, []string{"10.0.254.2/24", "fd00:254::2/64"},
		[]string{"10.0.0.0/24", "fd00::/64"}})
	b := newNode(t, network, site{2, 5001, []string{"10.0.0.10/24", "fd00::10/64"},
		[]string{"10.0.254.0/24", "fd00:254::/64"}})
	join("port1", "port2")
	meet(t, a, b)
	for _, try := range []struct {
		local, remote string
		headers       int
	}{{"10.0.254.2", "10.0.0.10:7", 20 + 8}, {"fd00:254::2", "[fd00::10]:7", 40 + 8}} {
		serve(t, b.inside, try.remote, "Contoso")
		// The answer is the packet that leaves no byte of the MTU unused.
		question := strings.Repeat("x", compartmentMTU-try.headers-len("Contoso: "))
		before := a.passed(t)
		if answer, err := ask(dial(t, a.inside, "udp", try.local, try.remote), question); err != nil ||
			answer != "Contoso: "+question {
			t.Errorf("%s to %s: %d bytes came back, %v", try.local, try.remote, len(answer), err)
		}
		if in, _ := a.meanSizes(t, before); in != compartmentMTU+14 {
			t.Errorf("%s to %s: the answer came in packets of %d bytes", try.local, try.remote, in)
		}
	}
}

// Three gateways; the compartment of the middle one routes between the subnets of the others. What it encapsulates was
// decapsulated just before.
func TestACompartmentRoutesBetweenTwoVirtualSubnets(t *testing.T) {
	network, join := bridged(t)
	a := newNode(t, network, site{1, 5001, []string{"10.0.1.10/24", "fd00:1::10/64"},
		[]string{"10.0.2.0/24", "fd00:2::/64", "10.0.254.0/24"}})
	b := newNode(t, network, site{2, 5002, []string{"10.0.2.10/24", "fd00:2::10/64"},
		[]string{"10.0.1.0/24", "fd00:1::/64", "10.0.254.0/24"}})
	router := newNode(t, network, site{3, 6001, []string{"10.0.254.2/24", "fd00:254::2/64"},
		[]string{"10.0.1.0/24", "10.0.2.0/24", "fd00:1::/64", "fd00:2::/64"}})
	join("port1", "port2", "port3")
	forward(t, router.inside)
	meet(t, a, b, router)
	// The ends reach each other through the router only.
	for _, end := range []struct{ node, other *node }{{a, b}, {b, a}} {
		through := end.node.tenant
		for i := range through.Records {
			r := &through.Records[i]
			if r.VSID == end.other.tenant.Interfaces[0].VSID {
				r.VSID, r.MAC, r.PA = 6001, router.mac, router.pa
			}
		}
		end.node.set(t, through)
	}
	for _, way := range [][2]string{{"10.0.1.10", "10.0.2.10"}, {"fd00:1::10", "fd00:2::10"}} {
		before := router.passed(t)
		transfer(t, a.inside, b.inside, way[0], way[1])
		if in, out := router.meanSizes(t, before); in < 8000 || out < 8000 {
			t.Errorf("%s: the router's packets have %d bytes in and %d out: GSO did not survive", way[0], in, out)
		}
	}
	// A NIC that cannot segment leaves it to the kernel, which then needs all that a GSO packet says of itself.
	noSegmentation(t, router.ns)
	transfer(t, a.inside, b.inside, "10.0.1.10", "10.0.2.10")
	transfer(t, a.inside, b.inside, "fd00:1::10", "fd00:2::10")
}

func TestReopeningTheDoorsUnderTrafficLosesNoPacket(t *testing.T) {
	network, join := bridged(t)
	a := newNode(t, network, site{1, 6001, []string{"10.0.254.2/24"}, []string{"10.0.0.0/24"}})
	b := newNode(t, network, site{2, 5001, []string{"10.0.0.10/24"}, []string{"10.0.254.0/24"}})
	join("port1", "port2")
	meet(t, a, b)
	serve(t, b.inside, "10.0.0.10:7", "Contoso")
	conn := dial(t, a.inside, "udp", "10.0.254.2", "10.0.0.10:7")
	stop, stopped := make(chan struct{}), make(chan error, 1)
	var asked int
	go func() {
		// A lost packet is an answer that does not come: nothing sends it again.
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			asked++
			if answer, err := ask(conn, strconv.Itoa(asked)); err != nil || answer != "Contoso: "+strconv.Itoa(asked) {
				stopped <- fmt.Errorf("answer %d: %q, %w", asked, answer, err)
				return
			}
		}
	}()
	for range 5 {
		for _, n := range []*node{a, b} {
			n.reopen(t)
			n.do(t, func() error {
				return n.SetGateway(Gateway{Backend: "backend0", Providers: on(n.pa)})
			})
			n.set(t, n.tenant)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if asked < 200 {
		t.Errorf("only %d packets were on their way meanwhile", asked)
	}
}

// Two compartments with public addresses of their own, and a server on the Internet behind a real neighbour:
//
//	ext (Contoso) -- bhx1 [doors] If2 -- router (131.107.10.1, 65.10.10.100)
//	ext (Woodgrove) -- bhx2
func TestDoor2CarriesBothTenantsAndKeepsThemApart(t *testing.T) {
	ns, outside := testenv.Namespace(t), testenv.Namespace(t)
	addVeth(t, ns, "If2", externalMAC, outside, "wire1", routerMAC)
	configure(t, ns, "If2", 1500, []string{"131.107.10.10/24", "2001:db8:10::10/64"}, nil)
	configure(t, outside, "wire1", 1500, []string{"131.107.10.1/24", "65.10.10.100/32", "2001:db8:10::1/64"}, nil)
	h := handle(t, ns)
	if err := h.RouteAdd(defaultVia(t, up(t, h, "If2").Attrs().Index, "131.107.10.1")); err != nil {
		t.Fatal(err)
	}
	d := openDoors(t, ns)
	inside := make(map[string]*netns.Namespace)
	for _, c := range []struct {
		link, name string
		addresses  []string
	}{
		{"bhx1", "Contoso", []string{"131.107.10.12/32", "2001:db8:10::12/128", "10.9.9.9/32"}},
		{"bhx2", "Woodgrove", []string{"131.107.10.13/32"}},
	} {
		inside[c.name] = testenv.Namespace(t)
		compartment(t, d, inside[c.name], c.link, "ext", extMAC, c.addresses, []string{"0.0.0.0/0", "::/0"})
		serve(t, inside[c.name], strings.TrimSuffix(c.addresses[0], "/32")+":7", c.name)
	}
	serve(t, inside["Contoso"], "[2001:db8:10::12]:7", "Contoso")
	serve(t, outside, "65.10.10.100:7", "Internet")
	g, c, w := fabrikam(), contoso(), woodgrove()
	g.Backend, g.Providers = "", nil
	c.Interfaces, w.Interfaces, c.Records, w.Records = nil, nil, nil, nil
	d.do(t, func() error { return d.SetGateway(g) })
	d.set(t, c, w)

	for _, try := range []struct {
		from          *netns.Namespace
		local, remote string
		answer        string
	}{
		{outside, "65.10.10.100", "131.107.10.12:7", "Contoso: hello"},
		{outside, "65.10.10.100", "131.107.10.13:7", "Woodgrove: hello"},
		{outside, "2001:db8:10::1", "[2001:db8:10::12]:7", "Contoso: hello"},
		{inside["Contoso"], "131.107.10.12", "65.10.10.100:7", "Internet: hello"},
		{inside["Woodgrove"], "131.107.10.13", "65.10.10.100:7", "Internet: hello"},
		{inside["Contoso"], "131.107.10.12", "131.107.10.13:7", "Woodgrove: hello"}, // hairpin
	} {
		if answer, err := ask(dial(t, try.from, "udp", try.local, try.remote), "hello"); err != nil || answer != try.answer {
			t.Errorf("%s to %s: %q, %v", try.local, try.remote, answer, err)
		}
	}
	spoofed := dial(t, inside["Contoso"], "udp", "10.9.9.9", "65.10.10.100:7")
	if _, err := spoofed.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	d.awaitDrop(t, "Contoso", "source-not-owned")
	gateway := dial(t, inside["Contoso"], "udp", "131.107.10.12", "131.107.10.10:500")
	if _, err := gateway.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	d.awaitDrop(t, "Contoso", "to-gateway")
	wire := openWire(t, outside, "wire1")
	wire.send(t, fromInternet(ip4(internet, unownedNAT, 6, ports(80, 1))))
	d.awaitDrop(t, "", "unowned-address")
	stats, err := d.Stats(contosoID)
	if err != nil || len(stats) != 3 || stats[0].VSID != 0 || stats[0].InPackets < 3 || stats[0].OutPackets < 3 {
		t.Errorf("traffic of Contoso: %+v, %v", stats, err)
	}
}
