package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"bulkhead/compartments"
)

// watchNICs brings the Default compartment to its plan again when a NIC that it names appears anew or comes up again, as
// after a driver was loaded again, until ctx ends.
func (g *Gateway) watchNICs(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for ctx.Err() == nil {
			if err := g.followNICs(ctx); err != nil {
				g.log.Warn("link events were lost; NICs are looked at again", "reason", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(minRetry):
			}
		}
		return nil
	})
	group.Go(func() error {
		g.keepDefault(ctx)
		return nil
	})
	return group.Wait()
}

// followNICs has the Default compartment mended when a NIC came back, until ctx or the subscription ends.
func (g *Gateway) followNICs(ctx context.Context) error {
	return g.compartments.FollowNICs(ctx, g.isNIC, func(e compartments.NICEvent) {
		switch {
		case e.Name == "": // what happened before
		case !e.Present:
			g.log.Error("NIC is gone", "nic", e.Name)
			return
		default:
			g.log.Info("NIC is there", "nic", e.Name, "up", e.Up)
		}
		g.mendDefault()
	})
}

// mendDefault has the Default compartment brought to the plan in force.
func (g *Gateway) mendDefault() {
	select {
	case g.mend <- struct{}{}:
	default: // it is noted already
	}
}

// isNIC tells whether the plan in force names the NIC.
func (g *Gateway) isNIC(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.plan != nil && (name == g.plan.Doors.Backend || name == g.plan.Doors.External)
}

// keepDefault brings the Default compartment to the plan in force whenever something changed, and tries again after a
// failure, until ctx ends.
func (g *Gateway) keepDefault(ctx context.Context) {
	var retry <-chan time.Time
	var last string
	wait := minRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.mend:
			wait = minRetry
		case <-retry:
		}
		retry = nil
		err := g.reapplyDefault(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && last != "":
			g.log.Info("default compartment is as declared now")
			last = ""
		case err != nil:
			if err.Error() != last {
				g.log.Error("default compartment is not as declared; trying again", "error", err)
			}
			last = err.Error()
			retry = time.After(wait)
			wait = min(2*wait, maxRetry)
		}
	}
}

// reapplyDefault brings the Default compartment to the plan in force again. A NIC that is away does not keep another
// that came back.
func (g *Gateway) reapplyDefault(ctx context.Context) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	g.mu.Lock()
	plan := g.plan
	g.mu.Unlock()
	if plan == nil {
		return nil // Apply comes
	}
	missing, err := g.compartments.MissingNICs(plan.Default)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		return g.applyDefault(ctx, plan)
	}
	return errors.Join(fmt.Errorf("no interface of the name: %s", strings.Join(missing, ", ")),
		g.applyDefault(ctx, plan.without(missing)))
}

// without is the Default compartment's plan with these NICs left out.
func (p *Plan) without(nics []string) *Plan {
	gone := func(name string) bool { return slices.Contains(nics, name) }
	rest := Plan{Doors: p.Doors}
	for _, n := range p.Default.NICs {
		if !gone(n.Name) {
			rest.Default.NICs = append(rest.Default.NICs, n)
		}
	}
	for _, r := range p.Default.Routes {
		if !gone(r.Link) {
			rest.Default.Routes = append(rest.Default.Routes, r)
		}
	}
	for _, door := range []*string{&rest.Doors.Backend, &rest.Doors.External} {
		if gone(*door) {
			*door = ""
		}
	}
	return &rest
}
