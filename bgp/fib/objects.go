package fib

import (
	"fmt"
	"net/netip"
	"slices"
)

// Nexthop objects of ours have numbers in this range.
const (
	firstObject = 177_000_000
	objectRange = 1 << 24
)

func isOurs(id uint32) bool { return id >= firstObject && id < firstObject+objectRange }

// object is a nexthop object in the kernel.
type object struct {
	way     way
	group   bool
	members []uint32
	// routes that go by it, groups that it is a member of, and whether a set owns it.
	routes, groups int
	owned          bool
}

func (o *object) used() bool { return o.routes > 0 || o.groups > 0 || o.owned }

// objects are those in the kernel.
type objects struct {
	byID map[uint32]*object
	last uint32
	// members of groups by way; the zero link drops packets.
	members map[way]uint32
	// orphans are objects that no set owns, by what they are, as a predecessor left them.
	orphans map[string][]uint32
	// loose may be without use.
	loose []uint32
}

func newObjects() objects {
	return objects{
		byID: map[uint32]*object{}, last: firstObject - 1, members: map[way]uint32{}, orphans: map[string][]uint32{},
	}
}

// allocate finds a free number.
func (o *objects) allocate() uint32 {
	for {
		if o.last++; !isOurs(o.last) {
			o.last = firstObject
		}
		if _, taken := o.byID[o.last]; !taken {
			return o.last
		}
	}
}

// count changes by how many routes an object is used.
func (o *objects) count(id uint32, by int) {
	if one := o.byID[id]; one != nil {
		one.routes += by
		o.loosen(id)
	}
}

func (o *objects) loosen(id uint32) {
	if one := o.byID[id]; one != nil && !one.used() {
		o.loose = append(o.loose, id)
	}
}

// disown gives up a set's object. It goes when its routes have gone.
func (o *objects) disown(id uint32) {
	if one := o.byID[id]; one != nil {
		one.owned = false
		o.loosen(id)
	}
}

// ways are those of an object.
func (o *objects) ways(id uint32) (ways []way) {
	one := o.byID[id]
	if one == nil {
		return nil
	}
	if !one.group {
		if one.way.link == 0 {
			return nil
		}
		return []way{one.way}
	}
	for _, m := range one.members {
		if member := o.byID[m]; member != nil && member.way.link != 0 {
			ways = append(ways, member.way)
		}
	}
	return sortWays(ways)
}

// name tells what an object is, for objects that are alike.
func objectName(group bool, ways []way) string { return fmt.Sprint(group, ways) }

// make writes an object with these ways for a set of prefixes of a family, or takes an orphan that is like it.
func (o *objects) make(w *batch, ways []way, six bool) uint32 {
	group := len(ways) > 1
	name := objectName(group, ways)
	for orphans := o.orphans[name]; len(orphans) > 0; orphans = o.orphans[name] {
		id := orphans[0]
		o.orphans[name] = orphans[1:]
		if one := o.byID[id]; one != nil && !one.owned && one.groups == 0 && slices.Equal(o.ways(id), ways) {
			one.owned = true
			return id
		}
	}
	id := o.allocate()
	o.byID[id] = &object{group: group, owned: true}
	o.change(w, id, ways, six)
	return id
}

// change writes other ways into an object. A group can have any number of them, another object one or none.
func (o *objects) change(w *batch, id uint32, ways []way, six bool) {
	one := o.byID[id]
	if !one.group {
		one.way = way{}
		if len(ways) > 0 {
			one.way = ways[0]
		}
		w.object(id, one.way, six)
		return
	}
	before := one.members
	one.members = nil
	if len(ways) == 0 {
		ways = []way{nowhere(six)}
	}
	for _, h := range ways {
		one.members = append(one.members, o.member(w, h, six))
	}
	for _, m := range one.members {
		o.byID[m].groups++
	}
	w.writer.group(w.number(step{action: alter, object: id}), id, one.members)
	for _, m := range before {
		if member := o.byID[m]; member != nil {
			member.groups--
			o.loosen(m)
		}
	}
}

// member finds or makes the member of groups that goes a way.
func (o *objects) member(w *batch, h way, six bool) uint32 {
	if id := o.members[h]; o.byID[id] != nil {
		return id
	}
	id := o.allocate()
	one := &object{}
	if h != nowhere(six) {
		one.way = h
	}
	o.byID[id], o.members[h] = one, id
	w.object(id, one.way, six)
	return id
}

// nowhere is the way of packets that are dropped.
func nowhere(six bool) way {
	if six {
		return way{via: netip.IPv6Unspecified()}
	}
	return way{via: netip.IPv4Unspecified()}
}

// unused takes out the objects that nothing uses, groups before their members.
func (o *objects) unused() (ids []uint32) {
	for len(o.loose) > 0 {
		loose := o.loose
		o.loose = nil
		for _, id := range loose {
			one := o.byID[id]
			if one == nil || one.used() {
				continue
			}
			delete(o.byID, id)
			ids = append(ids, id)
			for _, m := range one.members {
				if member := o.byID[m]; member != nil {
					member.groups--
					o.loosen(m)
				}
			}
		}
	}
	return ids
}
