package bench_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"bulkhead/ratelimit"
)

const (
	limiterLap  = time.Second
	limiterLaps = 7
)

// BenchmarkLimiter tells what applications get of a tunnel's limit: of_target is the median of laps of a second, total_ is
// all of them together, which for UDP is never more than 1. Headers take 0.04 of it.
func BenchmarkLimiter(b *testing.B) {
	for _, d := range []ratelimit.Direction{ratelimit.Tx, ratelimit.Rx} {
		b.Run("tcp_"+string(d), func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(0, "ns/op")
				all := laps(newLimited(b).tcp(b, d))
				b.ReportMetric(middle(all), "of_target")
			}
		})
		b.Run("udp_"+string(d), func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(0, "ns/op")
				all := laps(newLimited(b).udp(b, d, 2*limitKbps))
				b.ReportMetric(middle(all), "of_target")
				b.ReportMetric(mean(all), "total_of_target")
			}
		})
	}
	b.Run("flooded", func(b *testing.B) {
		for b.Loop() {
			flooded(b)
		}
	})
	b.Run("control", func(b *testing.B) {
		for b.Loop() {
			control(b)
		}
	})
	b.Run("tunnels_1000", func(b *testing.B) {
		for b.Loop() {
			tunnels1000(b)
		}
	})
}

// lap is what arrived in one, as a part of what the limit lets pass in its time.
func lap(arrived *atomic.Uint64, long time.Duration) float64 {
	before, start := arrived.Load(), time.Now()
	<-time.After(long)
	return float64(arrived.Load()-before) / time.Since(start).Seconds() / (limitKbps * 1000 / 8)
}

// laps are what arrived in each lap, after two that do not count: TCP finds its rate.
func laps(arrived *atomic.Uint64) (all []float64) {
	lap(arrived, 2*limiterLap)
	for range limiterLaps {
		all = append(all, lap(arrived, limiterLap))
	}
	return all
}

func mean(all []float64) (m float64) {
	for _, x := range all {
		m += x / float64(len(all))
	}
	return m
}

func middle(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// flooded compares what a tunnel carries while another, of another tenant, gets twenty times its limit, with what it
// carries while that one is quiet (x_quiet), and how long a packet of it takes there and back (rtt_x_quiet).
func flooded(b *testing.B) {
	b.Helper()
	victim, other := newLimited(b), newLimited(b)
	pinged := newLimited(b)
	arrived, turn := victim.tcp(b, ratelimit.Rx), pinged.pinger(b, 64, 0)
	var goodput, rtt [2][]float64
	lap(arrived, limiterLap)
	for range limiterLaps {
		for i := range goodput {
			stop := func() {}
			if i == 1 {
				stop = other.flood(b, ratelimit.Rx, 20*limitKbps)
			}
			done := make(chan []float64)
			go func() { done <- turn(50) }()
			goodput[i] = append(goodput[i], lap(arrived, limiterLap))
			rtt[i] = append(rtt[i], middle(<-done))
			stop()
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(middle(goodput[1])/middle(goodput[0]), "x_quiet")
	b.ReportMetric(middle(rtt[1])/middle(rtt[0]), "rtt_x_quiet")
	b.ReportMetric(1e3*middle(rtt[1]), "rtt_ms")
}

// control tells what becomes of network control (CS6) in a tunnel that gets twenty times its limit both ways: how many
// full packets of 500 are lost, there or back, and the median time there and back.
func control(b *testing.B) {
	b.Helper()
	l := newLimited(b)
	turn := l.pinger(b, tunnelMTU-28, 0xc0)
	turn(1)
	for _, d := range []ratelimit.Direction{ratelimit.Tx, ratelimit.Rx} {
		defer l.flood(b, d, 20*limitKbps)()
	}
	<-time.After(limiterLap)
	all, lost := turn(500), 0
	for _, s := range all {
		if s >= lostAfter.Seconds() {
			lost++
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(lost), "lost")
	b.ReportMetric(1e3*middle(all), "rtt_ms")
}

// tunnels1000 limits a thousand links of one compartment, both ways, and changes all limits.
func tunnels1000(b *testing.B) {
	const tunnels = 1000
	m := newMachine(b)
	limits := make([]ratelimit.Limit, tunnels)
	for i := range limits {
		limits[i] = ratelimit.Limit{Link: fmt.Sprint("IfCe", i), TxKbps: limitKbps, RxKbps: limitKbps}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = limits[i].Link
		must(b, "add link", m.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}))
	}
	set := func() float64 {
		start := time.Now()
		must(b, "limit", ratelimit.Set(b.Context(), m.Namespace, limits))
		return time.Since(start).Seconds() * 1e3
	}
	before := available(b)
	first := set()
	memory := before - available(b)
	again := set()
	for i := range limits {
		limits[i].TxKbps, limits[i].RxKbps = 2*limitKbps, 2*limitKbps
	}
	changed := set()
	start := time.Now()
	all, err := ratelimit.Stats(m.Namespace)
	stats := time.Since(start)
	if err != nil || len(all) != 2*tunnels {
		b.Fatalf("%d limits stand, %v", len(all), err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(first, "ms_first")
	b.ReportMetric(again, "ms_again")
	b.ReportMetric(changed, "ms_changed")
	b.ReportMetric(stats.Seconds()*1e3, "ms_stats")
	b.ReportMetric(memory/tunnels, "KB/tunnel")
}

// available is the machine's memory that can be had, in KB.
func available(t testing.TB) float64 {
	t.Helper()
	var kb float64
	info, err := os.ReadFile("/proc/meminfo")
	must(t, "read memory", err)
	_, rest, _ := strings.Cut(string(info), "MemAvailable:")
	_, err = fmt.Sscan(rest, &kb)
	must(t, "read memory", err)
	return kb
}
