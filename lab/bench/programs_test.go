package bench_test

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// programsOf are those on a link's ingress.
func programsOf(t testing.TB, m *machine, name string) []*ebpf.Program {
	t.Helper()
	var programs []*ebpf.Program
	index := m.index(t, name)
	must(t, "list the programs on "+name, m.Do(func() error {
		found, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		for _, p := range found.Programs {
			program, err := ebpf.NewProgramFromID(p.ID)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = program.Close() })
			programs = append(programs, program)
		}
		return nil
	}))
	return programs
}

// mapOf is a map that the program uses.
func mapOf(t testing.TB, p *ebpf.Program, name string) *ebpf.Map {
	t.Helper()
	info, err := p.Info()
	must(t, "read about a program", err)
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		must(t, "open a map", err)
		t.Cleanup(func() { _ = m.Close() })
		about, err := m.Info()
		must(t, "read about a map", err)
		if about.Name == name {
			return m
		}
	}
	t.Fatalf("the program %s has no map %s", info.Name, name)
	return nil
}

// reportPrograms reports what one run of the doors' programs takes. The kernel's keeping time costs time too, so that
// it is done in slices of its own, and the figure holds some 20 ns of it.
func (f *fabric) reportPrograms(b *testing.B, c *contender) {
	b.Helper()
	programs := append(programsOf(b, f.gateway, "backend0"), programsOf(b, f.gateway, "bhi0")...)
	type state struct {
		runs uint64
		time time.Duration
	}
	read := func() (all []state) {
		for _, p := range programs {
			s, err := p.Stats()
			must(b, "read a program's statistics", err)
			all = append(all, state{s.RunCount, s.Runtime})
		}
		return all
	}
	on, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	must(b, "turn on statistics of programs", err)
	defer func() { _ = on.Close() }()
	before := read()
	for range 5 {
		must(b, c.name, c.slice().err)
	}
	for i, now := range read() {
		info, err := programs[i].Info()
		must(b, "read about a program", err)
		if runs := now.runs - before[i].runs; runs > 1000 {
			b.ReportMetric(float64((now.time-before[i].time).Nanoseconds())/float64(runs), "ns/run_"+info.Name)
		}
	}
}
