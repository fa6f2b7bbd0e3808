package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"bulkhead/configs"
	"bulkhead/filters"
	"bulkhead/nat"
	"bulkhead/ratelimit"
	"bulkhead/vpn"
	"bulkhead/vpn/radius"
)

// maxAtOnce is how many tenants are worked on at the same time: each takes a handful of sockets and threads meanwhile,
// of which a gateway of some hundred tenants would run out when it starts.
const maxAtOnce = 16

// errClosed says that the daemon ends.
var errClosed = errors.New("the daemon is stopping")

// Apply takes up a folder's declaration as the whole desired state: what it does not declare goes. read reads it, while
// no change can be made: a change is in what was read, or refers to it. Changes are written to the folder from then on.
//
// Each tenant is changed on its own; a tenant that cannot be brought to its state is named in the error and tried again,
// and holds up no other. When the folder cannot be read, nothing is changed, and the error is read's. When the machine
// lacks what the declaration builds on (a NIC, say), nothing is changed either, and the error is a [DefaultError].
func (g *Gateway) Apply(ctx context.Context, folder string, read func() (*configs.Config, error)) error {
	ctx, cancel := g.alive(ctx)
	defer cancel()
	g.applying.Lock()
	defer g.applying.Unlock()
	if g.ctx.Err() != nil {
		return errClosed
	}
	before, plan, err := g.take(ctx, folder, read)
	if err != nil {
		return err
	}
	return g.applyPlan(ctx, before, plan)
}

// alive is ctx until the gateway is closed.
func (g *Gateway) alive(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(g.ctx, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// take reads a declaration and puts it in force, as far as the Default compartment goes. It returns the plan that was in
// force before and the one that is now. g.applying must be held.
func (g *Gateway) take(ctx context.Context, folder string, read func() (*configs.Config, error)) (
	before, plan *Plan, err error,
) {
	g.changing.Lock()
	defer g.changing.Unlock()
	cfg, err := read()
	if err != nil {
		return nil, nil, err
	}
	ids, err := g.compartments.IfIDs()
	if err != nil {
		return nil, nil, err
	}
	names, interfaces := siteInterfaces(cfg)
	plan = translate(&policy{folder: folder, config: cfg}, allocate(names, interfaces, ids))
	if err := g.applyDefault(ctx, plan); err != nil {
		return nil, nil, &DefaultError{err}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	before, g.plan = g.plan, plan
	return before, plan, nil
}

// applyPlan brings all tenants to the plan, which has come in force in place of before. g.applying must be held.
func (g *Gateway) applyPlan(ctx context.Context, before, plan *Plan) error {
	// What goes frees names, VSIDs and addresses that others may take.
	gone, err := g.undeclared(ctx, plan)
	errs := []error{err, g.applyTenants(ctx, gone, nil), g.release(ctx, before, plan), g.setCredentials(ctx, plan)}
	g.repolice()
	errs = append(errs, g.applyTenants(ctx, plan.names(), plan.tenant))
	select {
	case g.declared <- struct{}{}:
	default:
	}
	return errors.Join(errs...)
}

// setCredentials has charon prove the gateway with what is declared, and FreeRADIUS know the users. Without charon the
// former is done once it comes.
func (g *Gateway) setCredentials(ctx context.Context, plan *Plan) error {
	err := g.vpn.SetCredentials(ctx, plan.Credentials)
	if errors.Is(err, vpn.ErrNotConnected) {
		err = nil
	}
	return errors.Join(err, radius.Set(g.radius, plan.RADIUS))
}

// applyTenants hands each named tenant's plan to its loop and waits for all first attempts. Without plans the tenants
// are removed.
func (g *Gateway) applyTenants(ctx context.Context, names []string, plan func(name string) *TenantPlan) error {
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		var want *TenantPlan
		if plan != nil {
			want = plan(name)
		}
		all.Go(func() {
			if err := g.change(ctx, name, want); err != nil {
				errs[i] = fmt.Errorf("tenant %s: %w", name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// change hands a tenant's plan to its loop and waits for the first attempt.
func (g *Gateway) change(ctx context.Context, name string, want *TenantPlan) error {
	for {
		err := g.loop(name).take(ctx, want)
		switch {
		case g.ctx.Err() != nil:
			return errClosed
		case !errors.Is(err, errLoopEnded):
			return err
		}
		// It removed its tenant just now, and the tenant is declared again.
	}
}

// loop is the named tenant's loop, started where there is none.
func (g *Gateway) loop(name string) *loop {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.loops[name]; l != nil {
		return l
	}
	l := startLoop(g.ctx, g.log.With("tenant", name), loopTasks{
		apply: func(ctx context.Context, plan *TenantPlan) error {
			select {
			case g.slots <- struct{}{}:
				defer func() { <-g.slots }()
			case <-ctx.Done():
				return ctx.Err()
			}
			if plan == nil {
				return g.removeTenant(ctx, name)
			}
			return g.applyTenant(ctx, plan)
		},
		removed: func(l *loop) { g.forgetLoop(name, l) },
	})
	g.loops[name] = l
	return l
}

func (g *Gateway) forgetLoop(name string, l *loop) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.loops[name] == l {
		delete(g.loops, name)
	}
}

// applyDefault brings the Default compartment and its two doors to the declared state.
func (g *Gateway) applyDefault(ctx context.Context, plan *Plan) error {
	if err := g.compartments.SetDefault(ctx, plan.Default); err != nil {
		return err
	}
	return g.doors.SetGateway(plan.Doors)
}

// DefaultError tells that the Default compartment could not be brought to the declared state: the machine lacks what
// every tenant builds on, and no tenant was changed.
type DefaultError struct{ err error }

func (e *DefaultError) Error() string { return "default compartment: " + e.err.Error() }

// Unwrap returns the cause.
func (e *DefaultError) Unwrap() error { return e.err }

// applyTenant brings one tenant to its desired state. Guards come before the links that they guard, links before the
// doors that lead to them; a stage that fails keeps the later ones shut.
func (g *Gateway) applyTenant(ctx context.Context, plan *TenantPlan) error {
	ns, err := g.compartments.Ensure(plan.Name)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := nat.Set(ctx, ns, plan.NAT); err != nil {
		return err
	}
	// Links that are no longer declared go last, their filters and limits before; in between nothing may pass them.
	if err := g.compartments.ShutUndeclared(ns, plan.Compartment.Links, g.leave(ctx, plan)); err != nil {
		return err
	}
	if err := filters.Set(ctx, ns, plan.Filters); err != nil {
		return err
	}
	follower := g.follower(plan.Name)
	if err := g.compartments.Prepare(ctx, ns, plan.Compartment); err != nil {
		return err
	}
	if err := ratelimit.Set(ctx, ns, plan.Limits); err != nil {
		return err
	}
	if err := follower.takeUp(ctx, ns, plan); err != nil {
		return err
	}
	// Law 1: from here on the sites' routes stand, so no session may go on leaving by NAT.
	if err := g.forget(ctx, ns, plan.Name, plan.NAT.Protected); err != nil {
		return err
	}
	if err := g.setDoors(plan); err != nil {
		return err
	}
	if err := g.vpn.Set(ctx, plan.Name, plan.vpn()); err != nil && !errors.Is(err, vpn.ErrNotConnected) {
		return err
	}
	follower.changed()
	return g.setBGP(ctx, ns, plan)
}

// setDoors makes the doors know the tenant by the plan, with the records and routes that are in force.
func (g *Gateway) setDoors(plan *TenantPlan) error {
	plan.writing.Lock()
	defer plan.writing.Unlock()
	if err := g.doors.SetTenant(g.watchers.watched(plan.doors())); err != nil {
		return err
	}
	plan.known = true
	return nil
}

// removeTenant removes all of a tenant: the doors shut first, the namespace goes last (law 9).
func (g *Gateway) removeTenant(ctx context.Context, name string) error {
	known, err := g.doors.Tenants()
	if err != nil {
		return err
	}
	for rdid, tenant := range known {
		if tenant == name {
			if err := g.doors.RemoveTenant(rdid); err != nil {
				return err
			}
		}
	}
	if err := g.vpn.Set(ctx, name, nil); err != nil && !errors.Is(err, vpn.ErrNotConnected) {
		return err
	}
	if err := g.unfollow(name); err != nil {
		return err
	}
	if err := g.removeBGP(ctx, name); err != nil {
		return err
	}
	if err := g.compartments.Remove(ctx, name); err != nil {
		return err
	}
	g.log.Info("tenant removed", "tenant", name)
	return nil
}

// undeclared names the tenants that exist in the kernel, in charon or in this daemon and are not in the plan: those
// that were just taken out of the declaration and those that a predecessor left behind. With an error it names those
// that could be found.
func (g *Gateway) undeclared(ctx context.Context, plan *Plan) ([]string, error) {
	names, standingErr := g.compartments.Names()
	doors, doorsErr := g.doors.Tenants()
	for _, name := range doors {
		names = append(names, name)
	}
	loaded, vpnErr := g.vpn.Tenants(ctx)
	if errors.Is(vpnErr, vpn.ErrNotConnected) {
		vpnErr = nil // sweepCharon does it
	}
	names = append(names, loaded...)
	speakers, bgpErr := g.bgp.Names()
	names = append(names, speakers...)
	g.mu.Lock()
	for name := range g.loops {
		names = append(names, name)
	}
	g.mu.Unlock()
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(name string) bool { return plan.tenant(name) != nil })
	if err := errors.Join(standingErr, doorsErr, vpnErr, bgpErr); err != nil {
		return names, fmt.Errorf("look for tenants that nobody declares: %w", err)
	}
	return names, nil
}
