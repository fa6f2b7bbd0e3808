package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"bulkhead/configs"
	"bulkhead/vpn"
)

// KeptError tells that changes are in force and written down, and that what they mean for the machine could not be brought
// about yet; it is tried again.
type KeptError struct{ err error }

func (e *KeptError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *KeptError) Unwrap() error { return e.err }

// Change changes the policy of the named tenant or gateway object by object: what the controller does when a machine
// starts, moves or goes. Lookup records and customer routes are the tenant's, provider routes and addresses the gateway's.
// All of the changes come in force or none: each is held against what is declared, and a tenant's are added to the folder's
// policy file before anything is written to the kernel. A record costs the same however many there are.
//
// An error means that nothing was changed, unless it is a [KeptError].
func (g *Gateway) Change(ctx context.Context, name string, changes []configs.Change) error {
	ctx, cancel := g.alive(ctx)
	defer cancel()
	if g.names(name) {
		return g.changeGateway(ctx, name, changes)
	}
	g.changing.RLock()
	defer g.changing.RUnlock()
	plan, err := g.inForce()
	if err != nil {
		return err
	}
	t := plan.tenant(name)
	if t == nil {
		return fmt.Errorf("no tenant and no gateway is called %q; declared are %s and the tenants %v", name,
			plan.policy.config.Gateway.Name, plan.names())
	}
	done, err := g.changeTenant(ctx, t, changes)
	if err == nil && !done {
		// The doors do not know the tenant as declared, so it is brought about as a whole. Whoever waits for g.changing waits
		// for this attempt, lest an older plan be applied after a newer one.
		if err := g.change(ctx, name, t); err != nil {
			return &KeptError{fmt.Errorf("tenant %s: %w", name, err)}
		}
	}
	return err
}

// names tells whether it is the gateway that is called so.
func (g *Gateway) names(name string) bool {
	plan, err := g.inForce()
	return err == nil && plan.policy.config.Gateway.Name == name
}

// changeTenant puts a tenant's changes in force. They are done when the kernel and the speaker have them too; if not, nothing
// more than that is wrong.
func (g *Gateway) changeTenant(ctx context.Context, t *TenantPlan, changes []configs.Change) (done bool, err error) {
	if done, err = g.write(ctx, t, changes); !done || err != nil {
		return false, err
	}
	// Without t.writing: routes follow the tunnels also while a speaker takes its time.
	if slices.ContainsFunc(changes, func(c configs.Change) bool { return c.BGPPeer != nil }) {
		if err := g.changeBGP(ctx, t); err != nil {
			g.notAlone(t, err)
			return false, nil
		}
	}
	return true, nil
}

// write is changeTenant as far as the kernel goes.
func (g *Gateway) write(ctx context.Context, t *TenantPlan, changes []configs.Change) (done bool, err error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.policy.change(t.Name, changes, nil); err != nil {
		return false, err
	}
	if !t.known {
		return false, nil
	}
	if err := g.carryOut(ctx, t, changes); err != nil {
		g.notAlone(t, err)
		return false, nil
	}
	return true, nil
}

func (g *Gateway) notAlone(t *TenantPlan, err error) {
	g.log.Warn("a change is brought about with all of its tenant, since it could not be alone", "tenant", t.Name, "error", err)
}

// carryOut writes changes, which are in force, to the kernel. t.writing must be held.
func (g *Gateway) carryOut(ctx context.Context, t *TenantPlan, changes []configs.Change) error {
	rdid := t.Doors.RoutingDomain
	for _, c := range changes {
		var err error
		switch {
		case c.Record != nil && c.Remove:
			err = g.doors.DeleteRecord(rdid, doorRecord(*c.Record))
		case c.Record != nil:
			err = g.doors.SetRecord(rdid, doorRecord(*c.Record))
		case c.CustomerRoute != nil && c.Remove:
			err = g.doors.DeleteRoute(rdid, doorRoute(*c.CustomerRoute))
		case c.CustomerRoute != nil:
			err = g.doors.SetRoute(rdid, doorRoute(*c.CustomerRoute))
		}
		if err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
	}
	if slices.ContainsFunc(changes, func(c configs.Change) bool { return c.DisabledInterface != nil }) {
		if err := g.vpn.Set(ctx, t.Name, t.vpn()); err != nil && !errors.Is(err, vpn.ErrNotConnected) {
			return err
		}
		g.follower(t.Name).changed()
	}
	if !slices.ContainsFunc(changes, func(c configs.Change) bool { return c.CustomerRoute != nil }) {
		return nil
	}
	ns, err := g.compartments.Open(t.Name)
	if err != nil {
		return err
	}
	defer ns.Close()
	return g.compartments.Set(ctx, ns, t.compartment(g.follower(t.Name).state()))
}

// changeGateway puts changes of the gateway in force. What tenants come to changes with them only where the MTU does.
func (g *Gateway) changeGateway(ctx context.Context, name string, changes []configs.Change) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	before, plan, err := g.takeChanges(ctx, name, changes)
	if err != nil || slices.Equal(before.Tenants, plan.Tenants) {
		return err
	}
	if err := g.applyPlan(ctx, before, plan); err != nil {
		return &KeptError{err}
	}
	return nil
}

// takeChanges puts changes of the gateway in force as far as the Default compartment goes. It returns the plan that was in
// force before and the one that is now. g.applying must be held.
//
// Other than a tenant's they are written down last: on what the machine cannot do, a VLAN of a kernel without them say, the
// daemon could not start again.
func (g *Gateway) takeChanges(ctx context.Context, name string, changes []configs.Change) (before, plan *Plan, err error) {
	g.changing.Lock()
	defer g.changing.Unlock()
	if before, err = g.inForce(); err != nil {
		return nil, nil, err
	}
	ids, err := g.compartments.IfIDs()
	if err != nil {
		return nil, nil, err
	}
	cfg := before.policy.config
	mtu := internalMTU(cfg.Gateway)
	names, interfaces := siteInterfaces(cfg)
	begun := false
	err = before.policy.change(name, changes, func() error {
		plan, begun = translate(before.policy, allocate(names, interfaces, ids)), true
		if err := g.applyDefault(ctx, plan); err != nil {
			return &DefaultError{err}
		}
		return nil
	})
	if err != nil {
		if begun {
			g.revertDefault(ctx, before)
		}
		return nil, nil, err
	}
	if internalMTU(cfg.Gateway) == mtu {
		plan.Tenants = before.Tenants
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.plan = plan
	return before, plan, nil
}

// revertDefault brings the Default compartment back to the plan that stays in force, now or as soon as it can be.
func (g *Gateway) revertDefault(ctx context.Context, plan *Plan) {
	if err := g.applyDefault(ctx, plan); err != nil {
		g.log.Warn("default compartment is not as it was before a change that is refused", "error", err)
		g.mendDefault()
	}
}
