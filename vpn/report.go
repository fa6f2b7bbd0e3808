package vpn

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// reporter logs Events and passes them on, one at a time.
type reporter struct {
	mu      sync.Mutex
	log     *slog.Logger
	onEvent func(Event)
	// Strangers decide how often they are refused, and so do a tenant's peers, or whoever claims to be one: they are
	// limited apart, so that nobody's failures hide another's. failures is by tenant.
	strangers limiter
	failures  map[string]*limiter
}

func newReporter(opts Options) *reporter {
	return &reporter{log: opts.Log, onEvent: opts.OnEvent, strangers: newLimiter(), failures: map[string]*limiter{}}
}

// report logs an event and passes it on. The log lines about failures are limited, and so are the events about peers
// that no interface expects.
func (r *reporter) report(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Kind != Failed {
		what, level := "tunnel "+string(e.Kind), slog.LevelInfo
		switch e.Kind {
		case Adopted:
			what = "tunnel is up"
		case WentUnreachable:
			level = slog.LevelWarn
		}
		r.write(level, what, e, 0)
		r.pass(e)
		return
	}
	limit, what := &r.strangers, "IKE peer refused"
	if e.Tenant != "" {
		limit, what = r.failuresOf(e.Tenant), "tunnel failed"
	}
	ok, suppressed := limit.allow(e.Time)
	if ok {
		r.write(slog.LevelWarn, what, e, suppressed)
	}
	if ok || e.Tenant != "" {
		r.pass(e)
	}
}

// failuresOf must be called with mu held.
func (r *reporter) failuresOf(tenant string) *limiter {
	if r.failures[tenant] == nil {
		l := newLimiter()
		remember(r.failures, tenant, &l)
	}
	return r.failures[tenant]
}

func (r *reporter) write(level slog.Level, what string, e Event, suppressed int) {
	args := []any{"event", string(e.Kind), "tenant", e.Tenant, "interface", e.Interface, "peer", e.Peer}
	if e.Reason != "" {
		args = append(args, "reason", e.Reason)
	}
	if suppressed > 0 {
		args = append(args, "suppressed", suppressed)
	}
	r.log.Log(context.Background(), level, what, args...)
}

func (r *reporter) pass(e Event) {
	if r.onEvent != nil {
		r.onEvent(e)
	}
}

// limiter lets a burst pass, then one a second, and counts what it held back.
type limiter struct {
	tokens     float64
	last       time.Time
	suppressed int
}

const refusalBurst = 20

func newLimiter() limiter { return limiter{tokens: refusalBurst} }

func (l *limiter) allow(now time.Time) (ok bool, suppressed int) {
	if !l.last.IsZero() {
		l.tokens = min(l.tokens+now.Sub(l.last).Seconds(), refusalBurst)
	}
	l.last = now
	if l.tokens < 1 {
		l.suppressed++
		return false, 0
	}
	l.tokens--
	suppressed, l.suppressed = l.suppressed, 0
	return true, suppressed
}
