package fib

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// commit writes a batch and takes up what came of it. refused gets the prefixes that something failed for. Not ok: nobody
// knows what was done.
func (t *Table) commit(b *batch, refused map[key]bool) (ok bool) {
	if len(b.steps) == 0 {
		return true
	}
	failed, err := b.write()
	if err != nil {
		t.fail(fmt.Errorf("write routes: %w", err))
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes += uint64(len(b.steps))
	for i, s := range b.steps {
		if err := failed[i]; err != nil && !harmless(s.action, err) {
			if s.action != alter && s.action != remove {
				refused[s.key] = true
			}
			t.refuse(s, err)
			continue
		}
		t.carriedOut(s)
	}
	return true
}

// harmless tells whether what a step is for is so although the kernel refused it.
func harmless(a action, err error) bool {
	switch a {
	case drop, admit, sweep:
		return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT)
	case remove:
		return errors.Is(err, unix.ENOENT)
	case refuse: // Somebody else's, to the same effect or at the same rank.
		return errors.Is(err, unix.EEXIST)
	}
	return false
}

// carriedOut takes up that a step was carried out.
func (t *Table) carriedOut(s step) {
	k := s.key
	switch s.action {
	case put:
		e := t.entries[k]
		if !e.installed() {
			t.came = append(t.came, k.prefix())
			rouse(t.arrived)
			t.review = t.review || t.withdrawn.longer(k)
		}
		e.rewrite, e.lost = false, false
		t.setRoute(k, e, s.class, s.object)
		delete(t.failed, k)
		if !t.withdrawn.prefixes[k].armed {
			t.withdrawn.remove(k)
		}
	case drop:
		e := t.entries[k]
		t.setRoute(k, e, s.class, 0)
		if t.entries[k].installed() {
			break
		}
		t.review = t.review || t.withdrawn.longer(k)
		delete(t.failed, k)
		t.tidy(k)
	case refuse:
		t.withdrawn.add(k, true)
		t.review = t.review || t.withdrawn.full()
		if e, there := t.entries[k]; there {
			e.lost = false
			t.entries[k] = e
		}
	case admit:
		if !t.guards(k) || t.entries[k].installed() {
			t.withdrawn.remove(k)
		} else {
			t.withdrawn.set(k, false)
		}
	}
}

// setRoute notes what the kernel has for an entry.
func (t *Table) setRoute(k key, e entry, c class, object uint32) {
	before := e.installed()
	t.objects.count(e.have[c], -1)
	t.objects.count(object, 1)
	e.have[c] = object
	t.entries[k] = e
	t.countLength(k, before, e.installed())
}

// countLength keeps count of the installed prefixes by length.
func (s *state) countLength(k key, before, now bool) {
	f := 0
	if k.six {
		f = 1
	}
	switch {
	case now && !before:
		s.lengths[f][k.bits]++
	case before && !now:
		s.lengths[f][k.bits]--
	}
}

// tidy forgets an entry that nobody wants and the kernel does not have.
func (t *Table) tidy(k key) {
	if e, there := t.entries[k]; there && e.set == 0 && !e.stale && !e.dirty && !e.installed() {
		delete(t.entries, k)
		delete(t.failed, k)
	}
}

// refuse takes up that the kernel refused a step. Everything is read again after a while, and what is missing then is tried
// again.
func (t *Table) refuse(s step, err error) {
	switch s.action {
	case alter, remove:
		// Nobody knows what the object is now: it is made anew.
		for _, set := range t.sets.all {
			if set != nil && set.object == s.object {
				set.object, set.ways = 0, nil
			}
		}
		t.broken = true
		t.warn(fmt.Errorf("nexthop object %d: %w", s.object, err))
		return
	case put:
		if errors.Is(err, unix.EEXIST) {
			err = fmt.Errorf("another program has a route with metric %d: %w", s.class.metric(), err)
		}
		if _, known := t.withdrawn.prefixes[s.key]; t.guards(s.key) && !known && t.entries[s.key].lost {
			t.withdrawn.add(s.key, false) // Nothing keeps it from the Internet any more (law 1).
			t.review = true
		}
	}
	t.failed[s.key] = struct{}{}
	t.warn(fmt.Errorf("route %v: %w", s.key.prefix(), err))
}

// fail takes up that something failed that concerns no prefix in particular.
func (t *Table) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken = true
	t.warn(err)
}

// warn tells of a failure, of one that goes on once.
func (t *Table) warn(err error) {
	if text := err.Error(); text != t.lastError {
		t.lastError = text
		t.log.Warn("the routing table is not as it should be; trying again", "error", text)
	}
}
