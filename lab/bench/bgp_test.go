package bench_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// BenchmarkBGP measures how long routes that peers tell of take into a compartment's table, and the memory of those who do
// it: our speaker, and FRR's bgpd with zebra. It measures speakers that have little to do as well, and what tenants notice
// of each other.
func BenchmarkBGP(b *testing.B) {
	for _, c := range []struct {
		name          string
		peers, routes int // routes of each peer
		rounds        int
	}{
		{"10k", 1, 10_000, 5},
		{"100k", 1, 100_000, 5},
		{"10x10k", 10, 10_000, 4},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				ours := &learner{name: "bulkhead", start: startSpeaker}
				theirs := &learner{name: "frr", start: startFRR}
				for round := range c.rounds {
					last := round == c.rounds-1
					ours.learn(b, c.peers, c.routes, last)
					theirs.learn(b, c.peers, c.routes, last)
				}
				reportLearners(b, ours, theirs)
			}
		})
	}
	for _, c := range []struct {
		name    string
		measure func(*testing.B)
	}{
		{"idle", benchmarkIdle},
		{"neighbour", benchmarkNeighbour},
		{"tenants_200", func(b *testing.B) { benchmarkCrowd(b, 200) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.measure(b)
			}
		})
	}
}

// learner is a router that learns the same again and again, started anew each time.
type learner struct {
	name    string
	start   startRouter
	all     []learned
	settled uint64 // the memory in the last round, some time later
}

// learned is what one round took: from the first UPDATE until the kernel had all routes, and from the peers' end until it
// had none; the CPU time of the router's processes; and their private memory when the routes were there.
type learned struct {
	took, cpu, withdrawn, withdrawnCPU time.Duration
	memory                             uint64
}

// calm is how long a router has to give back what it needed for a burst.
const calm = 10 * time.Second

func (l *learner) learn(t testing.TB, peers, routes int, rest bool) {
	t.Helper()
	w := newBGPWorld(t, peers)
	watch := w.compartment.watchRoutes(t, peers*routes+1)
	r := l.start(t, w)
	feeders := make([]*feeder, peers)
	for i, p := range w.config.Peers {
		feeders[i] = w.dialBGP(t, p)
		feeders[i].table = announcements(p, i*routes, routes)
	}
	// FRR starts to work some seconds after its start: a route, which goes again, shows that it does.
	probe := peers * routes
	must(t, "tell a route", feeders[0].say(announcements(w.config.Peers[0], probe, 1)))
	must(t, l.name+": wait for one route", watch.until(1, anyEnded(feeders)))
	must(t, "take a route back", feeders[0].say(withdrawals(probe, 1)))
	must(t, l.name+": wait for no route", watch.until(0, anyEnded(feeders)))

	var one learned
	one.took, one.cpu = clocked(t, r, func() error {
		all := say(feeders)
		err := watch.until(peers*routes, anyEnded(feeders))
		return errors.Join(err, all.Wait())
	})
	if n := w.compartment.routesByBGP(t); n != peers*routes {
		t.Fatalf("%s: %d routes in the table instead of %d", l.name, n, peers*routes)
	}
	one.memory = privateMemory(t, r, anonymous)
	if rest {
		<-time.After(calm)
		l.settled = privateMemory(t, r, anonymous)
	}
	one.withdrawn, one.withdrawnCPU = clocked(t, r, func() error {
		for _, f := range feeders {
			f.close()
		}
		return watch.until(0, func() error { return nil })
	})
	r.stop()
	l.all = append(l.all, one)
}

// say has all feeders send what they have.
func say(feeders []*feeder) *errgroup.Group {
	var all errgroup.Group
	for _, f := range feeders {
		all.Go(func() error { return f.say(f.table) })
	}
	return &all
}

func anyEnded(feeders []*feeder) func() error {
	return func() error {
		var errs []error
		for _, f := range feeders {
			errs = append(errs, f.ended())
		}
		return errors.Join(errs...)
	}
}

// clocked is how long do takes, and the CPU time that the router's processes use meanwhile.
func clocked(t testing.TB, r router, do func() error) (took, cpu time.Duration) {
	t.Helper()
	before, start := cpuTime(t, r), time.Now()
	err := do()
	took, cpu = time.Since(start), cpuTime(t, r)-before
	must(t, "learn routes", err)
	return took, cpu
}

// cpuTime is that of the router's processes so far, by their own clocks (clock_getcpuclockid(3)).
func cpuTime(t testing.TB, r router) (total time.Duration) {
	t.Helper()
	for _, pid := range r.processes() {
		var ts unix.Timespec
		must(t, "read a process's clock", unix.ClockGettime(int32(^pid)<<3|2, &ts))
		total += time.Duration(ts.Nano())
	}
	return total
}

// Kinds of memory that a process has for itself (proc_pid_smaps(5)): what comes from no file, and all that nobody else has
// mapped just now, of the program too.
const (
	anonymous = "Anonymous:"
	private   = "Private_"
)

// privateMemory is that of the router's processes, in bytes.
func privateMemory(t testing.TB, r router, kind string) (total uint64) {
	t.Helper()
	for _, pid := range r.processes() {
		all, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		must(t, "read a process's memory", err)
		for line := range strings.Lines(string(all)) {
			if fields := strings.Fields(line); strings.HasPrefix(line, kind) {
				kilobytes, err := strconv.ParseUint(fields[1], 10, 64)
				must(t, "read a process's memory", err)
				total += kilobytes << 10
			}
		}
	}
	return total
}

func reportLearners(b *testing.B, ours, theirs *learner) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours.median(learned.seconds), "seconds")
	b.ReportMetric(float64(ours.settled)/1e6, "MB")
	b.ReportMetric(float64(ours.settled)/float64(theirs.settled), "x_frr_memory")
	for metric, figure := range map[string]func(learned) float64{
		"x_frr_time": learned.seconds, "x_frr_cpu": learned.cpuSeconds, "x_frr_memory_burst": learned.megabytes,
		"x_frr_withdraw": learned.withdrawSeconds,
	} {
		b.ReportMetric(ours.median(figure)/theirs.median(figure), metric)
	}
	for _, l := range []*learner{ours, theirs} {
		b.Logf("%-8s %6.0f ms (%.0f ms of CPU time); withdrawn in %.0f ms (%.0f ms); memory %.1f MB, settled %.1f MB; of %d rounds %v",
			l.name, 1e3*l.median(learned.seconds), 1e3*l.median(learned.cpuSeconds), 1e3*l.median(learned.withdrawSeconds),
			1e3*l.median(learned.withdrawCPUSeconds), l.median(learned.megabytes), float64(l.settled)/1e6, len(l.all), l.each())
	}
}

func (r learned) seconds() float64            { return r.took.Seconds() }
func (r learned) cpuSeconds() float64         { return r.cpu.Seconds() }
func (r learned) withdrawSeconds() float64    { return r.withdrawn.Seconds() }
func (r learned) megabytes() float64          { return float64(r.memory) / 1e6 }
func (r learned) withdrawCPUSeconds() float64 { return r.withdrawnCPU.Seconds() }

// each tells the rounds' times.
func (l *learner) each() []time.Duration {
	var all []time.Duration
	for _, r := range l.all {
		all = append(all, r.took.Round(time.Millisecond))
	}
	return all
}

func (l *learner) median(figure func(learned) float64) float64 {
	var values []float64
	for _, r := range l.all {
		values = append(values, figure(r))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
