package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Retries of a tenant whose state could not be applied: the first after minRetry, then twice the wait each time.
const (
	minRetry = time.Second
	maxRetry = time.Minute
)

// errLoopEnded says that a loop takes no plan any more: its tenant is removed, or the gateway is closed.
var errLoopEnded = errors.New("the tenant's loop has ended")

// loop applies the desired state of one tenant, one change after another, and tries again after a failure. Each tenant
// has a loop of its own, so that a tenant that fails or is slow holds up no other.
type loop struct {
	loopTasks
	log      *slog.Logger
	requests chan request
	cancel   context.CancelFunc
	ended    chan struct{}

	mu     sync.Mutex
	status LoopStatus // guarded by mu
}

// loopTasks is what a loop does.
type loopTasks struct {
	// apply brings the tenant to the plan; nil when the tenant is to go.
	apply func(context.Context, *TenantPlan) error
	// removed is told once the tenant is gone, before anybody else is and before the loop ends.
	removed func(*loop)
}

// request asks a loop to take up a plan; the outcome of the first attempt goes to done.
type request struct {
	plan *TenantPlan
	done chan<- error
}

// LoopStatus tells how the last attempt to apply a tenant's desired state went.
type LoopStatus struct {
	// Plan is what the last attempt, or the one under way, is for; nil when the tenant is to go.
	Plan *TenantPlan
	// Busy tells that an attempt is under way, or waits for its turn.
	Busy bool
	// Error is what the last attempt could not do; empty when everything is as declared.
	Error string
	// Since is when the last attempt ended.
	Since time.Time
	// Attempts counts the failed attempts in a row.
	Attempts int
}

// startLoop starts a loop that ends with ctx, with stop, or once its tenant is removed.
func startLoop(ctx context.Context, log *slog.Logger, tasks loopTasks) *loop {
	ctx, cancel := context.WithCancel(ctx)
	l := &loop{
		loopTasks: tasks, log: log, requests: make(chan request), cancel: cancel, ended: make(chan struct{}),
		status: LoopStatus{Busy: true}, // it is started for a plan that is on its way
	}
	go l.run(ctx)
	return l
}

// take hands the loop a plan (nil: remove the tenant) and returns the outcome of the first attempt. After a failure
// the loop goes on trying.
func (l *loop) take(ctx context.Context, plan *TenantPlan) error {
	done := make(chan error, 1)
	select {
	case l.requests <- request{plan: plan, done: done}:
	case <-l.ended:
		return errLoopEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends the loop and waits for an attempt that is under way.
func (l *loop) stop() {
	l.cancel()
	<-l.ended
}

func (l *loop) run(ctx context.Context) {
	defer close(l.ended)
	defer l.cancel()
	var plan *TenantPlan
	var retry <-chan time.Time
	wait := minRetry
	for {
		var done chan<- error
		select {
		case <-ctx.Done():
			return
		case r := <-l.requests:
			plan, done, wait = r.plan, r.done, minRetry
		case <-retry:
		}
		retry = nil
		l.begin(plan)
		err := l.apply(ctx, plan)
		l.record(ctx, err)
		if err == nil && plan == nil {
			l.removed(l)
		}
		if done != nil {
			done <- err
		}
		switch {
		case err != nil:
			retry = time.After(wait)
			wait = min(2*wait, maxRetry)
		case plan == nil:
			return
		}
	}
}

func (l *loop) begin(plan *TenantPlan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Plan, l.status.Busy = plan, true
}

// record notes how an attempt went, and logs it where that is news.
func (l *loop) record(ctx context.Context, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.status
	l.status.Busy, l.status.Since = false, time.Now()
	if err == nil {
		l.status.Error, l.status.Attempts = "", 0
		if before.Error != "" {
			l.log.Info("tenant is as declared now", "failed", before.Attempts)
		}
		return
	}
	l.status.Error = err.Error()
	l.status.Attempts++
	if l.status.Error != before.Error && ctx.Err() == nil {
		l.log.Error("tenant is not as declared; trying again", "error", err)
	}
}

// Status tells how the last attempt went.
func (l *loop) Status() LoopStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}
