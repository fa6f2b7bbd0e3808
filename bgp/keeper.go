package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"

	"bulkhead/bgp/fib"
	"bulkhead/bgp/internal/seat"
	"bulkhead/bgp/internal/wire"
	"bulkhead/internal/netns"
)

// keeper keeps the speaker of one tenant.
type keeper struct {
	*Manager
	tenant, socket string
	log            *slog.Logger

	// turn is taken by whoever works on the speaker; waiting for it can be given up.
	turn   chan struct{}
	ns     *netns.Namespace   // with turn: the compartment, where the speaker is to be; nil: there is to be none
	told   *process           // with turn: the one that knows what it is to be
	ending context.CancelFunc // with turn: ends the supervision; nil: there is none

	// want is what the speaker is to be, and proc the process that was last seen; nil: none. They are changed with turn.
	want atomic.Pointer[Config]
	proc atomic.Pointer[process]
	news chan struct{} // proc is another one

	restarts atomic.Uint64          // of speakers that ended by themselves
	fate     atomic.Pointer[string] // why there is no speaker; nil: nothing happened to it
	tunnels  tunnels
}

func newKeeper(m *Manager, tenant string) *keeper {
	return &keeper{
		Manager: m, tenant: tenant, socket: seat.Path(m.opts.Dir, tenant), log: m.log.With("tenant", tenant),
		turn: make(chan struct{}, 1), news: make(chan struct{}, 1),
	}
}

// take waits for the turn, which leave gives back.
func (k *keeper) take(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for what else is done to the BGP speaker: %w", ctx.Err())
	}
}

func (k *keeper) leave() { <-k.turn }

// set makes the compartment's speaker what want says, and sees to it from then on.
func (k *keeper) set(ctx context.Context, ns *netns.Namespace, want *Config) error {
	if err := k.makeDir(); err != nil {
		return err
	}
	if k.ns == nil || !k.ns.Equal(ns) {
		// The caller closes its handle; this one lives until the speaker goes.
		mine, err := netns.Open(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
		if err != nil {
			return err
		}
		if err := k.release(); err != nil {
			return errors.Join(err, mine.Close())
		}
		k.ns, k.told = mine, nil
	}
	k.want.Store(want)
	err := k.bring(ctx)
	if k.ending == nil {
		k.supervise()
	}
	return err
}

// end ends the speaker and what it left in the compartment.
func (k *keeper) end(ctx context.Context, ns *netns.Namespace) error {
	k.want.Store(nil)
	if k.ending != nil {
		k.ending()
		k.ending = nil
	}
	if err := k.stop(ctx, false); err != nil {
		return err
	}
	if err := seat.Clear(k.socket); err != nil {
		return err
	}
	if ns != nil {
		if err := fib.Sweep(ctx, ns); err != nil {
			return err
		}
	}
	return k.release()
}

// release lets go of the namespace.
func (k *keeper) release() error {
	if k.ns == nil {
		return nil
	}
	err := k.ns.Close()
	k.ns = nil
	return err
}

// bring makes sure that a speaker runs where it is to be and knows what it is to be.
func (k *keeper) bring(ctx context.Context) error {
	p, err := k.ensure(ctx)
	if err != nil {
		return err
	}
	if p != k.told {
		// First of all, so that no route is resolved by a tunnel that is not there.
		if err := k.tunnels.tell(ctx, k); err != nil {
			return err
		}
	}
	k.told = nil
	if err := k.ask(ctx, k.pace.change, http.MethodPut, wire.Config, k.want.Load(), nil); err != nil {
		return fmt.Errorf("configure the BGP speaker (process %d): %w", p.pid, err)
	}
	k.told = p
	k.fate.Store(nil)
	return nil
}

// ensure finds the speaker, or starts one.
func (k *keeper) ensure(ctx context.Context) (*process, error) {
	if p, err := k.present(ctx); p != nil || err != nil {
		return p, err
	}
	patience, cancel := context.WithTimeout(ctx, k.pace.start)
	defer cancel()
	p, err := start(patience, k.ns, k.opts.Binary, k.tenant, k.socket)
	if err != nil {
		if p, other := k.present(ctx); p != nil && other == nil {
			return p, nil // somebody else's was faster
		}
		return nil, err
	}
	k.log.Info("BGP speaker started", "event", "bgp", "pid", p.pid)
	k.hold(p)
	return p, nil
}

// present is the speaker that is there and can go on; nil: none. One that cannot is ended.
func (k *keeper) present(ctx context.Context) (*process, error) {
	p, err := k.find(ctx)
	if p == nil || err != nil {
		return nil, err
	}
	k.hold(p)
	fits, err := k.fits(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("BGP speaker (process %d): %w", p.pid, err)
	}
	if fits {
		return p, nil
	}
	return nil, k.stop(ctx, true)
}

// fits tells whether the process can go on: it is in the compartment, answers and speaks our protocol.
func (k *keeper) fits(ctx context.Context, p *process) (bool, error) {
	var status Status
	if err := k.ask(ctx, k.pace.answer, http.MethodGet, wire.Status, nil, &status); err != nil || p == k.told {
		return err == nil, err
	}
	inside, err := p.in(k.ns)
	switch {
	case err != nil:
		return false, err
	case !inside:
		k.log.Warn("BGP speaker is in another namespace; it is exchanged", "event", "bgp", "pid", p.pid)
		return false, nil
	case status.Protocol != wire.Protocol:
		k.log.Info("BGP speaker is of another kind; it is exchanged", "event", "bgp", "pid", p.pid, "version", status.Version)
		return false, nil
	}
	k.log.Info("BGP speaker goes on", "event", "bgp", "pid", p.pid, "version", status.Version)
	return true, nil
}

// find finds the speaker's process, whoever started it; nil: none.
func (k *keeper) find(ctx context.Context) (*process, error) {
	if p := k.proc.Load(); p != nil && p.alive() {
		return p, nil
	}
	ctx, cancel := context.WithTimeout(ctx, k.pace.answer)
	defer cancel()
	return holder(ctx, k.socket)
}

// hold notes the process as the speaker's.
func (k *keeper) hold(p *process) {
	if k.proc.Swap(p) != p {
		k.rouse()
	}
}

// rouse wakes the supervision.
func (k *keeper) rouse() {
	select {
	case k.news <- struct{}{}:
	default:
	}
}

// stop ends the speaker, whoever started it, and returns when its process is gone.
func (k *keeper) stop(ctx context.Context, graceful bool) error {
	p, err := k.find(ctx)
	k.told = nil
	k.proc.Store(nil) // so that nobody takes its end for an accident
	k.rouse()
	if p == nil || err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, k.pace.stop)
	defer cancel()
	err = k.ask(patience, k.pace.stop, http.MethodPost, wire.Stop, wire.StopRequest{Graceful: graceful}, nil)
	if err == nil {
		err = p.wait(patience)
	}
	if err != nil && p.alive() {
		k.log.Warn("BGP speaker does not end; it is killed", "event", "bgp", "pid", p.pid, "error", err)
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.pace.stop)
		defer cancel()
		if err := p.kill(patience); err != nil {
			k.hold(p)
			return fmt.Errorf("end the BGP speaker: %w", err)
		}
	}
	k.log.Info("BGP speaker stopped", "event", "bgp", "pid", p.pid, "graceful", graceful)
	return nil
}
