package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func startTestLoop(t *testing.T, apply func(context.Context, *TenantPlan) error) *loop {
	return startLoop(t.Context(), slog.New(slog.DiscardHandler), loopTasks{apply: apply, removed: func(*loop) {}})
}

func TestLoopRetriesWithGrowingWaitsUntilTheTenantIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts []time.Duration
		start := time.Now()
		l := startTestLoop(t, func(context.Context, *TenantPlan) error {
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
		l := startTestLoop(t, func(_ context.Context, p *TenantPlan) error {
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
		l := startTestLoop(t, func(context.Context, *TenantPlan) error { return nil })
		if err := l.take(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		<-l.ended
		if err := l.take(t.Context(), &TenantPlan{}); !errors.Is(err, errLoopEnded) {
			t.Errorf("a loop that has ended took a plan: %v", err)
		}
	})
}

func TestRemovalThatFailedIsFinishedAndItsLoopForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		var forgotten atomic.Pointer[loop]
		l := startLoop(t.Context(), slog.New(slog.DiscardHandler), loopTasks{
			apply: func(context.Context, *TenantPlan) error {
				if attempts++; attempts == 1 {
					return errors.New("its links are busy")
				}
				return nil
			},
			removed: forgotten.Store,
		})
		if err := l.take(t.Context(), nil); err == nil || forgotten.Load() != nil {
			t.Fatalf("error %v, want the first attempt to fail and the loop to be kept", err)
		}
		<-l.ended
		if forgotten.Load() != l {
			t.Error("the loop is not forgotten")
		}
	})
}

func TestStatusTellsWhichPlanIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan, proceed := &TenantPlan{Name: "Contoso"}, make(chan struct{})
		l := startTestLoop(t, func(context.Context, *TenantPlan) error {
			<-proceed
			return nil
		})
		defer l.stop()
		in := &Plan{Tenants: []*TenantPlan{plan}}
		state := func(p *Plan) string {
			s, _ := tenantState(p, "Contoso", l)
			return s
		}
		if got := state(in); got != "applying" {
			t.Errorf("before the loop has the plan: %s", got)
		}
		go func() { _ = l.take(t.Context(), plan) }()
		synctest.Wait()
		if got := state(in); got != "applying" {
			t.Errorf("while it is applied: %s", got)
		}
		close(proceed)
		synctest.Wait()
		if got := state(in); got != "applied" {
			t.Errorf("after it was applied: %s", got)
		}
		if got := state(&Plan{}); got != "removing" {
			t.Errorf("when it is declared no longer: %s", got)
		}
		if got := state(nil); got != "adopted" {
			t.Errorf("before anything is taken up: %s", got)
		}
	})
}
