package ratelimit

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// rule sends packets that have all its keys to a lane.
type rule struct {
	lane uint32
	keys []netlink.TcU32Key
}

const (
	bfdPort = 3784 // RFC 5881, 4
	bgpPort = 179  // RFC 4271, 8.2.1
)

// rules tell network control from data; the first that matches counts. BFD goes by its port, as not all mark it, and BGP
// too: a listener's first answer has no class yet, and not every router marks its own. Everything else that routers say
// to each other has the classes CS6 and CS7 (RFC 4594, 3.1).
var rules = []rule{
	{bfdLane, ports4(unix.IPPROTO_UDP, 0, bfdPort)},
	{bfdLane, ports6(unix.IPPROTO_UDP, 0, bfdPort)},
	{controlLane.class, []netlink.TcU32Key{key(0, 0xf0c00000, 0x40c00000)}},
	{controlLane.class, []netlink.TcU32Key{key(0, 0xfc000000, 0x6c000000)}},
	{controlLane.class, ports4(unix.IPPROTO_TCP, 0, bgpPort)},
	{controlLane.class, ports4(unix.IPPROTO_TCP, bgpPort, 0)},
	{controlLane.class, ports6(unix.IPPROTO_TCP, 0, bgpPort)},
	{controlLane.class, ports6(unix.IPPROTO_TCP, bgpPort, 0)},
}

// key compares 32 bits of the IP packet.
func key(offset int32, mask, value uint32) netlink.TcU32Key {
	return netlink.TcU32Key{Mask: mask, Val: value, Off: offset}
}

// ports4 match an IPv4 packet without options that is no later fragment; 0 is any port.
func ports4(protocol, source, destination uint32) []netlink.TcU32Key {
	return []netlink.TcU32Key{
		key(0, 0xff000000, 0x45000000), key(4, 0x1fff, 0), key(8, 0xff0000, protocol<<16), ports(20, source, destination),
	}
}

// ports6 match an IPv6 packet without extension headers.
func ports6(protocol, source, destination uint32) []netlink.TcU32Key {
	return []netlink.TcU32Key{
		key(0, 0xf0000000, 0x60000000), key(4, 0xff00, protocol<<8), ports(40, source, destination),
	}
}

func ports(offset int32, source, destination uint32) netlink.TcU32Key {
	if source != 0 {
		return key(offset, 0xffff0000, source<<16)
	}
	return key(offset, 0xffff, destination)
}

// filter is the rule at this place of the scheduler's list.
func (r rule) filter(index, place int) *netlink.U32 {
	f := everyRule(index)
	f.Handle = firstRule + uint32(place)
	f.ClassId, f.Sel = r.lane, &netlink.TcU32Sel{Flags: nl.TC_U32_TERMINAL, Keys: r.keys}
	return f
}

// everyRule are all rules of the link's scheduler.
func everyRule(index int) *netlink.U32 {
	return &netlink.U32{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: index, Parent: scheduler, Priority: 1, Protocol: unix.ETH_P_ALL,
	}}
}

// addRules gives the scheduler its rules. It had none, or others: their selectors cannot be changed.
func (a act) addRules(index int, others bool) error {
	if others {
		if err := a.h.FilterDel(everyRule(index)); err != nil {
			return fmt.Errorf("remove the rules for network control: %w", err)
		}
	}
	for i, r := range rules {
		err := a.h.FilterAdd(r.filter(index, i))
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("this kernel cannot tell network control (CONFIG_NET_CLS_U32, module cls_u32): %w", err)
		}
		if err != nil {
			return fmt.Errorf("add a rule for network control: %w", err)
		}
	}
	return nil
}

// rulesOf tells whether a scheduler has the rules, or others.
func rulesOf(filters []netlink.Filter) (all, others bool) {
	var have []rule
	for _, f := range filters {
		u, ok := f.(*netlink.U32)
		if ok && u.Sel == nil {
			continue // a table
		}
		if !ok {
			return false, true
		}
		have = append(have, rule{u.ClassId, u.Sel.Keys})
	}
	all = slices.EqualFunc(have, rules, func(a, b rule) bool { return a.lane == b.lane && slices.Equal(a.keys, b.keys) })
	return all, !all && len(have) > 0
}
