package dataplane

import (
	"bytes"
	"errors"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// pairs is the kind of pair that tests join compartments to the doors with: netkit where the kernel has it, as the
// package compartments does, and veth where not. Tests that look at pairs themselves set it.
var pairs string

// hasNetkit tells whether the kernel makes netkit pairs.
func hasNetkit(t testing.TB) bool {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "trial"
	err := handle(t, testenv.Namespace(t)).LinkAdd(&netlink.Netkit{LinkAttrs: attrs})
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Fatal(err)
	}
	return err == nil
}

// addPair joins a namespace to the doors'.
func addPair(t testing.TB, ns *netns.Namespace, name string, inside *netns.Namespace, end string, m net.HardwareAddr) {
	t.Helper()
	if pairs == "" {
		pairs = "veth"
		if hasNetkit(t) {
			pairs = "netkit"
		}
	}
	if pairs == "veth" {
		addVeth(t, ns, name, nil, inside, end, m)
		return
	}
	n := &netlink.Netkit{LinkAttrs: netlink.NewLinkAttrs(), PeerPolicy: netlink.NETKIT_POLICY_BLACKHOLE,
		Scrub: netlink.NETKIT_SCRUB_DEFAULT, PeerScrub: netlink.NETKIT_SCRUB_DEFAULT}
	there := netlink.NewLinkAttrs()
	n.Name, there.Name, there.HardwareAddr, there.Namespace = name, end, m, netlink.NsFd(inside.Fd())
	n.SetPeerAttrs(&there)
	if err := handle(t, ns).LinkAdd(n); err != nil {
		t.Fatalf("add netkit %s: %v", name, err)
	}
	up(t, handle(t, ns), name)
	up(t, handle(t, inside), end)
}

// everyPair runs a test over every kind of pair that the kernel has.
func everyPair(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	kinds := []string{"veth"}
	if hasNetkit(t) {
		kinds = append(kinds, "netkit")
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			before := pairs
			t.Cleanup(func() { pairs = before })
			pairs = kind
			test(t)
		})
	}
}

func TestReopenKeepsTheAttachmentsOfEveryKindOfPair(t *testing.T) {
	everyPair(t, func(t *testing.T) {
		network, _ := bridged(t)
		n := newNode(t, network, site{1, 6001, []string{"10.0.254.2/24"}, nil})
		n.set(t, n.tenant)
		links, _ := n.linkIDs(t)
		if want := map[string]int{"veth": 2, "netkit": 3}[pairs]; len(links) != want {
			t.Errorf("attached: %v, want %d", links, want)
		}
		n.reopen(t)
		n.set(t, n.tenant)
		linksNow, _ := n.linkIDs(t)
		if diff := cmp.Diff(links, linksNow); diff != "" {
			t.Errorf("attachments (-before +after):\n%s", diff)
		}
		// A pair that was made anew gets its own; of the old one nothing is left.
		h := handle(t, n.ns)
		l, err := h.LinkByName("bhi6001")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.LinkDel(l); err != nil {
			t.Fatal(err)
		}
		addPair(t, n.ns, "bhi6001", n.inside, "IfCi1", n.mac)
		n.set(t, n.tenant)
		for pin, a := range n.attached {
			if !a.lives() {
				t.Errorf("attachment %s is of a link that is gone", pin)
			}
		}
		if len(n.attached) != len(links) {
			t.Errorf("attached: %v", n.attached)
		}
	})
}

// What a compartment could do to pass for what the doors have seen already.
func TestAMarkOfTheCompartmentMeansNothingAtTheDoor(t *testing.T) {
	everyPair(t, func(t *testing.T) {
		network, _ := bridged(t)
		n := newNode(t, network, site{1, 6001, []string{"10.0.254.2/24"}, []string{"10.0.0.0/24"}})
		n.set(t, n.tenant)
		conn := dial(t, n.inside, "udp", "10.0.254.2", "10.0.0.10:7")
		raw, err := conn.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(doorsMarkAGAIN))
		}); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		n.awaitDrop(t, "Contoso", "no-record")
	})
}

func TestAnARPRequestOfTheCompartmentIsAnsweredIntoIt(t *testing.T) {
	everyPair(t, func(t *testing.T) {
		network, _ := bridged(t)
		n := newNode(t, network, site{1, 6001, []string{"10.0.254.2/24"}, nil})
		n.tenant.Records = []Record{{CA: addr("10.0.254.9"), VSID: 6001, MAC: vmMAC, PA: host}}
		n.set(t, n.tenant)
		inside := openWire(t, n.inside, "IfCi1")
		inside.send(t, ether(broadcast, n.mac, etherARP, arp(1, n.mac, addr("10.0.254.2"), make([]byte, 6), addr("10.0.254.9"))))
		want := ether(n.mac, vmMAC, etherARP, arp(2, vmMAC, addr("10.0.254.9"), n.mac, addr("10.0.254.2")))
		inside.receive(t, func(f []byte) bool { return bytes.Equal(f, want) })
	})
}
