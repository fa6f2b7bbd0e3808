package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/time/rate"
)

// defaultAgeing is how long a Dynamic record stays without a sign of its machine, as the Windows filter's do.
const defaultAgeing = 5 * time.Minute

// Agent says how the daemon's part of the doors runs.
type Agent struct {
	// OnEvent is told what changed, in order, by one goroutine; nil if nobody wants to know. It may call the Dataplane.
	OnEvent func(Event)
	// Log gets what cannot be sent, a few lines a second at most; nil: the default logger.
	Log *slog.Logger
	// Ageing is how long a Dynamic record stays without a sign of its machine; 0: five minutes. The machine is asked in
	// the last quarter of that.
	Ageing time.Duration
}

// agent is a running Agent. What it does to the doors and whom it tells of that is kept until Dataplane.mu is free.
type agent struct {
	Agent
	*Dataplane
	learner *learner
	sockets *sockets
	lines   *rate.Limiter // of the log
	refusal uint32        // the number of the drop reason that refusals are counted under
	own     ownAddresses
	told    []Event
	posted  []letter
}

// Run learns customer addresses from what hosts send, asks for those that compartments want, deals with the control
// messages of [MS-NVGREE] and tells hosts of the gateway's own addresses, until ctx is done. The doors forward without
// it; what they would have told it of meanwhile is lost or waits. Records that were learned before are kept. It must be
// called in the network namespace that has the links, once at a time, and learns of a tenant once SetTenant has said
// which virtual subnets that has.
func (d *Dataplane) Run(ctx context.Context, config Agent) error {
	reader, err := ringbuf.NewReader(d.objects.Events)
	if err != nil {
		return fmt.Errorf("open the ring of events: %w", err)
	}
	if config.Ageing <= 0 {
		config.Ageing = defaultAgeing
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	a := &agent{Agent: config, Dataplane: d, sockets: newSockets(), lines: rate.NewLimiter(1, 5)}
	defer a.sockets.close()
	if err := a.start(); err != nil {
		return errors.Join(err, reader.Close())
	}
	defer a.stop()
	events := make(chan doorsEvent, 64)
	done := make(chan error, 1)
	stopped, stop := context.WithCancel(ctx)
	defer stop()
	go func() { done <- receive(stopped, reader, events) }()
	err = a.serve(ctx, events, done)
	stop()
	return errors.Join(err, reader.Close())
}

// receive reads events until the ring is closed.
func receive(ctx context.Context, reader *ringbuf.Reader, events chan<- doorsEvent) error {
	var record ringbuf.Record
	for {
		if err := reader.ReadInto(&record); err != nil {
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("read the ring of events: %w", err)
		}
		e, ok := decodeEvent(record.RawSample)
		if !ok {
			continue
		}
		select {
		case events <- e:
		case <-ctx.Done():
			return nil
		}
	}
}

// serve deals with one thing after the other.
func (a *agent) serve(ctx context.Context, events <-chan doorsEvent, done <-chan error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-done:
			return err
		case e := <-events:
			a.do(func(now time.Time) { a.take(now, e) })
		case <-a.lessons.wake:
			a.do(a.compare)
		case <-timer.C:
			a.do(func(time.Time) {})
		}
		a.mu.Lock()
		next := a.learner.tick(time.Now())
		a.mu.Unlock()
		a.flush()
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// do makes a change to the doors, then sends and tells what comes of it.
func (a *agent) do(fn func(now time.Time)) {
	a.mu.Lock()
	fn(time.Now())
	a.mu.Unlock()
	a.flush()
}

func (a *agent) flush() {
	for _, l := range a.posted {
		if err := a.sockets.send(l); err != nil && a.lines.Allow() {
			a.Log.Warn("cannot send to a host on the provider network", "to", l.pa, "vsid", l.vsid, "reason", err)
		}
	}
	a.posted = nil
	for _, e := range a.told {
		if a.OnEvent != nil {
			a.OnEvent(e)
		}
	}
	a.told = nil
}

// start makes a the agent that the doors tell of changes, and takes over what was learned before.
func (a *agent) start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lessons.learner != nil {
		return errors.New("the doors have an agent already")
	}
	for number, reason := range a.reasons {
		if reason == (Reason{Where: "door1", Name: "refused"}) {
			a.refusal = number
		}
	}
	a.learner = newLearner(a, a.Ageing)
	now := time.Now()
	for tenant := range a.tenants {
		err := a.records.eachOf(tenant, func(k doorsTenantAddress, v doorsRecord) {
			if r := decode(k.Ip, v, a.hosts.pa(v.Host)); r.Type == Dynamic {
				a.learner.adopt(now, tenant, r)
			}
		})
		if err != nil {
			return fmt.Errorf("adopt learned records of tenant %s: %w", a.tenants[tenant].name, err)
		}
	}
	a.own = a.ownAddresses()
	a.lessons.learner = a.learner
	return nil
}

func (a *agent) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lessons.learner = nil
}
