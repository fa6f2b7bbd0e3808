package bench_test

import (
	"slices"
	"testing"
	"time"
)

// benchmarkNeighbour measures what one tenant notices of another's 100,000 routes: the time from an UPDATE with one route
// until the kernel has it, again and again, while the other has none, while it has all, and while it is told of all and
// loses them in turn.
func benchmarkNeighbour(b *testing.B) {
	b.Helper()
	const routes, rounds, lap = 100_000, 4, 2 * time.Second
	m := newManager(b)
	mine, other := newBGPWorld(b, 1), newBGPWorld(b, 1)
	other.config.Tenant = "Contoso"
	pulse := newPulse(b, mine)
	theirs := other.compartment.watchRoutes(b, routes)
	bringSpeaker(b, m, mine)
	bringSpeaker(b, m, other)
	pulse.feeder = mine.dialBGP(b, mine.config.Peers[0])
	feeder := other.dialBGP(b, other.config.Peers[0])
	come, gone := announcements(other.config.Peers[0], 0, routes), withdrawals(0, routes)
	var quiet, loaded, loading pulses
	for range rounds {
		quiet = append(quiet, pulse.beat(time.After(lap))...)
		for _, half := range []struct {
			messages []byte
			until    int
		}{{come, routes}, {gone, 0}} {
			done := make(chan time.Time)
			var err error
			go func() {
				defer close(done)
				if err = feeder.say(half.messages); err == nil {
					err = theirs.until(half.until, feeder.ended)
				}
			}()
			loading = append(loading, pulse.beat(done)...)
			must(b, "tell the other tenant's routes", err)
			if half.until > 0 {
				loaded = append(loaded, pulse.beat(time.After(lap))...)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(quiet.quantile(0.5), "ms")
	b.ReportMetric(loaded.quantile(0.5)/quiet.quantile(0.5), "loaded_x_quiet")
	b.ReportMetric(loading.quantile(0.5)/quiet.quantile(0.5), "loading_x_quiet")
	for name, all := range map[string]pulses{"quiet": quiet, "loaded": loaded, "loading": loading} {
		b.Logf("the other %-8s %5d times, median %.2f ms, 99%% below %.2f ms", name+":", len(all), all.quantile(0.5), all.quantile(0.99))
	}
}

// pulse is a route that comes and goes, every few milliseconds: the machine has time for others meanwhile.
type pulse struct {
	t          testing.TB
	watch      *routeWatch
	feeder     *feeder
	come, gone []byte
}

// pulses are how long it took to come, each time.
type pulses []time.Duration

func newPulse(t testing.TB, w *bgpWorld) *pulse {
	t.Helper()
	return &pulse{
		t: t, watch: w.compartment.watchRoutes(t, 1), come: announcements(w.config.Peers[0], 0, 1), gone: withdrawals(0, 1),
	}
}

// beat lets the route come and go until done.
func (p *pulse) beat(done <-chan time.Time) (all pulses) {
	p.t.Helper()
	next := time.NewTicker(5 * time.Millisecond)
	defer next.Stop()
	for {
		select {
		case <-done:
			return all
		case <-next.C:
		}
		start := time.Now()
		must(p.t, "tell a route", p.feeder.say(p.come))
		must(p.t, "wait for a route", p.watch.until(1, p.feeder.ended))
		all = append(all, time.Since(start))
		must(p.t, "take a route back", p.feeder.say(p.gone))
		must(p.t, "wait until a route is gone", p.watch.until(0, p.feeder.ended))
	}
}

// quantile in milliseconds.
func (p pulses) quantile(share float64) float64 {
	slices.Sort(p)
	return float64(p[int(share*float64(len(p)-1))].Microseconds()) / 1e3
}
