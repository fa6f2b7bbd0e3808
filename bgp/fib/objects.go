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

// object is a nexthop object in the kernel. Sets of next hops that resolve alike share one: a tunnel has one, whatever is
// behind it.
type object struct {
	way     way
	group   bool
	members []uint32
	// routes that go by it, sets that do, and groups that it is a member of.
	routes, sets, groups int
}

func (o *object) used() bool { return o.routes > 0 || o.sets > 0 || o.groups > 0 }

// objects are those in the kernel.
type objects struct {
	byID map[uint32]*object
	last uint32
	// byWays finds an object that leads somewhere.
	byWays map[string]uint32
	// members of groups by way; those without a link drop packets.
	members map[way]uint32
	// loose may be without use.
	loose []uint32
}

func newObjects() objects {
	return objects{
		byID: map[uint32]*object{}, last: firstObject - 1, members: map[way]uint32{}, byWays: map[string]uint32{},
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

// join and leave count the sets that go by an object. It goes when its routes have gone, too.
func (o *objects) join(id uint32) {
	if one := o.byID[id]; one != nil {
		one.sets++
	}
}

func (o *objects) leave(id uint32) {
	if one := o.byID[id]; one != nil {
		one.sets--
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

// waysName names ways. A group is not the same as its only member: it can have more.
func waysName(group bool, ways []way) string { return fmt.Sprint(group, ways) }

// find finds an object with these ways, or writes one.
func (o *objects) find(w *batch, ways []way) uint32 {
	group := len(ways) > 1
	name := waysName(group, ways)
	if id := o.byWays[name]; o.byID[id] != nil && slices.Equal(o.ways(id), ways) {
		return id
	}
	id := o.allocate()
	o.byID[id] = &object{group: group}
	o.change(w, id, ways)
	return id
}

// change writes other ways into an object. A group can have any number of them, another object one or none.
func (o *objects) change(w *batch, id uint32, ways []way) {
	one := o.byID[id]
	if len(ways) > 0 {
		o.byWays[waysName(one.group, ways)] = id
	}
	if !one.group {
		six := one.way.via.Is6() // the family of what it was
		one.way = way{}
		if len(ways) > 0 {
			one.way = ways[0]
		}
		w.object(id, one.way, six)
		return
	}
	if len(ways) == 0 {
		ways = []way{nowhere(o.ways(id))}
	}
	before := one.members
	one.members = nil
	for _, h := range ways {
		m := o.member(w, h)
		o.byID[m].groups++
		one.members = append(one.members, m)
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
func (o *objects) member(w *batch, h way) uint32 {
	if id := o.members[h]; o.byID[id] != nil {
		return id
	}
	id := o.allocate()
	o.byID[id], o.members[h] = &object{way: h}, id
	w.object(id, h, h.via.Is6())
	return id
}

// nowhere is the way of packets that are dropped instead of going by ways. Routes of IPv6 need one of IPv6.
func nowhere(ways []way) way {
	if slices.ContainsFunc(ways, func(w way) bool { return w.via.Is4() }) {
		return way{via: netip.IPv4Unspecified()}
	}
	return way{via: netip.IPv6Unspecified()}
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
			delete(o.members, one.way)
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
