package speaker

import (
	"runtime/debug"
	"testing"
	"time"
)

func TestMemoryIsCollectedSeldomWhileRoutesComeByTheThousand(t *testing.T) {
	before := debug.SetGCPercent(collectAtRest)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	now := time.Unix(1e9, 0)
	var m memory
	for _, step := range []struct {
		what          string
		routes        int
		during, after int
	}{
		{"no route", 0, collectAtRest, collectAtRest},
		{"a few routes", burst / 2, collectAtRest, collectAtRest},
		{"a few more, later", burst, collectAtRest, collectAtRest},
		{"a burst", burst + 1, collectInBurst, collectInBurst},
		{"a burst that goes on", burst + 1, collectInBurst, collectInBurst},
		{"a few routes after it", burst / 2, collectInBurst, collectAtRest},
		{"another burst", 10 * burst, collectInBurst, collectInBurst},
		{"no route after it", 0, collectInBurst, collectAtRest},
	} {
		m.took(step.routes)
		if at := collectAt(); at != step.during {
			t.Errorf("%s: memory is collected at %d%% meanwhile, want %d%%", step.what, at, step.during)
		}
		now = now.Add(burstTime)
		m.look(now)
		if at := collectAt(); at != step.after {
			t.Errorf("%s: memory is collected at %d%% afterwards, want %d%%", step.what, at, step.after)
		}
	}
}

// collectAt is the share of garbage at which memory is collected.
func collectAt() int {
	is := debug.SetGCPercent(collectAtRest)
	debug.SetGCPercent(is)
	return is
}
