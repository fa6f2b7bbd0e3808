package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"bulkhead/lab"
)

// silent is an interface whose site nobody runs: at its address there is no machine.
const silent = `    - name: IfLx1
      destination: 60.10.10.99
      authentication: {method: PSK, sharedSecret: {value: a key}}
      subnets: ["10.59.0.0/24:100"]
`

const silentHost = "10.59.0.5"

func life() Part {
	return Part{Title: "The life of an interface", Steps: []Step{
		{"the packet that dials is held and delivered", heldPacket},
		{"only once a site is known to be unreachable is a packet for it answered so", answerUnreachable},
		{"a post-connection subnet is routed only while its interface is connected", postConnection},
		{"tunnel reset dials anew", resetTunnel},
		{"tunnel disable keeps both ends from dialling, also after a restart, until it is enabled", disableTunnel},
		{"a tunnel that nobody uses goes, and comes back with the next packet", idleTunnel},
	}}
}

// operate runs `bulkhead tunnel`.
func (w *World) operate(ctx context.Context, verb, iface string) (string, error) {
	said, err := w.bulkhead(ctx, "tunnel", verb, iface)
	return fmt.Sprintf("bulkhead tunnel %s %s: %s", verb, iface, strings.TrimSpace(said)), err
}

func heldPacket(ctx context.Context, w *World) ([]string, error) {
	x := dialled()
	did, err := w.operate(ctx, "disconnect", x.iface)
	if err != nil {
		return nil, err
	}
	before, err := w.is(ctx, x.iface, "disconnected")
	if err != nil {
		return nil, err
	}
	start := time.Now()
	reply, err := reach(ctx, w.litwareVM(), x.lan, siteIdentity(x.site))
	took := time.Since(start).Round(time.Millisecond)
	return []string{did, before, fmt.Sprintf("a TCP connect and an answer, the dial included: %v, %q", took, reply.Content)}, err
}

func answerUnreachable(ctx context.Context, w *World) ([]string, error) {
	to := netip.MustParseAddr(silentHost)
	asks := func() (*lab.Unreachable, error) {
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := w.litwareVM().Ping(short, to)
		var refused *lab.Unreachable
		if err == nil {
			return nil, errors.New("somebody answered")
		}
		errors.As(err, &refused)
		return refused, nil
	}
	if early, err := asks(); err != nil || early != nil {
		return nil, errors.Join(err, fmt.Errorf("while it is dialled: %w", early))
	}
	line, err := w.is(ctx, "IfLx1", "unreachable")
	if err != nil {
		return nil, err
	}
	late, err := asks()
	if err == nil && late == nil {
		err = errors.New("the sender is not told")
	}
	return []string{line, fmt.Sprintf("now: %v", late)}, err
}

// routed tells whether the compartment of Litware has a route to a prefix by an interface.
func (w *World) routedBy(ctx context.Context, prefix, iface string) (bool, error) {
	room, err := w.Compartment("Litware")
	if err != nil {
		return false, err
	}
	defer room.NS.Close()
	routes, err := room.Run(ctx, "ip", "route", "show", prefix)
	return strings.Contains(routes, "dev "+iface+" "), err
}

func postConnection(ctx context.Context, w *World) ([]string, error) {
	x := user()
	const prefix = "10.152.0.0/24"
	await := func(want bool) error {
		return eventually(ctx, func() error {
			got, err := w.routedBy(ctx, prefix, x.iface)
			if err == nil && got != want {
				err = fmt.Errorf("%s by %s: %t, want %t", prefix, x.iface, got, want)
			}
			return err
		})
	}
	if err := await(true); err != nil {
		return nil, err
	}
	did, err := w.operate(ctx, "disconnect", x.iface)
	if err == nil {
		err = await(false)
	}
	if err != nil {
		return []string{did}, err
	}
	if _, err = w.arrives(ctx, x); err == nil {
		err = await(true)
	}
	return []string{did, prefix + " has a route before and after, and none meanwhile"}, err
}

func resetTunnel(ctx context.Context, w *World) ([]string, error) {
	x := dialled()
	before, err := w.connected(ctx, x.iface)
	if err != nil {
		return nil, err
	}
	var did string
	line, err := w.sameSPIs(ctx, func() (err error) { did, err = w.operate(ctx, "reset", x.iface); return err }, "Litware "+x.iface)
	if err != nil {
		return []string{did, line}, err
	}
	after, err := w.connected(ctx, x.iface)
	if err == nil && before == after {
		err = errors.New("the SPIs are the old ones")
	}
	return []string{did, before, after, line}, err
}

func disableTunnel(ctx context.Context, w *World) ([]string, error) {
	x := certified()
	did, err := w.operate(ctx, "disable", x.iface)
	if err != nil {
		return nil, err
	}
	seen := []string{did}
	if err := errors.Join(w.StopDaemon(ctx), w.StartDaemon(ctx)); err != nil {
		return seen, err
	}
	line, err := w.is(ctx, x.iface, "disabled")
	if err != nil {
		return seen, err
	}
	seen = append(seen, line+", after a restart of the daemon")
	if w.Site(x.name).Up(ctx) == nil {
		return seen, errors.New("the site came up")
	}
	if did, err = w.operate(ctx, "enable", x.iface); err == nil {
		_, err = w.arrives(ctx, x)
	}
	return append(seen, did), err
}

func idleTunnel(ctx context.Context, w *World) ([]string, error) {
	x := six()
	line, err := w.is(ctx, x.iface, "disconnected")
	if err != nil {
		return nil, err
	}
	now, err := w.arrives(ctx, x)
	return append([]string{line}, now...), err
}
