package bench_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"bulkhead/bgp"
)

// benchmarkCrowd has a speaker for each of many tenants that are alike in everything, all of them with a session: how
// long it takes until all have, with a route in each compartment's table; their memory, of which they share the
// program's; and the CPU time that they take while nothing happens.
func benchmarkCrowd(b *testing.B, tenants int) {
	b.Helper()
	m := newManager(b)
	worlds := make([]*bgpWorld, tenants)
	for i := range worlds {
		worlds[i] = newBGPWorld(b, 1)
		worlds[i].config.Tenant = fmt.Sprint("Tenant", i)
	}
	watches := make([]*routeWatch, tenants)
	for i, w := range worlds {
		watches[i] = w.compartment.watchRoutes(b, 1)
	}
	all := &crowdRouter{t: b, manager: m, worlds: worlds}
	b.Cleanup(all.stop)
	start := time.Now()
	all.start()
	feeders := make([]*feeder, tenants)
	for i, w := range worlds {
		feeders[i] = w.dialBGP(b, w.config.Peers[0])
		must(b, "tell a route", feeders[i].say(announcements(w.config.Peers[0], 0, 1)))
	}
	for i := range worlds {
		must(b, fmt.Sprint("tenant ", i, ": wait for a route"), watches[i].until(1, feeders[i].ended))
	}
	took := time.Since(start)
	<-time.After(calm)
	const idle = 15 * time.Second
	before := cpuTime(b, all)
	<-time.After(idle)
	used := cpuTime(b, all) - before
	must(b, "keep all sessions", anyEnded(feeders)())
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.Seconds(), "seconds")
	b.ReportMetric(float64(privateMemory(b, all, private))/1e6/float64(tenants), "MB/speaker")
	b.ReportMetric(float64(used.Microseconds())/1e3/float64(tenants)/idle.Minutes(), "ms_cpu/speaker_minute")
}

// crowdRouter are the speakers of all tenants, as if they were one router.
type crowdRouter struct {
	t       testing.TB
	manager *bgp.Manager
	worlds  []*bgpWorld
	pids    []int
}

func (c *crowdRouter) each(do func(w *bgpWorld) error) {
	c.t.Helper()
	var all errgroup.Group
	all.SetLimit(8) // as the gateway does
	for _, w := range c.worlds {
		all.Go(func() error { return do(w) })
	}
	must(c.t, "tell all speakers", all.Wait())
}

func (c *crowdRouter) start() {
	ctx := context.Background()
	c.each(func(w *bgpWorld) error {
		return c.manager.Set(ctx, w.compartment.Namespace, w.config.Tenant, &w.config)
	})
	for _, w := range c.worlds {
		status, err := c.manager.Status(ctx, w.config.Tenant)
		must(c.t, "ask a speaker", err)
		c.pids = append(c.pids, status.PID)
	}
}

func (c *crowdRouter) processes() []int { return c.pids }

func (c *crowdRouter) stop() {
	c.each(func(w *bgpWorld) error {
		return c.manager.Set(context.Background(), w.compartment.Namespace, w.config.Tenant, nil)
	})
}

// benchmarkIdle measures the memory of a speaker that has a session and a route, beside another tenant's, which shares the
// program with it; and FRR's, of which there are two as well.
func benchmarkIdle(b *testing.B) {
	b.Helper()
	m := newManager(b)
	ours := func(tenant string) startRouter {
		return func(t testing.TB, w *bgpWorld) router {
			w.config.Tenant = tenant
			return bringSpeaker(t, m, w)
		}
	}
	var memory []float64
	var all []router
	for _, start := range []startRouter{ours("Contoso"), ours("Woodgrove"), startFRR, startFRR} {
		w := newBGPWorld(b, 1)
		watch := w.compartment.watchRoutes(b, 1)
		all = append(all, start(b, w))
		f := w.dialBGP(b, w.config.Peers[0])
		must(b, "tell a route", f.say(announcements(w.config.Peers[0], 0, 1)))
		must(b, "wait for a route", watch.until(1, f.ended))
	}
	<-time.After(calm)
	for _, r := range all {
		memory = append(memory, float64(privateMemory(b, r, private))/1e6)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(memory[1], "MB/speaker")
	b.ReportMetric(memory[1]/memory[3], "x_frr_memory")
	b.Logf("private: a speaker %.1f MB, bgpd and zebra %.1f MB", memory[1], memory[3])
}
