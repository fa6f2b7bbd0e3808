package scenario

import (
	"context"
	"fmt"
	"net/netip"

	"bulkhead/configs"
)

func limits() Part {
	return Part{Title: "Rate limits", Steps: []Step{
		{"every tunnel has 5120 kbit/s each way where nothing is declared", defaultLimit},
		{"a limit changes under load without touching a tunnel, and counts at once", changeLimit},
		{"a limit is there again when its tunnel comes up again", limitStays},
	}}
}

// limitIs insists on the limit that show tunnels tells of an interface.
func (w *World) limitIs(ctx context.Context, iface, want string) (string, error) {
	row, err := w.tunnel(ctx, iface)
	if err == nil && row.Limit != want {
		err = fmt.Errorf("%s has the limit %q, want %q", iface, row.Limit, want)
	}
	return fmt.Sprintf("%s: %s kbit/s", iface, row.Limit), err
}

func defaultLimit(ctx context.Context, w *World) ([]string, error) {
	line, err := w.limitIs(ctx, "IfLc1", fmt.Sprintf("%d/%d", configs.DefaultKbps, configs.DefaultKbps))
	return []string{line}, err
}

// A limit that is a tenth of the usual one, as it is declared.
const (
	slow         = 512
	slowDeclared = "bandwidth: {txKbps: 512, rxKbps: 512}"
)

func changeLimit(ctx context.Context, w *World) (seen []string, err error) {
	x := certified()
	sink, err := w.SiteHost(x.name).ServeSink(sinkPort)
	if err != nil {
		return nil, err
	}
	load, err := w.litwareVM().Push(ctx, netip.AddrPortFrom(netip.MustParseAddr(x.lan), sinkPort))
	if err != nil {
		return nil, err
	}
	defer load.Stop()
	fast, err := rate(ctx, sink, configs.DefaultKbps)
	if err != nil {
		return nil, err
	}
	line, err := w.sameSPIs(ctx, func() error { _, err := w.declare(ctx, x.iface, slowDeclared); return err })
	if err != nil {
		return nil, err
	}
	var less float64
	err = eventually(ctx, func() error { // what was queued at the old rate still comes
		if less, err = rate(ctx, sink, slow); err == nil && (fast > configs.DefaultKbps || less > slow) {
			err = fmt.Errorf("more than the limit passes: %.0f kbit/s, then %.0f", fast, less)
		}
		return err
	})
	return []string{fmt.Sprintf("TCP: %.0f kbit/s at %d, %.0f at %d", fast, configs.DefaultKbps, less, slow), line}, err
}

func limitStays(ctx context.Context, w *World) ([]string, error) {
	x := certified()
	if err := w.Site(x.name).Down(ctx); err != nil {
		return nil, err
	}
	// What is in the queue still goes out first.
	if err := eventually(ctx, func() error { _, err := w.arrives(ctx, x); return err }); err != nil {
		return nil, err
	}
	line, err := w.limitIs(ctx, x.iface, fmt.Sprintf("%d/%d", slow, slow))
	return []string{line}, err
}
