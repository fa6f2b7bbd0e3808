package fib

import "fmt"

// takeUp takes up what the kernel has. Routes that nobody knows of are a predecessor's when the table is opened, and go
// otherwise.
func (t *Table) takeUp(r *reading) {
	t.links, t.local, t.lists = r.links, r.local, r.lists
	t.strays = r.strays
	t.takeUpObjects(r.objects)
	for k, e := range t.entries {
		own := r.own[k]
		delete(r.own, k)
		if _, failed := t.failed[k]; failed || own.have != e.have || own.wrong || e.rewrite || r.refusing[k] && e.set != 0 {
			now := entry{have: own.have}
			e.lost = e.lost || e.installed() && !now.installed()
			t.countLength(k, e.installed(), now.installed())
			e.have, e.rewrite = own.have, own.wrong
			t.queue(k, e)
		}
		t.countObjects(own.have)
	}
	for k, own := range r.own {
		e := entry{have: own.have, stale: !t.opened, rewrite: own.wrong}
		t.countLength(k, false, true)
		t.countObjects(own.have)
		t.entries[k] = e
		if t.opened {
			t.queue(k, e)
			continue
		}
		t.came = append(t.came, k.prefix()) // A predecessor may have died before it told.
		rouse(t.arrived)
	}
	t.takeUpWithdrawn(r.refusing)
	for id := range t.objects.byID {
		t.objects.loosen(id)
	}
	t.opened = true
	t.look()
}

// countObjects counts the objects that an entry's routes go by.
func (t *Table) countObjects(have [2]uint32) {
	for _, id := range have {
		t.objects.count(id, 1)
	}
}

// takeUpObjects takes up the kernel's nexthop objects. Sets whose object is gone are without one.
func (t *Table) takeUpObjects(found map[uint32]*object) {
	o := newObjects()
	o.last, o.byID = t.objects.last, found
	for _, one := range found {
		for _, m := range one.members {
			if member := found[m]; member != nil {
				member.groups++
				o.members[member.way] = m
			}
		}
	}
	for id, one := range found {
		if ways := o.ways(id); len(ways) > 0 && one.groups == 0 {
			o.byWays[waysName(one.group, ways)] = id
		}
	}
	for _, set := range t.sets.all {
		if set == nil || set.object == 0 {
			continue
		}
		if found[set.object] == nil {
			set.object, set.ways = 0, nil
			continue
		}
		set.ways = o.ways(set.object)
		o.join(set.object)
	}
	t.objects = o
}

// takeUpWithdrawn takes up which prefixes are unreachable.
func (t *Table) takeUpWithdrawn(refusing map[key]bool) {
	for k := range t.withdrawn.prefixes {
		t.withdrawn.set(k, refusing[k])
	}
	for k := range refusing {
		if _, known := t.withdrawn.prefixes[k]; !known {
			t.withdrawn.add(k, true)
		}
	}
}

// reviewWithdrawn arms the prefixes that went and that nothing covers any more, and disarms those that something covers
// again.
func (t *Table) reviewWithdrawn() (first *batch, then []step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first = t.batch()
	then, t.strays = t.strays, nil
	if !t.review || !t.ready {
		return first, then
	}
	t.review = false
	if surplus := t.withdrawn.surplus(); len(surplus) > 0 {
		t.log.Warn("prefixes that were withdrawn long ago are open to the Internet again, since too many were",
			"given up", len(surplus), "kept", t.withdrawn.most)
		for _, k := range surplus {
			then = append(then, step{key: k, action: admit})
			t.withdrawn.forgotten++
			t.withdrawn.remove(k)
		}
	}
	for k, w := range t.withdrawn.prefixes {
		if first.full() || len(then) >= batchSteps {
			t.review = true
			break
		}
		switch need := t.guards(k) && !t.entries[k].installed() && !t.covered(k); {
		case need && !w.armed:
			first.add(step{key: k, action: refuse}, t.sources)
		case !need && w.armed:
			then = append(then, step{key: k, action: admit})
		case !t.guards(k):
			t.withdrawn.remove(k)
		}
	}
	return first, then
}

// clean removes what nothing uses any more, and answers those who wait until all is done.
func (t *Table) clean() (more bool) {
	t.mu.Lock()
	if n := t.news; n.all || len(n.lists) > 0 || len(t.dirty)+len(t.sets.fresh) > 0 || t.resolve || t.review && t.ready {
		t.mu.Unlock()
		return true
	}
	for _, set := range t.sets.forget() {
		t.objects.leave(set.object)
	}
	if len(t.entries) == 0 { // A map keeps the room that it ever needed.
		t.entries = map[key]entry{}
	}
	if len(t.withdrawn.prefixes) == 0 {
		t.withdrawn.prefixes, t.withdrawn.order = map[key]withdrawal{}, nil
	}
	t.garbage = append(t.garbage, t.objects.unused()...)
	b := t.batch()
	for len(t.garbage) > 0 && !b.full() {
		id := t.garbage[0]
		t.garbage = t.garbage[1:]
		b.writer.removeNexthop(b.number(step{action: remove, object: id}), id)
	}
	t.mu.Unlock()
	t.commit(b, nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.garbage) > 0 {
		return true
	}
	t.answer()
	return false
}

// answer tells those who wait that all is done.
func (t *Table) answer() {
	var err error
	if len(t.failed) > 0 || t.broken {
		err = fmt.Errorf("%d routes could not be written, and are tried again: %s", len(t.failed), t.lastError)
	}
	for _, done := range t.flushes {
		done <- err
	}
	t.flushes = nil
}
