package fib

import (
	"context"
	"net/netip"
	"time"
)

// interval between calls of Installed.
const interval = time.Second

// tellChanged calls Changed.
func (t *Table) tellChanged(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.moved:
		}
		if t.changed != nil {
			t.changed()
		}
	}
}

// tellInstalled calls Installed. What comes in while that was called less than an interval ago waits.
func (t *Table) tellInstalled(ctx context.Context) {
	pause := time.NewTimer(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-t.arrived:
		}
		if came := t.take(); len(came) > 0 && t.installed != nil {
			t.installed(came)
		}
		pause.Reset(interval)
	}
}

// take takes the prefixes that came in.
func (t *Table) take() []netip.Prefix {
	t.mu.Lock()
	defer t.mu.Unlock()
	came := t.came
	t.came = nil
	return came
}
