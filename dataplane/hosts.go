package dataplane

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// hostKey is a host as records see it: its provider address, and the gateway's own one where the virtual subnet has one
// to itself.
type hostKey struct {
	pa    netip.Addr
	bound netip.Addr
}

// hosts is the map of hosts, which records refer to by index, and the map of which tenant's records name which provider
// address. Dataplane.mu must be held.
type hosts struct {
	kernel, providers *ebpf.Map
	network           *underlay

	byKey   map[hostKey]uint32
	entries []hostEntry // by index; the first is no host
	free    []uint32    // indexes that were in use; the oldest is taken first, lest a packet under way meets another's

	peers  map[uint32]map[doorsAddress]uint32 // by tenant: how many of its records name a provider address
	listed map[doorsTenantAddress]bool        // what the map of providers has
}

type hostEntry struct {
	key   hostKey
	value doorsHost
	uses  uint32 // entries of other maps that refer to it
}

func readHosts(kernel, providers *ebpf.Map) (*hosts, error) {
	h := &hosts{
		kernel: kernel, providers: providers, network: &underlay{},
		byKey: make(map[hostKey]uint32), entries: make([]hostEntry, 1),
		peers: make(map[uint32]map[doorsAddress]uint32), listed: make(map[doorsTenantAddress]bool),
	}
	found := make(map[uint32]doorsHost)
	last := uint32(0)
	err := each(kernel, func(index uint32, v doorsHost) {
		if v.Pa != (doorsAddress{}) {
			found[index], last = v, max(last, index)
		}
	})
	for index := uint32(1); index <= last; index++ {
		v, ok := found[index]
		if !ok {
			h.entries, h.free = append(h.entries, hostEntry{}), append(h.free, index)
			continue
		}
		k := hostKey{pa: fromAddress(v.Pa)}
		if v.Flags&uint8(doorsHostFlagsHOST_BOUND) != 0 {
			k.bound = fromAddress(v.Local)
		}
		h.entries, h.byKey[k] = append(h.entries, hostEntry{key: k, value: v}), index
	}
	return h, errors.Join(err, each(providers, func(k doorsTenantAddress, _ uint32) { h.listed[k] = true }))
}

// intern finds or makes the index of a host. One that nobody uses goes with the next sweep.
func (h *hosts) intern(k hostKey) (uint32, error) {
	if index, ok := h.byKey[k]; ok {
		return index, nil
	}
	value, err := h.network.path(k)
	if err != nil {
		return 0, err
	}
	index := uint32(len(h.entries))
	if len(h.free) > 0 {
		index = h.free[0]
	}
	if index >= h.kernel.MaxEntries() {
		return 0, fmt.Errorf("all %d places for hosts are in use", h.kernel.MaxEntries()-1)
	}
	if err := h.kernel.Put(index, value); err != nil {
		return 0, fmt.Errorf("write host %v: %w", k.pa, err)
	}
	if len(h.free) > 0 {
		h.free = h.free[1:]
	} else {
		h.entries = append(h.entries, hostEntry{})
	}
	h.entries[index], h.byKey[k] = hostEntry{key: k, value: value}, index
	return index, nil
}

// pa is the provider address of a host.
func (h *hosts) pa(index uint32) netip.Addr {
	if index >= uint32(len(h.entries)) {
		return netip.Addr{}
	}
	return h.entries[index].key.pa
}

// use notes that a record of the tenant's refers to the host, whose frames the tenant then takes.
func (h *hosts) use(tenant, index uint32) error {
	h.entries[index].uses++
	return h.list(h.meet(tenant, index))
}

// release undoes use.
func (h *hosts) release(tenant, index uint32) error {
	h.entries[index].uses--
	k := doorsTenantAddress{Tenant: tenant, Ip: toAddress(h.pa(index))}
	peers := h.peers[tenant]
	if peers[k.Ip]--; peers[k.Ip] == 0 {
		delete(peers, k.Ip)
	}
	if len(peers) == 0 {
		delete(h.peers, tenant)
	}
	return h.list(k)
}

// hold keeps a host that something refers to which is no record.
func (h *hosts) hold(index uint32) {
	if index < uint32(len(h.entries)) {
		h.entries[index].uses++
	}
}

// letGo undoes hold.
func (h *hosts) letGo(index uint32) { h.entries[index].uses-- }

// count is use for what the kernel had already when it was read.
func (h *hosts) count(tenant, index uint32) {
	if index != 0 && index < uint32(len(h.entries)) {
		h.entries[index].uses++
		h.meet(tenant, index)
	}
}

// meet counts one more record of a tenant that names the host's provider address.
func (h *hosts) meet(tenant, index uint32) doorsTenantAddress {
	k := doorsTenantAddress{Tenant: tenant, Ip: toAddress(h.pa(index))}
	if h.peers[tenant] == nil {
		h.peers[tenant] = make(map[doorsAddress]uint32)
	}
	h.peers[tenant][k.Ip]++
	return k
}

// list makes the map of providers have the tenant's host, or not. No host may pass for the gateway itself.
func (h *hosts) list(k doorsTenantAddress) error {
	want := h.peers[k.Tenant][k.Ip] > 0 && !h.network.own(fromAddress(k.Ip))
	if want == h.listed[k] {
		return nil
	}
	if want {
		if err := h.providers.Put(k, uint32(1)); err != nil {
			return fmt.Errorf("write provider address %v: %w", fromAddress(k.Ip), err)
		}
		h.listed[k] = true
		return nil
	}
	if err := h.providers.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete provider address %v: %w", fromAddress(k.Ip), err)
	}
	delete(h.listed, k)
	return nil
}

// makeRoom sweeps where no place is left. Nothing may have been interned that is not in use yet.
func (h *hosts) makeRoom() error {
	if len(h.free) > 0 || uint32(len(h.entries)) < h.kernel.MaxEntries() {
		return nil
	}
	return h.sweep()
}

// sweep forgets the hosts that nothing refers to any more.
func (h *hosts) sweep() error {
	var errs []error
	for index := range h.entries {
		e := &h.entries[index]
		if e.uses > 0 || !e.key.pa.IsValid() {
			continue
		}
		if err := h.kernel.Put(uint32(index), doorsHost{}); err != nil {
			errs = append(errs, fmt.Errorf("delete host %v: %w", e.key.pa, err))
			continue
		}
		delete(h.byKey, e.key)
		h.free = append(h.free, uint32(index))
		*e = hostEntry{}
	}
	return few(errs)
}

// setUnderlay finds anew how each host is reached. One that is not reached any more has no link from now on.
func (h *hosts) setUnderlay(u *underlay) error {
	h.network = u
	var errs []error
	for index := range h.entries {
		e := &h.entries[index]
		if !e.key.pa.IsValid() {
			continue
		}
		value, _ := u.path(e.key)
		if value == e.value {
			continue
		}
		if err := h.kernel.Put(uint32(index), value); err != nil {
			errs = append(errs, fmt.Errorf("write host %v: %w", e.key.pa, err))
			continue
		}
		e.value = value
	}
	for tenant, peers := range h.peers {
		for pa := range peers {
			errs = append(errs, h.list(doorsTenantAddress{Tenant: tenant, Ip: pa}))
		}
	}
	for k := range h.listed {
		errs = append(errs, h.list(k))
	}
	return few(errs)
}
