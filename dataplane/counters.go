package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/uuid"

	"bulkhead/internal/drops"
)

// Reason is one of the reasons that a door drops a packet for.
type Reason struct {
	// Where is door1 or door2.
	Where string
	// Name is a stable kebab-case word.
	Name string
}

// Reasons are all the reasons that the doors drop packets for, in order of their numbers.
func Reasons() ([]Reason, error) {
	spec, err := loadDoors()
	if err != nil {
		return nil, err
	}
	byNumber, err := reasonsOf(spec)
	if err != nil {
		return nil, err
	}
	var all []Reason
	for _, number := range slices.Sorted(maps.Keys(byNumber)) {
		all = append(all, byNumber[number])
	}
	return all, nil
}

// reasonsOf reads the reasons from the object's type information, so that the names here cannot differ from those in C:
// DOOR1_UNKNOWN_VSID is "unknown-vsid" at "door1".
func reasonsOf(spec *ebpf.CollectionSpec) (map[uint32]Reason, error) {
	var enum *btf.Enum
	if err := spec.Types.TypeByName("reason", &enum); err != nil {
		return nil, fmt.Errorf("find the drop reasons in the object: %w", err)
	}
	reasons := make(map[uint32]Reason)
	for _, v := range enum.Values {
		where, name, _ := strings.Cut(strings.ToLower(v.Name), "_")
		reasons[uint32(v.Value)] = Reason{Where: where, Name: strings.ReplaceAll(name, "_", "-")}
	}
	return reasons, nil
}

// Drops are the counters of dropped packets, in order of tenant, door and reason. Bytes count whole frames. The tenant
// is empty where none could be told.
func (d *Dataplane) Drops() ([]drops.Drop, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []drops.Drop
	var key doorsDropKey
	var perCPU []doorsCount
	entries := d.objects.Drops.Iterate()
	for entries.Next(&key, &perCPU) {
		tenant, known := d.tenants[key.Tenant]
		if key.Tenant != 0 && !known {
			continue // Of a tenant that is gone: its last packets were on their way.
		}
		reason := d.reasons[key.Reason]
		drop := drops.Drop{Tenant: tenant.name, Where: reason.Where, Reason: reason.Name}
		for _, c := range perCPU {
			drop.Packets += c.Packets
			drop.Bytes += c.Bytes
		}
		all = append(all, drop)
	}
	slices.SortFunc(all, func(a, b drops.Drop) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Where, b.Where), cmp.Compare(a.Reason, b.Reason))
	})
	if err := entries.Err(); err != nil {
		return all, fmt.Errorf("read drop counters: %w", err)
	}
	return all, nil
}

// forgetDrops deletes a tenant's drop counters. d.mu must be held.
func (d *Dataplane) forgetDrops(id uint32) error {
	var errs []error
	for number := range d.reasons {
		err := d.objects.Drops.Delete(doorsDropKey{Tenant: id, Reason: number})
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("delete drop counter: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Traffic counts what a tenant sent and received, without outer headers. A GSO packet counts as the packets that it is
// on the wire; its bytes are those of one, with one header.
type Traffic struct {
	// VSID is the virtual subnet that the packets carry; 0 for the external link.
	VSID uint32
	// In is what the gateway took, Out is what it sent. What it routes between two virtual subnets counts in both.
	InPackets, InBytes, OutPackets, OutBytes uint64
}

// Stats are a tenant's traffic counters, in order of VSID. None are kept of a tenant that the doors do not know.
func (d *Dataplane) Stats(rdid uuid.UUID) ([]Traffic, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, known := d.id(rdid)
	if !known {
		return nil, nil
	}
	indexes := make(map[uint32]uint32)
	for vsid, v := range d.vsids.have[id] {
		indexes[vsid] = uint32(v.Traffic)
	}
	if index, ok := d.externalTraffic(id); ok {
		indexes[0] = index
	}
	var all []Traffic
	for _, vsid := range slices.Sorted(maps.Keys(indexes)) {
		var perCPU []doorsTraffic
		if err := d.objects.Traffic.Lookup(indexes[vsid], &perCPU); err != nil {
			return all, fmt.Errorf("read traffic counters: %w", err)
		}
		t := Traffic{VSID: vsid}
		for _, c := range perCPU {
			t.InPackets, t.InBytes = t.InPackets+c.In.Packets, t.InBytes+c.In.Bytes
			t.OutPackets, t.OutBytes = t.OutPackets+c.Out.Packets, t.OutBytes+c.Out.Bytes
		}
		all = append(all, t)
	}
	return all, nil
}

// externalTraffic is the counter of the tenant's external link.
func (d *Dataplane) externalTraffic(id uint32) (uint32, bool) {
	for _, p := range d.ports.have[id] {
		if p.Vsid == 0 {
			return uint32(p.Traffic), true
		}
	}
	return 0, false
}

// indexes hands out places in the array of traffic counters.
type indexes struct {
	counters *ebpf.Map
	used     map[uint32]bool
	next     uint32
}

// freeTraffic knows the places that are in use. d.mu must be held.
func (d *Dataplane) freeTraffic() *indexes {
	free := &indexes{counters: d.objects.Traffic, used: make(map[uint32]bool)}
	for _, ports := range d.ports.have {
		for _, p := range ports {
			free.used[uint32(p.Traffic)] = true
		}
	}
	for _, vsids := range d.vsids.have {
		for _, v := range vsids {
			free.used[uint32(v.Traffic)] = true
		}
	}
	return free
}

// keep is the place that is in use already or, where none is, a new one with counters at zero.
func (x *indexes) keep(old uint32, known bool) (uint32, error) {
	if known {
		return old, nil
	}
	for x.used[x.next] {
		x.next++
	}
	if x.next >= x.counters.MaxEntries() {
		return 0, fmt.Errorf("all %d traffic counters are in use", x.counters.MaxEntries())
	}
	x.used[x.next] = true
	zero := make([]doorsTraffic, ebpf.MustPossibleCPU())
	if err := x.counters.Put(x.next, zero); err != nil {
		return 0, fmt.Errorf("reset traffic counter: %w", err)
	}
	return x.next, nil
}
