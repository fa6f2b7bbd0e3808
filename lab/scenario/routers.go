package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/gateway"
	"bulkhead/lab"
)

// The ends of Woodgrove's sessions: the gateway's internal address, the sites' routers in their LANs, and those on the line
// that the sites have of their own.
var (
	newYorkRouter      = netip.MustParseAddr("10.1.0.1")
	sanFranciscoRouter = netip.MustParseAddr("10.2.0.1")
	newYorkEnd         = netip.MustParseAddr("10.3.0.1")
	sanFranciscoEnd    = netip.MustParseAddr("10.3.0.2")
)

// The numbers of Woodgrove's systems.
const gatewayASN, newYorkASN, sanFranciscoASN = 65412, 65413, 65414

// newYork and sanFrancisco are what Woodgrove's routers speak: with the gateway, and with each other, so that each passes on
// what it learned from the other.
func newYork() lab.BGP {
	return lab.BGP{
		ASN: newYorkASN, Identifier: newYorkRouter, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")},
		Neighbours: []lab.Neighbour{
			{Local: newYorkRouter, Address: lab.GatewayCA, ASN: gatewayASN},
			{Local: newYorkEnd, Address: sanFranciscoEnd, ASN: sanFranciscoASN},
		},
	}
}

func sanFrancisco() lab.BGP {
	return lab.BGP{
		ASN: sanFranciscoASN, Identifier: sanFranciscoRouter, Networks: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24")},
		Neighbours: []lab.Neighbour{
			{Local: sanFranciscoRouter, Address: lab.GatewayCA, ASN: gatewayASN},
			{Local: sanFranciscoEnd, Address: newYorkEnd, ASN: newYorkASN},
		},
	}
}

// startRouters connects Woodgrove's sites by a line of their own and has both speak BGP: FRR in New York, BIRD in San
// Francisco.
func (w *World) startRouters(ctx context.Context) error {
	ny, sfo := w.Site(sites[1].name), w.Site(sites[2].name)
	return errors.Join(w.Lab.Connect(ny, sfo), ny.Speak(ctx, lab.StartFRR, newYork()), sfo.Speak(ctx, lab.StartBird, sanFrancisco()))
}

// RouterLogs is the end of what FRR and BIRD have logged.
func (w *World) RouterLogs() string {
	return w.Site(sites[1].name).Speaker.Log() + "\n" + w.Site(sites[2].name).Speaker.Log()
}

// peer is what show bgp peers says of a tenant's peer.
func (w *World) peer(ctx context.Context, tenant, name string) (gateway.BGPPeerRow, error) {
	var rows []gateway.BGPPeerRow
	if err := w.API.Show(ctx, "bgp-peers", &rows); err != nil {
		return gateway.BGPPeerRow{}, err
	}
	i := slices.IndexFunc(rows, func(r gateway.BGPPeerRow) bool { return r.Tenant == tenant && r.Peer == name })
	if i < 0 {
		return gateway.BGPPeerRow{}, fmt.Errorf("show bgp peers has no %s of %s", name, tenant)
	}
	return rows[i], nil
}

// peerIs waits until a peer is as wanted, and tells what it is.
func (w *World) peerIs(ctx context.Context, tenant, name, what string, want func(gateway.BGPPeerRow) bool) (string, error) {
	var line string
	err := eventually(ctx, func() error {
		row, err := w.peer(ctx, tenant, name)
		if err != nil {
			return err
		}
		line = fmt.Sprintf("%s %s %v AS %d: %s by %s, %d received, %d accepted, %d advertised", tenant, name, row.Address, row.ASN,
			row.State, row.Interface, row.Received, row.Accepted, row.Advertised)
		for _, extra := range [][2]string{{"BFD", row.BFD}, {"MD5", row.MD5}, {"last error:", row.LastError}} {
			if extra[1] != "" {
				line += ", " + extra[0] + " " + extra[1]
			}
		}
		if !want(row) {
			return fmt.Errorf("%s; want %s", line, what)
		}
		return nil
	})
	return line, err
}

// established waits until Woodgrove's sessions are up and both sites' networks are known.
func (w *World) established(ctx context.Context) (seen []string, err error) {
	for _, name := range []string{"NY", "SFO"} {
		line, err := w.peerIs(ctx, "Woodgrove", name, "established, with both networks", func(r gateway.BGPPeerRow) bool {
			return r.State == "established" && r.Accepted >= 2 && r.Advertised >= 2
		})
		if err != nil {
			return seen, err
		}
		seen = append(seen, line)
	}
	return seen, nil
}

// converged waits until Woodgrove's sessions are up and packets for either site go straight to it.
func (w *World) converged(ctx context.Context) (seen []string, err error) {
	if seen, err = w.established(ctx); err != nil {
		return seen, err
	}
	for _, s := range sites[1:] {
		if err := eventually(ctx, func() error { return w.goesBy(ctx, s.lan, s.iface) }); err != nil {
			return seen, err
		}
		if err := eventually(ctx, func() error { return w.answers(ctx, s) }); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

// answers is a ping of a site's host by Woodgrove's VM.
func (w *World) answers(ctx context.Context, s site) error {
	_, err := w.VM(s.tenant, vms[0]).Ping(ctx, netip.MustParseAddr(s.lan))
	return err
}

// inWoodgrove runs a command in Woodgrove's compartment.
func (w *World) inWoodgrove(ctx context.Context, name string, args ...string) (string, error) {
	room, err := w.Compartment("Woodgrove")
	if err != nil {
		return "", err
	}
	defer room.NS.Close()
	return room.Run(ctx, name, args...)
}

// goesBy insists that Woodgrove's compartment sends packets for an address by an interface.
func (w *World) goesBy(ctx context.Context, to, iface string) error {
	way, err := w.inWoodgrove(ctx, "ip", "route", "get", to)
	if err == nil && !strings.Contains(way, "dev "+iface+" ") {
		err = fmt.Errorf("packets for %s do not go by %s: %s", to, iface, way)
	}
	return err
}

// routesTo are the routes of Woodgrove's compartment to a prefix, as the kernel has them.
func (w *World) routesTo(ctx context.Context, prefix string) ([]string, error) {
	routes, err := w.inWoodgrove(ctx, "ip", "route", "show", prefix)
	return lines(routes), err
}

// redeclare changes Woodgrove's declaration and applies it; undo puts back what it was.
func (w *World) redeclare(ctx context.Context, changes ...[2]string) (undo func() error, err error) {
	var restores []func() error
	undo = func() error {
		var errs []error
		for _, restore := range slices.Backward(restores) {
			errs = append(errs, restore())
		}
		return errors.Join(append(errs, w.Apply(ctx))...)
	}
	for _, change := range changes {
		restore, err := w.edit("woodgrove.yaml", change[0], change[1])
		if err != nil {
			return undo, err
		}
		restores = append(restores, restore)
	}
	return undo, w.Apply(ctx)
}

// knows waits until a site's router has just this best path to a prefix; "none" is that it has none.
func knows(ctx context.Context, s *lab.Site, prefix, path string) (string, error) {
	var line string
	err := eventually(ctx, func() error {
		best, err := s.Speaker.Best(ctx)
		if err != nil {
			return err
		}
		got, ok := best[netip.MustParsePrefix(prefix)]
		if !ok {
			got = "none"
		}
		if line = fmt.Sprintf("%s: path to %s: %s", s.Name, prefix, got); got != path {
			return fmt.Errorf("%s; want %q", line, path)
		}
		return nil
	})
	return line, err
}
