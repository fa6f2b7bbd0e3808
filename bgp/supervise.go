package bgp

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"bulkhead/bgp/fib"
	"bulkhead/bgp/internal/wire"
)

// supervise starts the speaker again whenever it ends by itself, and ends one that hangs, until ending is called.
func (k *keeper) supervise() {
	ctx, cancel := context.WithCancel(k.ctx)
	if k.run(func() { (&supervision{keeper: k}).run(ctx) }) {
		k.ending = cancel
		return
	}
	cancel()
}

// supervision is how one speaker has been doing.
type supervision struct {
	*keeper
	mourned *process      // the one whose end has been seen to
	died    time.Time     // when it ended
	wait    time.Duration // before the next start
	reason  string        // why the last start failed
	silent  int           // checks in a row that were not answered
}

func (s *supervision) run(ctx context.Context) {
	check := time.NewTicker(s.pace.check)
	defer check.Stop()
	var again <-chan time.Time
	for {
		p := s.proc.Load()
		var gone chan struct{}
		switch {
		case p == nil && again == nil:
			again = s.later() // it could not be started
		case p != nil && p != s.mourned:
			gone = p.gone
		}
		select {
		case <-ctx.Done():
			return
		case <-s.news:
			s.silent = 0
			if s.proc.Load() != s.mourned {
				again = nil // else the news is of one that has ended since
			}
		case <-gone:
			again = s.ended(p)
		case <-again:
			again = s.mend(ctx)
		case <-check.C:
			s.check(ctx, p)
		}
	}
}

// ended sees to a speaker that ended by itself: one that lived long is started again at once, others after a wait that
// grows.
func (s *supervision) ended(p *process) <-chan time.Time {
	s.mourned, s.died = p, time.Now()
	if s.proc.Load() != p {
		return nil // it was told to
	}
	lived := time.Since(p.since)
	if lived >= s.pace.longest {
		s.wait = 0
	}
	fate := fmt.Sprintf("ended by itself at %s: %s", s.died.UTC().Format(time.RFC3339), cmp.Or(p.why, "its log may tell why"))
	s.fate.Store(&fate)
	s.log.Error("BGP speaker ended by itself; it is started again", "event", "bgp", "pid", p.pid, "reason", p.why,
		"lived", lived.Round(time.Millisecond), "in", s.wait)
	return s.later()
}

// later is when the wait is over. The next one is longer.
func (s *supervision) later() <-chan time.Time {
	now := time.After(s.wait)
	s.wait = min(max(2*s.wait, s.pace.again), s.pace.longest)
	return now
}

// mend brings a speaker about after one ended. It returns when to try again; nil: it is there.
func (s *supervision) mend(ctx context.Context) <-chan time.Time {
	if s.take(ctx) != nil {
		return nil // there is to be none any more
	}
	defer s.leave()
	want, p := s.want.Load(), s.proc.Load()
	if want == nil || (p != nil && p.alive() && p == s.told) {
		return nil
	}
	err := s.bring(ctx)
	if err == nil {
		s.restarts.Add(1)
		s.reason = ""
		return nil
	}
	if p := s.proc.Load(); p == nil {
		fate := "could not be started: " + err.Error()
		s.fate.Store(&fate)
	}
	if reason := err.Error(); reason != s.reason {
		s.reason = reason
		s.log.Error("BGP speaker cannot be started again; trying on", "event", "bgp", "error", err, "in", s.wait)
	}
	if p := s.proc.Load(); (p == nil || !p.alive()) && time.Since(s.died) > want.RestartTime && !want.Guard {
		// Nobody withdraws these any more. With a way to the Internet they stay, since packets would take that (law 1).
		if err := fib.Sweep(ctx, s.ns); err != nil {
			s.log.Error("routes of a BGP speaker that ended are still there", "event", "bgp", "error", err)
		}
	}
	return s.later()
}

// check ends a speaker that does not answer twice in a row.
func (s *supervision) check(ctx context.Context, p *process) {
	if p == nil || !p.alive() {
		return
	}
	err := s.ask(ctx, s.pace.check, http.MethodGet, wire.Status, nil, &Status{})
	if err == nil || ctx.Err() != nil || !p.alive() {
		s.silent = 0
		return
	}
	s.silent++
	if s.silent < 2 {
		return
	}
	s.silent = 0
	s.log.Error("BGP speaker hangs; it is killed", "event", "bgp", "pid", p.pid, "error", err)
	if err := p.kill(ctx); err != nil {
		s.log.Error("BGP speaker cannot be killed", "event", "bgp", "error", err)
	}
}
