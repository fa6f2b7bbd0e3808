package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// twoWays are two of Litware's sites that have a line of their own: the first is cut off, the second stands in for it.
func twoWays() [2]way { return [2]way{dialled(), certified()} }

// subnetsOf is how the declaration names a site's prefix, and with the other one's at a higher metric.
func subnetsOf(x, other way) [2]string {
	own := fmt.Sprintf(`"%v:100"]`, x.options.LAN.Masked())
	return [2]string{own, strings.TrimSuffix(own, "]") + fmt.Sprintf(`, "%v:200"]`, other.options.LAN.Masked())}
}

func failover() Part {
	return Part{Title: "Two sites stand in for each other by metric, with no one's help", Steps: []Step{
		{"each site's prefix has a second route by the other site, at a higher metric; the lower one counts", declareMetrics},
		{"one is cut off: its interface is unreachable, and its traffic goes by the other", cutOff},
		{"it is back: its traffic goes straight to it again", mendIt},
	}}
}

// declareMetrics connects the two sites by a line of their own and declares the metrics.
func declareMetrics(ctx context.Context, w *World) ([]string, error) {
	x := twoWays()
	if err := w.Lab.Join(w.Site(x[0].name), w.Site(x[1].name)); err != nil {
		return nil, err
	}
	for i := range x {
		change := subnetsOf(x[i], x[1-i])
		if _, err := w.edit("litware.yaml", change[0], change[1]); err != nil {
			return nil, err
		}
	}
	if err := w.Apply(ctx); err != nil {
		return nil, err
	}
	for i := range x {
		if _, err := talk(ctx, w, x[i].site); err != nil {
			return nil, err
		}
	}
	return w.ways(ctx, x[0], x[0].iface)
}

// ways insists that the compartment sends packets for a site by an interface, and shows its routes there.
func (w *World) ways(ctx context.Context, to way, iface string) ([]string, error) {
	room, err := w.Compartment(to.tenant)
	if err != nil {
		return nil, err
	}
	defer room.NS.Close()
	routes, err := room.Run(ctx, "ip", "route", "show", to.options.LAN.Masked().String())
	if err != nil {
		return nil, err
	}
	seen := lines(routes)
	way, err := room.Run(ctx, "ip", "route", "get", to.lan)
	if err == nil && !strings.Contains(way, "dev "+iface+" ") {
		err = fmt.Errorf("packets for %s do not go by %s: %s", to.lan, iface, way)
	}
	return seen, err
}

func cutOff(ctx context.Context, w *World) ([]string, error) {
	x := twoWays()
	flow, err := w.litwareVM().StartFlow(ctx, netip.AddrPortFrom(netip.MustParseAddr(x[0].lan), echoPort), 20)
	if err != nil {
		return nil, err
	}
	defer flow.Stop()
	if err := w.Site(x[0].name).Cut(); err != nil {
		return nil, err
	}
	cut := time.Now()
	line, err := w.is(ctx, x[0].iface, "unreachable")
	if err != nil {
		return nil, err
	}
	if err := eventually(ctx, func() error { return flow.AwaitReplies(ctx, 10) }); err != nil {
		return []string{line}, err
	}
	over := fmt.Sprintf("%.0f s after the cut packets reach %s again, by %s", time.Since(cut).Seconds(), x[0].lan, x[1].iface)
	seen, err := w.ways(ctx, x[0], x[1].iface)
	seen = append([]string{line, over}, seen...)
	if err != nil {
		return seen, err
	}
	hops, err := w.litwareVM().Trace(ctx, netip.MustParseAddr(x[0].lan))
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

// mendIt waits for the return, which the gateway's back-off decides, and leaves everything as it was before.
func mendIt(ctx context.Context, w *World) ([]string, error) {
	x := twoWays()
	to := netip.AddrPortFrom(netip.MustParseAddr(x[0].lan), echoPort)
	flow, err := w.litwareVM().StartFlow(ctx, to, 20)
	if err != nil {
		return nil, err
	}
	mended := time.Now()
	if err := w.Site(x[0].name).Mend(); err != nil {
		return nil, err
	}
	// The wait between two dials is a minute at most, and one may just be under way.
	seen, err := w.backBy(ctx, x[0], mended.Add(2*patience))
	result := flow.Stop()
	if err == nil {
		_, err = talk(ctx, w, x[0].site)
	}
	seen = append(seen, fmt.Sprintf("%.0f s after its return; meanwhile %v", time.Since(mended).Seconds(), result))
	for i := range x {
		change := subnetsOf(x[i], x[1-i])
		_, undo := w.edit("litware.yaml", change[1], change[0])
		err = errors.Join(err, undo)
	}
	return seen, errors.Join(err, w.Apply(ctx))
}

func (w *World) backBy(ctx context.Context, to way, deadline time.Time) ([]string, error) {
	for {
		seen, err := w.ways(ctx, to, to.iface)
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return seen, err
		}
	}
}
