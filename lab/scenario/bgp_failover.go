package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"bulkhead/gateway"
	"bulkhead/lab"
)

// bfdInterval of the watches, three of which may pass in silence.
const bfdInterval = 200 * time.Millisecond

// What New York is declared to be besides.
const (
	watched = "bfd: {transmit: 200ms, receive: 200ms, multiplier: 3}"
	// hasty is the shortest hold time there is: with a longer one the cut lasts so long that one end's charon may give its SA
	// up just when the line is mended, and that is not what is measured.
	hasty = "holdTime: 3s"
)

// byBGP is the demo's part and, with the hold timer, that of the tests.
func byBGP() Part {
	part := standIn()
	part.Steps = append(part.Steps, Step{
		"without a watch the hold time counts, as declared: 3 s", func(ctx context.Context, w *World) ([]string, error) {
			return cutUnnoticed(ctx, w, hasty, func(n *lab.Neighbour) { n.Hold = 3 * time.Second }, 5*time.Second)
		},
	})
	return part
}

// standIn is the book's example of two sites with a line of their own.
func standIn() Part {
	return Part{Title: "New York and San Francisco stand in for each other by BGP", Steps: []Step{
		{"New York takes its tunnel down: its traffic goes by San Francisco in less than a second, and returns", tunnelTaken},
		{"New York's line is cut, which BFD notices: the same", func(ctx context.Context, w *World) ([]string, error) {
			return cutUnnoticed(ctx, w, watched, func(n *lab.Neighbour) { n.BFD = bfdInterval }, time.Second)
		}},
	}}
}

// Rates of flows in packets per second: those that fail-over is measured by, and those that may lose none, which an emulated
// machine has to keep up with while it starts programs.
const packetRate, calmRate = 1000, 200

// disturbed runs a flow from Woodgrove's VM to the host in New York, and tells what it lost by what is done and waited for.
func (w *World) disturbed(ctx context.Context, rate int, do func() error) (lab.FlowResult, error) {
	ny := sites[1]
	flow, err := w.VM(ny.tenant, vms[0]).StartFlow(ctx, netip.AddrPortFrom(netip.MustParseAddr(ny.lan), echoPort), rate)
	if err != nil {
		return lab.FlowResult{}, err
	}
	err = errors.Join(flow.AwaitReplies(ctx, rate/2), do())
	if err == nil {
		err = eventually(ctx, func() error { return flow.AwaitReplies(ctx, rate/2) })
	}
	return flow.Stop(), err
}

// measured insists that what is done costs a flow less than so much.
func (w *World) measured(ctx context.Context, most time.Duration, what string, seen *[]string, do func() error) error {
	result, err := w.disturbed(ctx, packetRate, do)
	*seen = append(*seen, fmt.Sprintf("%s: %v", what, result))
	if limit := int(most.Seconds() * packetRate); err == nil && result.Lost >= limit {
		err = fmt.Errorf("%s: %d packets lost, want fewer than %d; from %v to %v", what, result.Lost, limit, result.FirstLost,
			result.LastLost)
	}
	return err
}

// around waits until packets for New York go by San Francisco, and shows the way.
func (w *World) around(ctx context.Context) ([]string, error) {
	ny := sites[1]
	if err := eventually(ctx, func() error { return w.goesBy(ctx, ny.lan, sites[2].iface) }); err != nil {
		return nil, err
	}
	seen, err := w.routesTo(ctx, "10.1.0.0/24")
	if err != nil {
		return seen, err
	}
	hops, err := w.VM(ny.tenant, vms[0]).Trace(ctx, netip.MustParseAddr(ny.lan))
	return append(seen, fmt.Sprintf("traceroute: %v", hops)), err
}

// straight waits until packets for New York go there again.
func (w *World) straight(ctx context.Context) error {
	if _, err := w.established(ctx); err != nil {
		return err
	}
	return eventually(ctx, func() error { return w.goesBy(ctx, sites[1].lan, sites[1].iface) })
}

func tunnelTaken(ctx context.Context, w *World) (seen []string, err error) {
	ny := w.Site(sites[1].name)
	err = w.measured(ctx, time.Second, "gone", &seen, func() error {
		if err := ny.Leave(); err != nil {
			return err
		}
		more, err := w.around(ctx)
		seen = append(seen, more...)
		return err
	})
	again := func() error { return errors.Join(ny.Return(ctx), w.straight(ctx)) }
	if err != nil {
		return seen, errors.Join(err, again())
	}
	return seen, w.measured(ctx, time.Second, "back", &seen, again)
}

// cutUnnoticed has both ends declare how they notice a loss, cuts New York off without a word, and mends it again.
func cutUnnoticed(ctx context.Context, w *World, declared string, router func(*lab.Neighbour), most time.Duration) (seen []string, err error) {
	err = w.withPeer(ctx, declared, router, func(speaks lab.BGP) error {
		hold := int64(speaks.Neighbours[0].Hold.Seconds())
		line, err := w.peerIs(ctx, "Woodgrove", "NY", "established, and watched as declared", func(r gateway.BGPPeerRow) bool {
			return r.State == "established" && r.Accepted > 0 && (r.BFD == "up" || hold > 0 && r.HoldTimeSeconds == hold)
		})
		seen = append(seen, line)
		if err == nil {
			_, err = w.converged(ctx)
		}
		if err != nil {
			return err
		}
		err = w.measured(ctx, most, "gone", &seen, func() error {
			if err := w.Site(sites[1].name).CutUnnoticed(); err != nil {
				return err
			}
			more, err := w.around(ctx)
			seen = append(seen, more...)
			return err
		})
		mend := func() error { return errors.Join(w.Site(sites[1].name).Mend(), w.straight(ctx)) }
		if err != nil {
			return errors.Join(err, mend())
		}
		return w.measured(ctx, time.Second, "back", &seen, mend)
	})
	return seen, err
}
