package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// The subnets of Woodgrove's interfaces as the lab declares them, and with the metrics of the book's example.
var bookMetrics = [][2]string{
	{`"10.1.0.0/24:100"]`, `"10.1.0.0/24:100", "10.2.0.0/24:200"]`},
	{`"10.2.0.0/24:100"]`, `"10.2.0.0/24:100", "10.1.0.0/24:200"]`},
}

func failover() Part {
	return Part{Title: "New York and San Francisco stand in for each other by metric, with no one's help", Steps: []Step{
		{"each site's prefix has a second route by the other site, at a higher metric; the lower one counts", declareMetrics},
		{"New York is cut off: its interface is unreachable, and its traffic goes by San Francisco", cutNewYork},
		{"New York is back: its traffic goes straight to it again", mendNewYork},
	}}
}

// declareMetrics connects the two sites by a line of their own and declares the book's metrics.
func declareMetrics(ctx context.Context, w *World) ([]string, error) {
	ny, sfo := sites[1], sites[2]
	if err := w.Lab.Join(w.Site(ny.name), w.Site(sfo.name)); err != nil {
		return nil, err
	}
	for _, change := range bookMetrics {
		if _, err := w.edit("woodgrove.yaml", change[0], change[1]); err != nil {
			return nil, err
		}
	}
	if err := w.Apply(ctx); err != nil {
		return nil, err
	}
	for _, s := range []site{ny, sfo} {
		if _, err := talk(ctx, w, s); err != nil {
			return nil, err
		}
	}
	return w.ways(ctx, ny.iface)
}

// ways insists that the compartment sends packets for New York by an interface, and shows its routes there.
func (w *World) ways(ctx context.Context, iface string) ([]string, error) {
	room, err := w.Compartment("Woodgrove")
	if err != nil {
		return nil, err
	}
	defer room.NS.Close()
	routes, err := room.Run(ctx, "ip", "route", "show", "10.1.0.0/24")
	if err != nil {
		return nil, err
	}
	seen := lines(routes)
	way, err := room.Run(ctx, "ip", "route", "get", sites[1].lan)
	if err == nil && !strings.Contains(way, "dev "+iface+" ") {
		err = fmt.Errorf("packets for %s do not go by %s: %s", sites[1].lan, iface, way)
	}
	return seen, err
}

func cutNewYork(ctx context.Context, w *World) ([]string, error) {
	ny := sites[1]
	flow, err := w.VM(ny.tenant, vms[0]).StartFlow(ctx, netip.AddrPortFrom(netip.MustParseAddr(ny.lan), echoPort), 20)
	if err != nil {
		return nil, err
	}
	defer flow.Stop()
	if err := w.Site(ny.name).Cut(); err != nil {
		return nil, err
	}
	cut := time.Now()
	line, err := w.is(ctx, ny.iface, "unreachable")
	if err != nil {
		return nil, err
	}
	if err := eventually(ctx, func() error { return flow.AwaitReplies(ctx, 10) }); err != nil {
		return []string{line}, err
	}
	over := fmt.Sprintf("%.0f s after the cut packets reach %s again, by %s", time.Since(cut).Seconds(), ny.lan, sites[2].iface)
	seen, err := w.ways(ctx, sites[2].iface)
	seen = append([]string{line, over}, seen...)
	if err != nil {
		return seen, err
	}
	hops, err := w.VM(ny.tenant, vms[0]).Trace(ctx, netip.MustParseAddr(ny.lan))
	return append(seen, fmt.Sprintf("traceroute: %v", hops)), err
}

// is waits until show tunnels says that an interface is in a state, and tells why it says so.
func (w *World) is(ctx context.Context, iface, state string) (string, error) {
	var line string
	err := eventually(ctx, func() error {
		row, err := w.tunnel(ctx, iface)
		if err != nil {
			return err
		}
		line = fmt.Sprintf("%s %s is %s", row.Tenant, iface, row.State)
		if row.LastError != "" {
			line += "; last error: " + row.LastError
		}
		if row.State != state {
			return fmt.Errorf("%s, want %s", line, state)
		}
		return nil
	})
	return line, err
}

// mendNewYork waits for the return, which the gateway's back-off decides, and leaves everything as it was before.
func mendNewYork(ctx context.Context, w *World) ([]string, error) {
	ny := sites[1]
	to := netip.AddrPortFrom(netip.MustParseAddr(ny.lan), echoPort)
	flow, err := w.VM(ny.tenant, vms[0]).StartFlow(ctx, to, 20)
	if err != nil {
		return nil, err
	}
	mended := time.Now()
	if err := w.Site(ny.name).Mend(); err != nil {
		return nil, err
	}
	// The wait between two dials is a minute at most, and one may just be under way.
	seen, err := w.backBy(ctx, ny.iface, mended.Add(2*patience))
	result := flow.Stop()
	if err == nil {
		_, err = talk(ctx, w, ny)
	}
	seen = append(seen, fmt.Sprintf("%.0f s after its return; meanwhile %v", time.Since(mended).Seconds(), result))
	for _, change := range bookMetrics {
		_, undo := w.edit("woodgrove.yaml", change[1], change[0])
		err = errors.Join(err, undo)
	}
	return seen, errors.Join(err, w.Apply(ctx))
}

func (w *World) backBy(ctx context.Context, iface string, deadline time.Time) ([]string, error) {
	for {
		seen, err := w.ways(ctx, iface)
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return seen, err
		}
	}
}
