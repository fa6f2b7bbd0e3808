package fib

import (
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// message is one netlink message; body is valid until the next is read.
type message struct {
	kind, flags uint16
	seq, port   uint32
	body        []byte
}

var errMalformed = errors.New("the kernel's message is malformed")

// messages splits what was received.
func messages(b []byte, each func(message)) error {
	for len(b) >= unix.NLMSG_HDRLEN {
		length := int(native.Uint32(b))
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return errMalformed
		}
		each(message{
			kind: native.Uint16(b[4:]), flags: native.Uint16(b[6:]), seq: native.Uint32(b[8:]), port: native.Uint32(b[12:]),
			body: b[unix.NLMSG_HDRLEN:length],
		})
		b = b[min(align(length), len(b)):]
	}
	return nil
}

func align(n int) int { return (n + 3) &^ 3 }

// attributes yields what follows a header.
func attributes(b []byte, each func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		length := int(native.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			return
		}
		each(native.Uint16(b[2:])&attributeKind, b[unix.SizeofRtAttr:length])
		b = b[min(align(length), len(b)):]
	}
}

// err is the error of an answer (struct nlmsgerr), or nil for an acknowledgement.
func (m message) err() error {
	if len(m.body) < 4 {
		return nil
	}
	errno := -int32(native.Uint32(m.body))
	if errno <= 0 {
		return nil
	}
	e := &kernelError{errno: unix.Errno(errno)}
	// The refused message's header comes before the attributes, and no more of it (NETLINK_CAP_ACK).
	const header = 4 + unix.NLMSG_HDRLEN
	if m.kind == unix.NLMSG_ERROR && m.flags&unix.NLM_F_ACK_TLVS != 0 && len(m.body) > header {
		attributes(m.body[header:], func(kind uint16, value []byte) {
			if kind == unix.NLMSGERR_ATTR_MSG {
				e.text = strings.TrimRight(string(value), "\x00")
			}
		})
	}
	return e
}

// kernelRoute is a route as the kernel tells it.
type kernelRoute struct {
	foundRoute
	table    uint32
	protocol byte
	kind     byte
	object   uint32
	source   netip.Addr
}

// parseRoute reads a route (struct rtmsg). Not ok: it is none of IPv4 or IPv6, or a cached one.
func parseRoute(b []byte) (r kernelRoute, ok bool) {
	if len(b) < unix.SizeofRtMsg || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 ||
		native.Uint32(b[8:])&unix.RTM_F_CLONED != 0 {
		return r, false
	}
	bits := int(b[1])
	r.table, r.protocol, r.kind = uint32(b[4]), b[5], b[7]
	r.unicast = r.kind == unix.RTN_UNICAST
	dst := netip.IPv4Unspecified()
	if b[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	var single way
	attributes(b[unix.SizeofRtMsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(value)
		case unix.RTA_PREFSRC:
			r.source, _ = netip.AddrFromSlice(value)
		case unix.RTA_GATEWAY, unix.RTA_VIA:
			single.via = gateway(kind, value)
		case unix.RTA_MULTIPATH:
			r.ways = append(r.ways, parseWays(value)...)
		}
		if len(value) < 4 {
			return
		}
		switch kind {
		case unix.RTA_TABLE:
			r.table = native.Uint32(value)
		case unix.RTA_PRIORITY:
			r.metric = native.Uint32(value)
		case rtaNexthop:
			r.object = native.Uint32(value)
		case unix.RTA_OIF:
			single.link = int(native.Uint32(value))
		}
	})
	if single.link != 0 {
		r.ways = append(r.ways, single)
	}
	r.prefix = netip.PrefixFrom(dst, bits)
	return r, r.prefix.IsValid()
}

// parseWays reads the next hops of a multipath route (struct rtnexthop). Whether one is lost follows from its link: the
// kernel's own marks (RTNH_F_LINKDOWN) go without news, a while after the link's.
func parseWays(b []byte) (ways []way) {
	for len(b) >= unix.SizeofRtNexthop {
		length := int(native.Uint16(b))
		if length < unix.SizeofRtNexthop || length > len(b) {
			return ways
		}
		w := way{link: int(native.Uint32(b[4:]))}
		attributes(b[unix.SizeofRtNexthop:length], func(kind uint16, value []byte) {
			if kind == unix.RTA_GATEWAY || kind == unix.RTA_VIA {
				w.via = gateway(kind, value)
			}
		})
		ways = append(ways, w)
		b = b[min(align(length), len(b)):]
	}
	return ways
}

// gateway reads a gateway; one of another family than the route's comes with its family before it (struct rtvia).
func gateway(kind uint16, value []byte) netip.Addr {
	if kind == unix.RTA_VIA {
		value = value[min(2, len(value)):]
	}
	a, _ := netip.AddrFromSlice(value)
	return a
}

// parseLink reads a link (struct ifinfomsg).
func parseLink(b []byte) (l link, ok bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return l, false
	}
	flags := native.Uint32(b[8:])
	l = link{
		index:    int(native.Uint32(b[4:])),
		usable:   flags&unix.IFF_UP != 0 && flags&(unix.IFF_RUNNING|unix.IFF_LOWER_UP) != 0,
		noARP:    flags&(unix.IFF_NOARP|unix.IFF_POINTOPOINT) != 0,
		loopback: flags&unix.IFF_LOOPBACK != 0,
	}
	attributes(b[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) {
		if kind == unix.IFLA_IFNAME {
			l.name = strings.TrimRight(string(value), "\x00")
		}
	})
	return l, true
}

// parseAddress reads an address of a link (struct ifaddrmsg).
func parseAddress(b []byte) (a netip.Addr) {
	if len(b) < unix.SizeofIfAddrmsg {
		return a
	}
	attributes(b[unix.SizeofIfAddrmsg:], func(kind uint16, value []byte) {
		if kind == unix.IFA_LOCAL || kind == unix.IFA_ADDRESS && !a.IsValid() {
			a, _ = netip.AddrFromSlice(value)
		}
	})
	return a
}

// kernelObject is a nexthop object as the kernel tells it.
type kernelObject struct {
	id       uint32
	protocol byte
	way      way
	members  []uint32
	group    bool
}

// parseObject reads a nexthop object (struct nhmsg).
func parseObject(b []byte) (o kernelObject, ok bool) {
	if len(b) < unix.SizeofNhmsg {
		return o, false
	}
	o.protocol = b[2]
	attributes(b[unix.SizeofNhmsg:], func(kind uint16, value []byte) {
		switch {
		case kind == unix.NHA_GATEWAY:
			o.way.via, _ = netip.AddrFromSlice(value)
		case kind == unix.NHA_GROUP:
			o.group = true
			for ; len(value) >= 8; value = value[8:] {
				o.members = append(o.members, native.Uint32(value))
			}
		case kind == unix.NHA_ID && len(value) >= 4:
			o.id = native.Uint32(value)
		case kind == unix.NHA_OIF && len(value) >= 4:
			o.way.link = int(native.Uint32(value))
		}
	})
	return o, true
}
