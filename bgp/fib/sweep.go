package fib

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// Sweep removes everything that BGP left in a namespace: routes, unreachable ones included, and nexthop objects. It is for
// a compartment that has no speaker any more.
func Sweep(ctx context.Context, ns *netns.Namespace) error {
	c, err := dial(ns)
	if err != nil {
		return fmt.Errorf("sweep BGP's routes: %w", err)
	}
	defer c.close()
	t := &Table{conn: c}
	var routes []step
	err = c.dump(
		func(w *writer, seq uint32) { w.dumpRoutes(seq, routeList{protocol: unix.RTPROT_BGP}) },
		func() { routes = nil },
		func(m message) {
			if r, ok := parseRoute(m.body); ok && r.table == unix.RT_TABLE_MAIN && r.protocol == unix.RTPROT_BGP {
				routes = append(routes, step{key: keyOf(r.prefix), action: sweep, metric: r.metric})
			}
		})
	if err != nil {
		return fmt.Errorf("sweep BGP's routes: list them: %w", err)
	}
	r := &reading{}
	if err := t.readObjects(r); err != nil {
		return fmt.Errorf("sweep BGP's routes: %w", err)
	}
	for pass := range 2 { // Groups go before their members.
		for id, o := range r.objects {
			if o.group == (pass == 0) {
				routes = append(routes, step{action: remove, object: id})
			}
		}
	}
	var errs []error
	for len(routes) > 0 && ctx.Err() == nil {
		b := t.batch()
		for ; len(routes) > 0 && !b.full(); routes = routes[1:] {
			if s := routes[0]; s.action == remove {
				b.writer.removeNexthop(b.number(s), s.object)
			} else {
				b.add(s, [2]netip.Addr{})
			}
		}
		refused, err := b.write()
		if err != nil {
			return fmt.Errorf("sweep BGP's routes: %w", err)
		}
		for i, err := range refused {
			if !harmless(b.steps[i].action, err) {
				errs = append(errs, fmt.Errorf("sweep BGP's route %v: %w", b.steps[i].key.prefix(), err))
			}
		}
	}
	return errors.Join(append(errs, ctx.Err())...)
}
