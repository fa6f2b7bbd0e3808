package lab

import (
	"testing"
	"time"
)

func TestAFlowSendsNoBurstAfterAStall(t *testing.T) {
	const interval = 10 * time.Millisecond
	due := time.Unix(1_000_000, 0)
	for name, c := range map[string]struct{ late, pause time.Duration }{
		"on time":       {0, 10 * time.Millisecond},
		"a little late": {4 * time.Millisecond, 6 * time.Millisecond},
		"one late":      {10 * time.Millisecond, 0},
		"stalled":       {3 * time.Second, 10 * time.Millisecond},
	} {
		now := due.Add(c.late)
		if pause := next(due, now, interval).Sub(now); pause != c.pause {
			t.Errorf("%s: the next packet goes after %v, want %v", name, pause, c.pause)
		}
	}
}
