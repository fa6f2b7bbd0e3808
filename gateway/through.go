package gateway

import (
	"errors"
	"fmt"
	"sync"

	"bulkhead/dataplane"
)

// watchers are those that want to see what the external router of a tenant routes, by tenant.
type watchers struct {
	mu  sync.Mutex
	all map[string]int // guarded by mu
}

// add notes one more watcher, or one less.
func (w *watchers) add(tenant string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[string]int{}
	}
	if w.all[tenant] += n; w.all[tenant] == 0 {
		delete(w.all, tenant)
	}
}

// watched is the tenant as the doors are to know it: while somebody watches, routed packets pass the compartment.
func (w *watchers) watched(t dataplane.Tenant) dataplane.Tenant {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.Router != nil && w.all[t.Name] > 0 {
		t.Router = &dataplane.Router{MAC: t.Router.MAC, Through: true}
	}
	return t
}

// RouteThrough makes what a tenant's external router routes pass the compartment, where it can be seen, until undo is
// called: it is the way that packets take where filters are declared. Packets arrive as before, at a higher cost for the
// gateway. It is an error if the gateway is not the tenant's external router.
func (g *Gateway) RouteThrough(tenant string) (undo func() error, err error) {
	plan, err := g.inForce()
	if err != nil {
		return nil, err
	}
	switch t := plan.tenant(tenant); {
	case t == nil:
		return nil, fmt.Errorf("no tenant is called %q; declared are %v", tenant, plan.names())
	case t.Doors.Router == nil:
		return nil, fmt.Errorf("tenant %s: the gateway is not its external router: all of its packets pass the compartment", tenant)
	}
	undo = func() error {
		g.watchers.add(tenant, -1)
		return g.refreshDoors(tenant)
	}
	g.watchers.add(tenant, 1)
	if err := g.refreshDoors(tenant); err != nil {
		return nil, errors.Join(err, undo())
	}
	g.log.Info("what the external router routes passes the compartment while it is captured", "tenant", tenant)
	return undo, nil
}

// refreshDoors makes the doors know a tenant by the plan in force, where they do so already; else that is on its way.
func (g *Gateway) refreshDoors(tenant string) error {
	g.changing.RLock() // so that no older plan is written after a newer one
	defer g.changing.RUnlock()
	plan, err := g.inForce()
	if err != nil {
		return err
	}
	t := plan.tenant(tenant)
	if t == nil {
		return nil
	}
	t.writing.Lock()
	known := t.known
	t.writing.Unlock()
	if !known {
		return nil
	}
	return g.setDoors(t)
}
