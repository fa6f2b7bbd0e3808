package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// linkEventBuffer holds the kernel's link events until they are read, in bytes: setting up some hundred tenants makes
// thousands.
const linkEventBuffer = 4 << 20

// watchNICs brings the Default compartment to its plan again when a NIC that it names appears anew or comes up again, as
// after a driver was loaded again, until ctx ends.
func (g *Gateway) watchNICs(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for ctx.Err() == nil {
			if err := g.followLinks(ctx, changed); err != nil {
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
		g.keepDefault(ctx, changed)
		return nil
	})
	return group.Wait()
}

// nicState is what matters of a NIC: an interface that was made anew has another index, and one that was down has lost
// its routes.
type nicState struct {
	index int
	up    bool
}

// followLinks notes on changed that a NIC came back, until ctx or the subscription ends. It never waits for what is done
// about it: events that nobody reads are lost.
func (g *Gateway) followLinks(ctx context.Context, changed chan<- struct{}) error {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	defer func() {
		close(done)
		for range updates { // the sender would wait for ever
			continue
		}
	}()
	failed := make(chan error, 1)
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
		ReceiveBufferSize: linkEventBuffer, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
	})
	if err != nil {
		close(updates) // nobody else does
		return err
	}
	notify := func() {
		select {
		case changed <- struct{}{}:
		default: // it is noted already
		}
	}
	notify() // what happened before
	seen := map[string]nicState{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case update, ok := <-updates:
			if !ok {
				return errors.Join(errors.New("the kernel ended the subscription"), first(failed))
			}
			if g.noteNIC(seen, update) {
				notify()
			}
		}
	}
}

// first is an error that waits, or nil.
func first(errs <-chan error) error {
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// noteNIC takes up a link event and tells whether a NIC came back by it.
func (g *Gateway) noteNIC(seen map[string]nicState, update netlink.LinkUpdate) bool {
	name := update.Attrs().Name
	if !g.isNIC(name) {
		return false
	}
	before, known := seen[name]
	if update.Header.Type == unix.RTM_DELLINK {
		delete(seen, name)
		g.log.Error("NIC is gone", "nic", name)
		return false
	}
	now := nicState{index: update.Attrs().Index, up: update.Attrs().Flags&net.FlagUp != 0}
	seen[name] = now
	if known && before.index == now.index && (before.up || !now.up) {
		return false
	}
	g.log.Info("NIC is there", "nic", name, "up", now.up)
	return true
}

// isNIC tells whether the plan in force names the NIC.
func (g *Gateway) isNIC(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.plan != nil && (name == g.plan.Doors.Backend || name == g.plan.Doors.External)
}

// keepDefault brings the Default compartment to the plan in force whenever something changed, and tries again after a
// failure, until ctx ends.
func (g *Gateway) keepDefault(ctx context.Context, changed <-chan struct{}) {
	var retry <-chan time.Time
	var last string
	wait := minRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
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
