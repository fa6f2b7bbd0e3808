//go:build scale

package scale_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/strongswan/govici/vici"

	"bulkhead/vpn"
)

const (
	setups      = 40 // tunnels in a round
	setupRounds = 15
	setupLimit  = 2 * time.Minute
)

// BenchmarkTunnelSetup compares how fast tunnels come up when the Manager dials them with how fast charon alone is, told
// to dial all of them at once by a session that does nothing else (x_charon). The two are alike, with the same
// connections loaded, and their rounds alternate.
func BenchmarkTunnelSetup(b *testing.B) {
	for b.Loop() {
		with, alone := newCrowd(b, setups), newCrowd(b, setups)
		_, _, leave := alone.load()
		leave()
		m, seen, _ := with.load()
		var managed, bare, ratio []float64
		for round := range setupRounds + 1 {
			byManager := setups / with.setUpByManager(m, seen).Seconds()
			with.hangUp()
			seen.awaitStanding(b, 0, setupLimit)
			byCharon := setups / alone.setUpBare().Seconds()
			alone.hangUp()
			if round == 0 {
				continue // the kernel's modules, and what else comes but once
			}
			managed, bare, ratio = append(managed, byManager), append(bare, byCharon), append(ratio, byManager/byCharon)
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(median(managed), "tunnels/s")
		b.ReportMetric(median(ratio), "x_charon")
		b.Logf("by the Manager %.1f", managed)
		b.Logf("by charon      %.1f", bare)
	}
}

// load runs a Manager that has all connections loaded and dials none by itself.
func (c *crowd) load() (*vpn.Manager, *events, func()) {
	c.t.Helper()
	m, seen, stop := c.manager()
	for tenant, want := range c.declare(vpn.Never) {
		must(c.t, m.Set(c.t.Context(), tenant, want))
	}
	return m, seen, stop
}

func (c *crowd) setUpByManager(m *vpn.Manager, seen *events) time.Duration {
	c.t.Helper()
	began := time.Now()
	var dialling sync.WaitGroup
	for n := range c.n {
		dialling.Go(func() {
			if err := m.Connect(c.t.Context(), tenant(n), iface(n)); err != nil {
				c.t.Error(err)
			}
		})
	}
	dialling.Wait()
	took := time.Since(began)
	seen.awaitStanding(c.t, c.n, setupLimit)
	return took
}

// setUpBare has charon dial everything and waits for its events.
func (c *crowd) setUpBare() time.Duration {
	c.t.Helper()
	listener, err := vici.NewSession(vici.WithSocketPath(c.charon.Socket))
	must(c.t, err)
	defer func() { _ = listener.Close() }()
	ups := make(chan vici.Event, 4*c.n)
	listener.NotifyEvents(ups)
	must(c.t, listener.Subscribe("child-updown"))
	session, err := vici.NewSession(vici.WithSocketPath(c.charon.Socket))
	must(c.t, err)
	defer func() { _ = session.Close() }()
	began := time.Now()
	for n := range c.n {
		_, err := session.Call(c.t.Context(), "initiate",
			message(c.t, fields{"ike": tenant(n) + "/" + iface(n), "child": iface(n), "timeout": "-1"}))
		must(c.t, err)
	}
	limit := time.After(setupLimit)
	for up := 0; up < c.n; {
		select {
		case ev := <-ups:
			if ev.Message.Get("up") == "yes" {
				up++
			}
		case <-limit:
			c.t.Fatalf("by charon alone %d tunnels of %d came up in %v", up, c.n, setupLimit)
		}
	}
	return time.Since(began)
}

// hangUp ends all SAs of the gateway and waits until both ends have none.
func (c *crowd) hangUp() {
	c.t.Helper()
	session, err := vici.NewSession(vici.WithSocketPath(c.charon.Socket))
	must(c.t, err)
	defer func() { _ = session.Close() }()
	for n := range c.n {
		_, err := session.Call(c.t.Context(), "terminate",
			message(c.t, fields{"ike": tenant(n) + "/" + iface(n), "timeout": "-1"}))
		must(c.t, err)
	}
	for deadline := time.Now().Add(setupLimit); ; {
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
		out, err := session.Call(ctx, "stats", nil)
		cancel()
		must(c.t, err)
		if sas, ok := out.Get("ikesas").(*vici.Message); ok && sas.Get("total") == "0" {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("SAs do not end: %v", out)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
