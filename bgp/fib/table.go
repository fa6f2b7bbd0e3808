package fib

import "net/netip"

// key is a prefix without pointers, as there may be a hundred thousand of them.
type key struct {
	addr [16]byte
	bits uint8
	six  bool
}

func keyOf(p netip.Prefix) key {
	k := key{bits: uint8(p.Bits()), six: p.Addr().Is6()}
	if k.six {
		k.addr = p.Masked().Addr().As16()
	} else {
		octets := p.Masked().Addr().As4()
		copy(k.addr[:], octets[:])
	}
	return k
}

func (k key) prefix() netip.Prefix {
	a := netip.AddrFrom16(k.addr)
	if !k.six {
		a = netip.AddrFrom4([4]byte(k.addr[:4]))
	}
	return netip.PrefixFrom(a, int(k.bits))
}

// Prefixes of fewer bits are default routes, or a few of them are as good as one.
const (
	shortest4 = 8
	shortest6 = 4
)

func (k key) isDefault() bool { return k.bits < shortest6 || !k.six && k.bits < shortest4 }

// shorter is the prefix of fewer bits that k is in.
func (k key) shorter(bits int) key {
	p, _ := k.prefix().Addr().Prefix(bits)
	return keyOf(p)
}

// class tells routes of external from those of internal peers.
type class uint8

const (
	external class = iota
	internal
)

func (c class) metric() uint32 {
	if c == internal {
		return MetricInternal
	}
	return MetricExternal
}

// foreign stands for the nexthop object of a route that is not as we make them.
const foreign = ^uint32(0)

// entry is a prefix: what BGP wants of it, and what the kernel has.
type entry struct {
	// set of next hops that it is to go by, by number; 0: it is to go.
	set uint32
	// have are the nexthop objects of the kernel's routes, by class; 0: no route.
	have [2]uint32
	// class that it is to have.
	class class
	// stale: nobody told it since KeepStale. dirty: it is in the queue. rewrite: its source address is to be another. lost: the
	// kernel removed its routes by itself.
	stale, dirty, rewrite, lost bool
}

func (e entry) installed() bool { return e.have != [2]uint32{} }

// action is one change of the kernel's table.
type action uint8

const (
	put    action = iota // a route by object
	drop                 // no route of class
	refuse               // an unreachable route
	admit                // no unreachable route
	alter                // a nexthop object as it is to be
	remove               // no nexthop object
	sweep                // no route with a metric that we do not use
)

// step is an action on a prefix, or on a nexthop object.
type step struct {
	key    key
	action action
	class  class
	object uint32
	metric uint32
	// fresh: there is no route to replace.
	fresh bool
}

// plan is pure: what is to be done so that a prefix goes by object (0: by none), and what after that. armed: it is
// unreachable already. guard: it must not be open to other routes once it goes.
func plan(k key, e entry, object uint32, armed, guard bool) (first, then []step) {
	if object != 0 {
		if e.have[e.class] != object || e.rewrite {
			first = append(first, step{key: k, action: put, class: e.class, object: object, fresh: e.have[e.class] == 0})
		}
		if other := 1 - e.class; e.have[other] != 0 {
			then = append(then, step{key: k, action: drop, class: other})
		}
		if armed {
			then = append(then, step{key: k, action: admit})
		}
		return first, then
	}
	if guard && !armed {
		first = append(first, step{key: k, action: refuse})
	}
	for c, have := range e.have {
		if have != 0 {
			then = append(then, step{key: k, action: drop, class: class(c)})
		}
	}
	return first, then
}
