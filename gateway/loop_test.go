package gateway

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoopRetriesWithGrowingWaitsUntilTheTenantIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts []time.Duration
		start := time.Now()
		l := startLoop(t.Context(), func(context.Context, *TenantPlan) error {
			attempts = append(attempts, time.Since(start))
			if len(attempts) < 4 {
				return errors.New("link is busy")
			}
			return nil
		})
		defer l.stop()
		if err := l.take(t.Context(), &TenantPlan{}); err == nil {
			t.Fatal("the first attempt's error was not returned")
		}
		if got := l.Status(); got.Error != "link is busy" || got.Attempts != 1 {
			t.Errorf("status after a failure: %+v", got)
		}
		time.Sleep(time.Hour) //nolint:forbidigo // the bubble's clock: no real time passes
		synctest.Wait()
		want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}
		if len(attempts) != len(want) {
			t.Fatalf("attempts at %v, want at %v", attempts, want)
		}
		for i := range want {
			if attempts[i] != want[i] {
				t.Errorf("attempt %d at %v, want at %v", i, attempts[i], want[i])
			}
		}
		if got := l.Status(); got.Error != "" || got.Attempts != 0 {
			t.Errorf("status after success: %+v", got)
		}
	})
}

func TestNewPlanReplacesTheOneThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := &TenantPlan{Name: "bad"}, &TenantPlan{Name: "good"}
		var seen []string
		l := startLoop(t.Context(), func(_ context.Context, p *TenantPlan) error {
			seen = append(seen, p.Name)
			if p == bad {
				return errors.New("no")
			}
			return nil
		})
		defer l.stop()
		if err := l.take(t.Context(), bad); err == nil {
			t.Fatal("no error for the bad plan")
		}
		if err := l.take(t.Context(), good); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) //nolint:forbidigo // the bubble's clock: no real time passes
		synctest.Wait()
		if len(seen) != 2 {
			t.Errorf("attempts %v, want one of each plan: the bad plan came back", seen)
		}
	})
}

func TestLoopEndsOnceItsTenantIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t.Context(), func(context.Context, *TenantPlan) error { return nil })
		if err := l.take(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		<-l.ended
		if err := l.take(t.Context(), &TenantPlan{}); !errors.Is(err, context.Canceled) {
			t.Errorf("a loop that has ended took a plan: %v", err)
		}
	})
}
