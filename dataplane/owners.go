package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Lengths of prefixes in the map of owners: an IPv4 prefix counts within ::ffff:0:0/96.
const (
	mappedBits  = 96
	addressBits = 128
	portBits    = addressBits + 8 + 8 // address, protocol, a zero byte
)

// owners is door 2's map of who owns which public address or part of it. An entry of the kernel's is made of up to
// three layers: what tenants claim, the mark that an address is shared, and the pool. Dataplane.mu must be held.
type owners struct {
	kernel *ebpf.Map
	have   map[doorsOwnerKey]doorsOwner
	pool   map[doorsOwnerKey]bool
	claims map[doorsAddress]map[doorsOwnerKey]doorsOwner
}

func readOwners(m *ebpf.Map) (*owners, error) {
	o := &owners{
		kernel: m,
		have:   make(map[doorsOwnerKey]doorsOwner),
		pool:   make(map[doorsOwnerKey]bool),
		claims: make(map[doorsAddress]map[doorsOwnerKey]doorsOwner),
	}
	err := each(m, func(k doorsOwnerKey, v doorsOwner) {
		o.have[k] = v
		if v.Flags&doorsOwnerFlagsOWNER_POOL != 0 {
			o.pool[k] = true
		}
		if v.Flags&doorsOwnerFlagsOWNER_TENANT != 0 {
			v.Flags = doorsOwnerFlagsOWNER_TENANT
			o.claim(k, v)
		}
	})
	return o, err
}

func (o *owners) claim(k doorsOwnerKey, v doorsOwner) {
	if o.claims[k.Ip] == nil {
		o.claims[k.Ip] = make(map[doorsOwnerKey]doorsOwner)
	}
	o.claims[k.Ip][k] = v
}

// of is what a tenant claims.
func (o *owners) of(tenant uint32) map[doorsOwnerKey]doorsOwner {
	mine := make(map[doorsOwnerKey]doorsOwner)
	for _, claims := range o.claims {
		for k, v := range claims {
			if v.Tenant == tenant {
				mine[k] = v
			}
		}
	}
	return mine
}

// taken is another tenant whose claim overlaps with the key.
func (o *owners) taken(tenant uint32, k doorsOwnerKey) (uint32, bool) {
	for other, v := range o.claims[k.Ip] {
		if v.Tenant != tenant && overlap(k, other) {
			return v.Tenant, true
		}
	}
	return 0, false
}

// overlap tells whether one of two keys of the same address contains the other.
func overlap(a, b doorsOwnerKey) bool {
	common := min(a.Prefixlen, b.Prefixlen)
	if common <= addressBits {
		return true
	}
	mask := uint16(0xffff) << (16 - (common - portBits))
	return a.Proto == b.Proto && hostOrder(a.Port)&mask == hostOrder(b.Port)&mask
}

// set makes claims all that the tenant owns.
func (o *owners) set(tenant uint32, claims map[doorsOwnerKey]doorsOwner) error {
	affected := make(map[doorsOwnerKey]bool)
	touch := func(k doorsOwnerKey) {
		affected[k] = true
		affected[doorsOwnerKey{Prefixlen: addressBits, Ip: k.Ip}] = true
	}
	for k := range o.of(tenant) {
		touch(k)
		delete(o.claims[k.Ip], k)
		if len(o.claims[k.Ip]) == 0 {
			delete(o.claims, k.Ip)
		}
	}
	for k, v := range claims {
		touch(k)
		o.claim(k, v)
	}
	return o.sync(affected)
}

// setPool makes prefixes the whole pool that tenants may own addresses from.
func (o *owners) setPool(prefixes []netip.Prefix) error {
	affected := make(map[doorsOwnerKey]bool)
	for k := range o.pool {
		affected[k] = true
	}
	o.pool = make(map[doorsOwnerKey]bool)
	for _, p := range prefixes {
		p = p.Masked()
		length := p.Bits()
		if p.Addr().Is4() {
			length += mappedBits
		}
		k := doorsOwnerKey{Prefixlen: uint32(length), Ip: toAddress(p.Addr())}
		o.pool[k], affected[k] = true, true
	}
	return o.sync(affected)
}

// want is the entry that the layers make at a key.
func (o *owners) want(k doorsOwnerKey) (doorsOwner, bool) {
	v, ok := o.claims[k.Ip][k]
	if !ok && k.Prefixlen == addressBits && len(o.claims[k.Ip]) > 0 {
		v.Flags, ok = doorsOwnerFlagsOWNER_SHARED, true
	}
	if o.pool[k] {
		v.Flags, ok = v.Flags|doorsOwnerFlagsOWNER_POOL, true
	}
	return v, ok
}

// sync makes the kernel's entries at the keys what the layers say; it adds before it deletes.
func (o *owners) sync(keys map[doorsOwnerKey]bool) error {
	var errs []error
	for k := range keys {
		v, ok := o.want(k)
		old, had := o.have[k]
		if !ok || had && old == v {
			continue
		}
		if err := o.kernel.Put(k, v); err != nil {
			errs = append(errs, fmt.Errorf("write owner of %v: %w", fromAddress(k.Ip), err))
			continue
		}
		o.have[k] = v
	}
	for k := range keys {
		_, ok := o.want(k)
		if _, had := o.have[k]; ok || !had {
			continue
		}
		if err := o.kernel.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("delete owner of %v: %w", fromAddress(k.Ip), err))
			continue
		}
		delete(o.have, k)
	}
	return few(errs)
}

// keys are the prefixes that make up p: one for a whole address, else those of its port range in every protocol that
// has ports, or an ICMP id in place of them.
func (p Ports) keys() []doorsOwnerKey {
	ip := toAddress(p.Address)
	if p.whole() {
		return []doorsOwnerKey{{Prefixlen: addressBits, Ip: ip}}
	}
	icmp := uint8(unix.IPPROTO_ICMP)
	if p.Address.Is6() {
		icmp = unix.IPPROTO_ICMPV6
	}
	var keys []doorsOwnerKey
	for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, icmp} {
		for first, last := uint32(p.First), uint32(p.Last); first <= last; {
			// The largest block that starts here, is aligned and does not pass the end.
			size := min(bits.TrailingZeros32(first|1<<16), bits.Len32(last-first+1)-1)
			keys = append(keys, doorsOwnerKey{
				Prefixlen: uint32(portBits + 16 - size), Ip: ip, Proto: proto, Port: networkOrder(uint16(first)),
			})
			first += 1 << size
		}
	}
	return keys
}

// toAddress is an address as the maps hold it: in network order, IPv4 as ::ffff:a.b.c.d.
func toAddress(a netip.Addr) doorsAddress {
	bytes := a.As16()
	var to doorsAddress
	for i := range to.W {
		to.W[i] = binary.NativeEndian.Uint32(bytes[4*i:])
	}
	return to
}

func fromAddress(a doorsAddress) netip.Addr {
	var bytes [16]byte
	for i, w := range a.W {
		binary.NativeEndian.PutUint32(bytes[4*i:], w)
	}
	return netip.AddrFrom16(bytes).Unmap()
}

func networkOrder(host uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], host)
	return binary.NativeEndian.Uint16(b[:])
}

// hostOrder undoes networkOrder, which is its own inverse.
func hostOrder(network uint16) uint16 { return networkOrder(network) }
