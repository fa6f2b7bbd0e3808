package fib

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Waits before what failed is tried again.
const (
	shortestWait = time.Second
	longestWait  = time.Minute
)

// run brings the kernel to what is wanted, until ctx ends.
func (t *Table) run(ctx context.Context) {
	wait := shortestWait
	again := time.NewTimer(wait)
	again.Stop()
	waiting := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-again.C:
			waiting = false
			t.hear(news{all: true})
		}
		for ctx.Err() == nil && t.turn() {
			continue
		}
		t.mu.Lock()
		broken := t.broken || len(t.failed) > 0
		t.broken = false
		t.mu.Unlock()
		switch {
		case !broken:
			wait = shortestWait
		case !waiting:
			waiting = true
			again.Reset(wait)
			wait = min(2*wait, longestWait)
		}
	}
}

// hear takes up news.
func (t *Table) hear(n news) {
	t.mu.Lock()
	t.news.merge(n)
	t.mu.Unlock()
}

// turn does the most urgent part of what there is to do: news first, then objects, which concern many routes each, then
// routes, then what may wait. It tells whether there may be more.
func (t *Table) turn() (more bool) {
	t.mu.Lock()
	n := t.news
	t.news = news{}
	t.mu.Unlock()
	if n.all || len(n.lists) > 0 {
		if err := t.catchUp(n); err != nil {
			t.fail(fmt.Errorf("read the routing table: %w", err))
		}
		return true
	}
	for _, part := range []func() (*batch, []step){t.settle, t.spread, t.reviewWithdrawn} {
		if first, then := part(); len(first.steps)+len(then) > 0 {
			t.carryOut(first, then)
			return true
		}
	}
	return t.clean()
}

// catchUp reads what others changed.
func (t *Table) catchUp(n news) error {
	if n.all {
		return t.read()
	}
	var errs []error
	for l := range n.lists {
		routes, err := t.readList(l)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.mu.Lock()
		t.lists[l] = routes
		t.mu.Unlock()
	}
	t.mu.Lock()
	t.look()
	for k := range t.failed { // What was in the way may be gone.
		if e, there := t.entries[k]; there {
			t.queue(k, e)
		}
	}
	t.mu.Unlock()
	return errors.Join(errs...)
}

// settle finds objects for new sets, and for all where what they resolve through has changed.
func (t *Table) settle() (first *batch, then []step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first = t.batch()
	todo, all := t.sets.fresh, t.resolve
	if all {
		todo = t.sets.numbers()
	}
	t.sets.fresh, t.resolve = nil, false
	ways := make([][]way, len(todo))
	for i, n := range todo {
		ways[i] = t.sets.get(n).resolve(t.view)
	}
	moved := map[uint32]bool{}
	t.alter(first, todo, ways, moved)
	for i, n := range todo {
		if set := t.sets.get(n); !slices.Equal(set.ways, ways[i]) {
			t.objects.leave(set.object)
			set.object, set.ways = 0, ways[i]
			if len(ways[i]) > 0 {
				set.object = t.objects.find(first, ways[i])
				t.objects.join(set.object)
			}
			moved[n] = true
		}
	}
	if all { // The entries of new sets are in the queue.
		t.requeue(moved)
	}
	return first, nil
}

// alter changes objects, with all that goes by them, where all their sets resolve to other ways and all to the same. What
// leads nowhere any more drops packets until BGP decides anew.
func (t *Table) alter(b *batch, sets []uint32, ways [][]way, moved map[uint32]bool) {
	byObject := map[uint32][]int{}
	for i, n := range sets {
		if id := t.sets.get(n).object; id != 0 {
			byObject[id] = append(byObject[id], i)
		}
	}
	for id, members := range byObject {
		want, one := ways[members[0]], t.objects.byID[id]
		differs := func(i int) bool { return !slices.Equal(ways[i], want) }
		if one == nil || len(members) < one.sets || slices.ContainsFunc(members, differs) || len(want) > 1 && !one.group ||
			slices.Equal(t.objects.ways(id), want) {
			continue
		}
		t.objects.change(b, id, want)
		for _, i := range members {
			set := t.sets.get(sets[i])
			moved[sets[i]] = len(set.ways) == 0
			set.ways = want
		}
	}
}

// spread brings entries of the queue to where they are to go.
func (t *Table) spread() (first *batch, then []step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first = t.batch()
	if t.resolve || len(t.sets.fresh) > 0 {
		return first, nil // They came since.
	}
	done := 0
	for ; done < len(t.dirty) && !first.full() && len(then) < batchSteps; done++ {
		k := t.dirty[done]
		e := t.entries[k]
		e.dirty = false
		t.entries[k] = e
		if e.stale && !e.lost {
			continue
		}
		object := t.objectOf(e)
		armed := t.withdrawn.prefixes[k].armed
		guard := t.guards(k) && (e.installed() || e.lost) && object == 0
		if guard && !armed && t.covered(k) {
			t.withdrawn.add(k, false)
			t.review = t.review || t.withdrawn.full()
			guard = false
		}
		before, after := plan(k, e, object, armed, guard)
		for _, s := range before {
			first.add(s, t.sources)
		}
		then = append(then, after...)
		if len(before)+len(after) == 0 {
			delete(t.failed, k) // What failed before is not wanted any more.
			t.tidy(k)
		}
	}
	if t.dirty = t.dirty[done:]; len(t.dirty) == 0 {
		t.dirty = nil
	}
	return first, then
}

// carryOut writes a batch, and then the steps on those prefixes that nothing failed for: a route goes after what is to take
// its place is there.
func (t *Table) carryOut(first *batch, then []step) {
	refused := map[key]bool{}
	if !t.commit(first, refused) {
		return
	}
	for len(then) > 0 {
		b := t.batch()
		for len(then) > 0 && !b.full() {
			if !refused[then[0].key] {
				b.add(then[0], [2]netip.Addr{})
			}
			then = then[1:]
		}
		if !t.commit(b, refused) {
			return
		}
	}
}
