package bench_test

import (
	"slices"
	"testing"
	"time"
)

// contender is one of those that a case compares. Its figures come from slices that alternate with the others'.
type contender struct {
	name  string
	slice func() result
	all   []result
}

// effort bounds a case.
type effort struct {
	rounds int
	budget time.Duration
}

// alternate runs A, B, C, A, B, C ... until the rounds are done or the time is used up, after one round that does not
// count.
func alternate(t testing.TB, e effort, all []*contender) {
	t.Helper()
	deadline := time.Now().Add(e.budget)
	for round := range e.rounds + 1 {
		if round > 3 && time.Now().After(deadline) {
			break
		}
		for _, c := range all {
			r := c.slice()
			must(t, c.name, r.err)
			if round > 0 {
				c.all = append(c.all, r)
			}
		}
	}
}

// median is that of a figure of the contender's slices.
func (c *contender) median(figure func(result) float64) float64 {
	values := make([]float64, 0, len(c.all))
	for _, r := range c.all {
		values = append(values, figure(r))
	}
	slices.Sort(values)
	if len(values)%2 == 0 {
		return (values[len(values)/2-1] + values[len(values)/2]) / 2
	}
	return values[len(values)/2]
}

func rate(r result) float64 { return float64(r.packets) / r.elapsed.Seconds() }

func busy(r result) float64 { return float64(r.counters.busy) / float64(r.packets) }

func instructions(r result) float64 { return r.counters.instructions / float64(r.packets) }

func cycles(r result) float64 { return r.counters.cycles / float64(r.packets) }

// compare reports the first contender's rate, and its ratio to each other's as x_NAME.
func compare(b *testing.B, unit string, scale float64, all []*contender) {
	b.Helper()
	first := all[0].median(rate)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(first*scale, unit)
	for _, c := range all[1:] {
		b.ReportMetric(first/c.median(rate), "x_"+c.name)
	}
	b.Logf("%d rounds", len(all[0].all))
	for _, c := range all {
		b.Logf("%-16s %8.3f %s; per %s %.0f ns of CPU time, %.0f instructions and %.0f cycles of the kernel", c.name,
			c.median(rate)*scale, unit, what(unit), c.median(busy)*per(unit), c.median(instructions)*per(unit),
			c.median(cycles)*per(unit))
	}
}

// per is the number of a result's packets (or bytes) that its counters are told for.
func per(unit string) float64 {
	if unit == "gbit/s" {
		return 1 << 16
	}
	return 1
}

func what(unit string) string {
	if unit == "gbit/s" {
		return "64 KB"
	}
	return "packet"
}
