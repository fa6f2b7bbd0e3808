package ratelimit

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A crash, or somebody else, may leave some rules, or others.
func TestRulesAreMadeWholeAgain(t *testing.T) {
	n := newNetwork(t)
	want := []Limit{{Link: "IfCe1", TxKbps: 1000}}
	n.set(t, want...)
	index := linkOf(t, n.h, "IfCe1").Attrs().Index
	for what, change := range map[string]func(){
		"one is gone":  func() { must(t, n.h.FilterDel(rules[3].filter(index, 3))) },
		"all are gone": func() { must(t, n.h.FilterDel(everyRule(index))) },
		"one more":     func() { must(t, n.h.FilterAdd(rules[0].filter(index, len(rules)))) },
		"a lane's queue": func() {
			must(t, n.h.QdiscDel(&netlink.GenericQdisc{QdiscType: "bfifo", QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: index, Handle: controlLane.handle, Parent: controlLane.class}}))
		},
	} {
		change()
		have, err := read(n.h)
		must(t, err)
		if have.ports["IfCe1"].tx.is(bucketFor(1000, mtu)) {
			t.Errorf("%s: taken for whole", what)
		}
		n.set(t, want...)
		have, err = read(n.h)
		must(t, err)
		if !have.ports["IfCe1"].tx.is(bucketFor(1000, mtu)) {
			t.Errorf("%s: not whole again: %+v", what, have.ports["IfCe1"].tx)
		}
	}
}

func TestOnlyNetworkControlIsPutFirst(t *testing.T) {
	v4 := func(change func(p []byte)) []byte {
		p := make([]byte, 60)
		p[0], p[9] = 0x45, unix.IPPROTO_UDP
		change(p)
		return p
	}
	v6 := func(change func(p []byte)) []byte {
		p := make([]byte, 60)
		p[0], p[6] = 0x60, unix.IPPROTO_UDP
		change(p)
		return p
	}
	port := func(p []byte, at int, port uint16) { binary.BigEndian.PutUint16(p[at:], port) }
	for name, c := range map[string]struct {
		packet []byte
		lane   uint32
	}{
		"data":                   {v4(func([]byte) {}), 0},
		"data IPv6":              {v6(func([]byte) {}), 0},
		"expedited":              {v4(func(p []byte) { p[1] = 0xb8 }), 0},
		"expedited IPv6":         {v6(func(p []byte) { p[0], p[1] = 0x6b, 0x80 }), 0},
		"CS6":                    {v4(func(p []byte) { p[1] = cs6 }), controlLane.class},
		"CS7":                    {v4(func(p []byte) { p[1] = cs7 }), controlLane.class},
		"CS6 with options":       {v4(func(p []byte) { p[0], p[1] = 0x46, cs6 }), controlLane.class},
		"CS6 IPv6":               {v6(func(p []byte) { p[0] = 0x6c }), controlLane.class},
		"CS7 IPv6":               {v6(func(p []byte) { p[0] = 0x6e }), controlLane.class},
		"BFD":                    {v4(func(p []byte) { port(p, 22, 3784) }), bfdLane},
		"BFD CS6":                {v4(func(p []byte) { p[1] = cs6; port(p, 22, 3784) }), bfdLane},
		"BFD IPv6":               {v6(func(p []byte) { port(p, 42, 3784) }), bfdLane},
		"from BFD's port":        {v4(func(p []byte) { port(p, 20, 3784) }), 0},
		"a later fragment":       {v4(func(p []byte) { p[7] = 1; port(p, 22, 3784) }), 0},
		"UDP 179":                {v4(func(p []byte) { port(p, 22, 179) }), 0},
		"BGP call":               {v4(func(p []byte) { p[9] = unix.IPPROTO_TCP; port(p, 22, 179) }), controlLane.class},
		"BGP answer":             {v4(func(p []byte) { p[9] = unix.IPPROTO_TCP; port(p, 20, 179) }), controlLane.class},
		"BGP call IPv6":          {v6(func(p []byte) { p[6] = unix.IPPROTO_TCP; port(p, 42, 179) }), controlLane.class},
		"BGP answer IPv6":        {v6(func(p []byte) { p[6] = unix.IPPROTO_TCP; port(p, 40, 179) }), controlLane.class},
		"TCP 3784":               {v4(func(p []byte) { p[9] = unix.IPPROTO_TCP; port(p, 22, 3784) }), 0},
		"ARP that looks like it": {append([]byte{0, 1, 8, 0}, make([]byte, 56)...), 0},
	} {
		if got := laneFor(c.packet); got != c.lane {
			t.Errorf("%s goes to %s, not %s", name, netlink.HandleStr(got), netlink.HandleStr(c.lane))
		}
	}
}

// laneFor does what the kernel does with the rules; 0 is the lane of data.
func laneFor(packet []byte) uint32 {
	for _, r := range rules {
		if !slices.ContainsFunc(r.keys, func(k netlink.TcU32Key) bool {
			return binary.BigEndian.Uint32(packet[k.Off:])&k.Mask != k.Val
		}) {
			return r.lane
		}
	}
	return 0
}
