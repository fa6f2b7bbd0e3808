// Package fib keeps BGP's routes in a compartment's routing table.
//
// A [Table] resolves next hops through the routes that are not BGP's (law 6), follows the kernel and resolves again when
// something changes, and writes in batches. Routes go by nexthop objects, one for each set of next hops, so that a lost
// tunnel is one change and not one for each route. With a way to the Internet, a learned prefix that goes becomes
// unreachable before its route goes (law 1).
package fib

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"bulkhead/internal/netns"
)

// Metrics of the routes: declared ones are better, and NAT's default route (4294967295) is worse (law 5).
const (
	// MetricExternal is the metric of what an external peer told.
	MetricExternal = 20000
	// MetricInternal is the metric of what an internal peer told.
	MetricInternal = 20200
	// MetricWithdrawn is the metric of the unreachable routes that withdrawn ones leave. It is not that of the declared
	// prefixes' unreachable routes (4294967294), which come and go for reasons of their own.
	MetricWithdrawn = 4294967293
)

// MaxWithdrawn is how many withdrawn prefixes are kept unreachable. Beyond it the oldest go.
const MaxWithdrawn = 1 << 17

// Options say how a table is to be kept.
type Options struct {
	// Log takes what an operator should know.
	Log *slog.Logger
	// Sources are the addresses that routes carry as source, one for each family at most (law 7).
	Sources []netip.Addr
	// Guard: withdrawn prefixes stay unreachable (law 1).
	Guard bool
	// Defaults: peers may tell default routes. Where they may not any more, those that are withdrawn stay unreachable no
	// longer, as nobody would ever tell them again.
	Defaults bool
	// Changed is called, on a goroutine of its own, after [Table.Space] or [Table.RoutesOn] changed; nil: nobody.
	Changed func()
	// Installed is called, on a goroutine of its own, with the prefixes that came in: at once for the first, then about once
	// a second; nil: nobody.
	Installed func([]netip.Prefix)
}

// Route is what BGP decided on a prefix.
type Route struct {
	Prefix netip.Prefix
	// NextHops of the best path, and of those that are used beside it; none: the prefix is withdrawn.
	NextHops []netip.Addr
	// Internal: an internal peer told it.
	Internal bool
}

// State is what became of a prefix.
type State struct {
	// NextHops as BGP gave them, and the links that they resolve to; no links: they resolve to nothing.
	NextHops []netip.Addr
	Links    []string
	// Installed: the kernel's table has the route.
	Installed bool
	// Stale: the route is from before [Table.KeepStale], or from a predecessor, and has not been told again.
	Stale bool
	// Withdrawn: the prefix is kept unreachable.
	Withdrawn bool
}

// Stats count what a table holds.
type Stats struct {
	// IPv4 and IPv6 are routes in the kernel's table, Stale those of them that have not been told again.
	IPv4, IPv6, Stale int
	// Unresolved are prefixes whose next hops resolve to nothing.
	Unresolved int
	// Withdrawn are prefixes that are kept unreachable, Forgotten those that had to be given up for newer ones.
	Withdrawn int
	Forgotten uint64
	// Failed are prefixes that the kernel refused, LastError is what it said last.
	Failed    int
	LastError string
	// Writes are messages that were sent to the kernel.
	Writes uint64
}

// Table is BGP's hand on the routing table of one compartment. Its methods may be called at the same time.
type Table struct {
	ns   *netns.Namespace
	log  *slog.Logger
	conn *conn
	// watch receives what others change.
	watch *watcher
	wake  chan struct{}
	done  sync.WaitGroup
	stop  context.CancelFunc
	// callbacks
	changed   func()
	installed func([]netip.Prefix)

	mu sync.Mutex
	state
}

// Open takes up the table of a namespace. Routes of BGP that it finds there are stale: they stay until they are told
// again, withdrawn or swept.
func Open(ns *netns.Namespace, o Options) (*Table, error) {
	t := &Table{
		ns: ns, log: o.Log, wake: make(chan struct{}, 1), changed: o.Changed, installed: o.Installed,
		state: newState(o.Sources, o.Guard, o.Defaults),
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if t.conn, err = dial(ns); err != nil {
		return nil, fmt.Errorf("open the routing table: %w", err)
	}
	if t.watch, err = watch(ns, t.conn.port); err != nil {
		t.conn.close()
		return nil, fmt.Errorf("watch the routing table: %w", err)
	}
	if err := t.read(); err != nil {
		t.conn.close()
		t.watch.close()
		return nil, fmt.Errorf("read the routing table: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	t.done.Go(func() { t.follow() })
	t.done.Go(func() { t.run(ctx) })
	t.done.Go(func() { t.tellChanged(ctx) })
	t.done.Go(func() { t.tellInstalled(ctx) })
	return t, nil
}

// Close ends the work on the table and leaves the routes as they are. What was not written yet is not.
func (t *Table) Close() {
	t.stop()
	t.watch.close()
	t.done.Wait()
	t.conn.close()
}

// Update takes up what BGP decided. It does not wait for the kernel: what comes for a prefix before it is written replaces
// what came before.
func (t *Table) Update(routes []Route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range routes {
		if r.Prefix.IsValid() {
			t.want(r)
		}
	}
	t.rouse()
}

// Flush waits until all that was queued has been written. The error tells what the kernel refused.
func (t *Table) Flush(ctx context.Context) error {
	t.mu.Lock()
	done := make(chan error, 1)
	t.flushes = append(t.flushes, done)
	t.rouse()
	t.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the routing table: %w", ctx.Err())
	}
}

// SetOptions changes Sources, Guard and Defaults; routes that stand change with them.
func (t *Table) SetOptions(sources []netip.Addr, guard, defaults bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setOptions(sources, guard, defaults)
	t.rouse()
}

// SetDown names the links whose tunnel is not there, all of them. Space is another when it returns.
func (t *Table) SetDown(names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	down := make(map[string]bool, len(names))
	for _, name := range names {
		down[name] = true
	}
	if !maps.Equal(t.down, down) {
		t.down = down
		t.look()
	}
	t.rouse()
}

// Space are the addresses that next hops resolve in: disjoint prefixes, sorted. The caller must not change them.
func (t *Table) Space() []netip.Prefix { return t.current().space }

// Resolve tells the links that a next hop, or a peer, is reached by; none: it is not.
func (t *Table) Resolve(a netip.Addr) []string {
	v := t.current()
	return v.names(v.resolve([]netip.Addr{a}))
}

// RoutesOn are the prefixes of the links' routes that are not BGP's, sorted, those of link-local addresses left out.
func (t *Table) RoutesOn(links []string) []netip.Prefix { return t.current().routesOn(links) }

func (t *Table) current() *view {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.view
}

// Lookup tells what became of a prefix; not ok: it is unknown.
func (t *Table) Lookup(p netip.Prefix) (s State, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := keyOf(p)
	s.Withdrawn = t.withdrawn.prefixes[k].armed
	e, known := t.entries[k]
	if !known {
		return s, s.Withdrawn
	}
	s.Installed, s.Stale = e.installed(), e.stale
	if set := t.sets.get(e.set); set != nil {
		s.NextHops = slices.Clone(set.hops)
		s.Links = t.view.names(t.view.resolve(set.hops))
	}
	return s, true
}

// KeepStale marks every route as stale: it stays until it is told again, withdrawn or swept.
func (t *Table) KeepStale() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, e := range t.entries {
		t.sets.release(e.set)
		e.set, e.stale = 0, true
		t.entries[k] = e
	}
}

// SweepStale withdraws the routes that are still stale.
func (t *Table) SweepStale() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, e := range t.entries {
		if e.stale {
			e.stale = false
			t.queue(k, e)
		}
	}
	t.rouse()
}

// Withdraw withdraws every route and waits until all have gone. With Guard their prefixes are unreachable from then on;
// [Sweep] removes that, too.
func (t *Table) Withdraw(ctx context.Context) error {
	t.mu.Lock()
	for k, e := range t.entries {
		t.sets.release(e.set)
		e.set, e.stale = 0, false
		t.queue(k, e)
	}
	t.mu.Unlock()
	return t.Flush(ctx)
}

// Stats counts what the table holds.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count()
}

// rouse wakes the writer.
func (t *Table) rouse() { rouse(t.wake) }
