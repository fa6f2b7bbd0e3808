package fib

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// writer puts netlink messages together (netlink(7), rtnetlink(7)), many to a buffer.
type writer struct {
	buf   []byte
	start int
}

// What the library does not name (linux/rtnetlink.h, linux/netlink.h).
const (
	rtaNexthop    = 30     // RTA_NH_ID
	attributeKind = 0x3fff // NLA_TYPE_MASK
)

var native = binary.NativeEndian

// begin starts a message. The header of its kind follows, then attributes, then end.
func (w *writer) begin(kind, flags uint16, seq uint32) {
	w.start = len(w.buf)
	w.buf = append(w.buf, 0, 0, 0, 0)
	w.buf = native.AppendUint16(w.buf, kind)
	w.buf = native.AppendUint16(w.buf, flags|unix.NLM_F_REQUEST)
	w.buf = native.AppendUint32(w.buf, seq)
	w.buf = append(w.buf, 0, 0, 0, 0)
}

func (w *writer) end() {
	native.PutUint32(w.buf[w.start:], uint32(len(w.buf)-w.start))
}

func (w *writer) uint32(kind uint16, value uint32) {
	w.buf = native.AppendUint16(w.buf, 8)
	w.buf = native.AppendUint16(w.buf, kind)
	w.buf = native.AppendUint32(w.buf, value)
}

func (w *writer) addr(kind uint16, a netip.Addr) {
	w.buf = native.AppendUint16(w.buf, uint16(4+a.BitLen()/8))
	w.buf = native.AppendUint16(w.buf, kind)
	if a.Is4() {
		octets := a.As4()
		w.buf = append(w.buf, octets[:]...)
		return
	}
	octets := a.As16()
	w.buf = append(w.buf, octets[:]...)
}

// rtmsg is the header of a route: kind is RTN_UNICAST and so on.
func (w *writer) rtmsg(p netip.Prefix, kind byte) {
	w.buf = append(w.buf, af(p.Addr()), byte(p.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BGP,
		unix.RT_SCOPE_UNIVERSE, kind, 0, 0, 0, 0)
	w.addr(unix.RTA_DST, p.Addr())
}

// route writes a route that goes by a nexthop object.
func (w *writer) route(flags uint16, seq uint32, p netip.Prefix, metric, object uint32, source netip.Addr) {
	w.begin(unix.RTM_NEWROUTE, flags, seq)
	w.rtmsg(p, unix.RTN_UNICAST)
	w.uint32(unix.RTA_PRIORITY, metric)
	w.uint32(rtaNexthop, object)
	if source.IsValid() {
		w.addr(unix.RTA_PREFSRC, source)
	}
	w.end()
}

// unreachable writes a route that refuses packets.
func (w *writer) unreachable(flags uint16, seq uint32, p netip.Prefix, metric uint32) {
	w.begin(unix.RTM_NEWROUTE, flags, seq)
	w.rtmsg(p, unix.RTN_UNREACHABLE)
	w.uint32(unix.RTA_PRIORITY, metric)
	w.end()
}

// removeRoute removes BGP's route with the prefix and metric, whatever it is.
func (w *writer) removeRoute(seq uint32, p netip.Prefix, metric uint32) {
	w.begin(unix.RTM_DELROUTE, 0, seq)
	w.rtmsg(p, unix.RTN_UNSPEC)
	// The kernel takes "nowhere" for "any scope".
	w.buf[w.start+unix.NLMSG_HDRLEN+6] = unix.RT_SCOPE_NOWHERE
	w.uint32(unix.RTA_PRIORITY, metric)
	w.end()
}

// nhmsg is the header of a nexthop object.
func (w *writer) nhmsg(family byte, flags uint32) {
	w.buf = append(w.buf, family, 0, unix.RTPROT_BGP, 0)
	w.buf = native.AppendUint32(w.buf, flags)
}

// nexthop makes a nexthop object of one way, or changes it to that.
func (w *writer) nexthop(seq, id uint32, h way) {
	w.begin(unix.RTM_NEWNEXTHOP, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, seq)
	w.nhmsg(af(h.via), unix.RTNH_F_ONLINK)
	w.uint32(unix.NHA_ID, id)
	w.uint32(unix.NHA_OIF, uint32(h.link))
	w.addr(unix.NHA_GATEWAY, h.via)
	w.end()
}

// blackhole makes a nexthop object that drops packets, or changes one to that.
func (w *writer) blackhole(seq, id uint32, six bool) {
	w.begin(unix.RTM_NEWNEXTHOP, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, seq)
	family := byte(unix.AF_INET)
	if six {
		family = unix.AF_INET6
	}
	w.nhmsg(family, 0)
	w.uint32(unix.NHA_ID, id)
	w.buf = native.AppendUint16(w.buf, 4)
	w.buf = native.AppendUint16(w.buf, unix.NHA_BLACKHOLE)
	w.end()
}

// group makes a nexthop object that shares packets among others by flow, or changes one to that.
func (w *writer) group(seq, id uint32, members []uint32) {
	w.begin(unix.RTM_NEWNEXTHOP, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, seq)
	w.nhmsg(unix.AF_UNSPEC, 0)
	w.uint32(unix.NHA_ID, id)
	w.buf = native.AppendUint16(w.buf, uint16(4+8*len(members)))
	w.buf = native.AppendUint16(w.buf, unix.NHA_GROUP)
	for _, m := range members { // struct nexthop_grp: id, weight less one, padding
		w.buf = native.AppendUint32(w.buf, m)
		w.buf = append(w.buf, 0, 0, 0, 0)
	}
	w.end()
}

// removeNexthop removes a nexthop object. The kernel removes the routes that go by it, too.
func (w *writer) removeNexthop(seq, id uint32) {
	w.begin(unix.RTM_DELNEXTHOP, 0, seq)
	w.nhmsg(unix.AF_UNSPEC, 0)
	// The protocol is no part of a removal.
	w.buf[w.start+unix.NLMSG_HDRLEN+2] = 0
	w.uint32(unix.NHA_ID, id)
	w.end()
}

// dumpRoutes asks for the routes of the main table; 0: of every family or protocol.
func (w *writer) dumpRoutes(seq uint32, l routeList) {
	w.begin(unix.RTM_GETROUTE, unix.NLM_F_DUMP, seq)
	w.buf = append(w.buf, l.family, 0, 0, 0, unix.RT_TABLE_MAIN, l.protocol, 0, 0, 0, 0, 0, 0)
	w.end()
}

// dump asks for all of a kind whose header has so many octets.
func (w *writer) dump(seq uint32, kind uint16, header int) {
	w.begin(kind, unix.NLM_F_DUMP, seq)
	w.buf = append(w.buf, make([]byte, header)...)
	w.end()
}

// af is the kernel's number of an address family.
func af(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
