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

// Routing is all that BGP promises beyond the main job, in a world of its own; later parts build on earlier ones.
func Routing() []Part {
	return []Part{speakers(), byBGP(), speakersLife(), distrust(), families()}
}

func speakers() Part {
	return Part{Title: "A BGP speaker in each compartment", Steps: []Step{
		speakersCall(),
		{"show tells which path won, and why", whyItWon},
		{"FRR and BIRD are told the routes of the virtual network, and no others", advertised},
		{"two tenants with one identifier, one peer address and the same numbers and prefixes do not meet", speakAlike},
	}}
}

// speakersCall is the step that the demo begins Woodgrove's tunnels with.
func speakersCall() Step {
	return Step{
		"the call of Woodgrove's BGP speaker dials IfWe1 and IfWe2; FRR in New York and BIRD in San Francisco tell their networks",
		func(ctx context.Context, w *World) ([]string, error) {
			seen, err := w.converged(ctx)
			for _, s := range sites[1:] {
				if err != nil {
					return seen, err
				}
				var line string
				line, err = w.connected(ctx, s.iface)
				routes, errRoutes := w.routesTo(ctx, netip.PrefixFrom(netip.MustParseAddr(s.lan), 24).Masked().String())
				seen, err = append(append(seen, line), routes...), errors.Join(err, errRoutes)
			}
			return seen, err
		},
	}
}

// paths are what show bgp routes says of a prefix of Woodgrove's.
func (w *World) paths(ctx context.Context, prefix string) ([]gateway.BGPRouteRow, error) {
	var rows []gateway.BGPRouteRow
	if err := w.API.Show(ctx, "bgp-routes", &rows); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(rows, func(r gateway.BGPRouteRow) bool {
		return r.Tenant != "Woodgrove" || r.Prefix != netip.MustParsePrefix(prefix)
	}), nil
}

func whyItWon(ctx context.Context, w *World) (seen []string, err error) {
	err = eventually(ctx, func() error {
		rows, err := w.paths(ctx, "10.1.0.0/24")
		if err != nil {
			return err
		}
		seen = nil
		found := map[string]gateway.BGPRouteRow{}
		for _, r := range rows {
			found[r.Peer] = r
			seen = append(seen, fmt.Sprintf("%v by %s, path %s, %v: %s: %s", r.Prefix, r.Peer, strings.Join(r.ASPath, " "),
				r.Interfaces, r.State, r.Why))
		}
		direct, around := found["NY"], found["SFO"]
		if !strings.Contains(direct.State, "used") || strings.Contains(around.State, "used") ||
			!slices.Equal(around.ASPath, []string{"65414", "65413"}) || !strings.Contains(direct.Why+around.Why, "path") {
			return fmt.Errorf("the shorter path did not win, or not by that:\n%s", strings.Join(seen, "\n"))
		}
		return nil
	})
	return seen, err
}

// advertised insists that each router has the virtual network by the gateway, and nothing that a peer told it (no transit).
func advertised(ctx context.Context, w *World) (seen []string, err error) {
	for _, s := range sites[1:] {
		for _, prefix := range []string{"10.0.0.0/24", "10.0.254.0/24"} {
			line, err := knows(ctx, w.Site(s.name), prefix, "65412")
			if err != nil {
				return seen, err
			}
			seen = append(seen, line)
		}
	}
	var rows []gateway.BGPAdvertisedRow
	if err := w.API.Show(ctx, "bgp-advertised", &rows); err != nil {
		return seen, err
	}
	for _, r := range rows {
		if !netip.MustParsePrefix("10.0.0.0/16").Contains(r.Prefix.Addr()) {
			err = errors.Join(err, fmt.Errorf("%s %s is told of %v", r.Tenant, r.Peer, r.Prefix))
		}
	}
	return seen, err
}

// What makes Contoso speak as Woodgrove does: everything but the peer's name is the same.
var contosoSpeaks = [][2]string{
	{`subnets: ["10.1.0.0/24:100"]`, `subnets: ["10.1.0.1/32:100"]`},
	{"  remoteAccess:\n", `  bgp:
    identifier: 10.0.254.2
    asn: 65412
    peers:
      - {name: NY, localAddress: 10.0.254.2, address: 10.1.0.1, asn: 65413}
    customRoutes:
      - {interface: IfCi1}
  remoteAccess:
`},
	{`- "10.1.0.0/24:10.0.0.0/24:any"`, `- "10.1.0.0/24:10.0.0.0/16:any"`},
}

// speakAlike gives Contoso's New York a BIRD that is all that Woodgrove's FRR there is, and takes it away again.
func speakAlike(ctx context.Context, w *World) (seen []string, err error) {
	s := w.Site(sites[0].name)
	alike := newYork()
	alike.Neighbours = alike.Neighbours[:1]
	if err := s.Speak(ctx, lab.StartBird, alike); err != nil {
		return nil, err
	}
	before, err := w.lives(ctx)
	if err != nil {
		return nil, err
	}
	var restores []func() error
	for _, change := range contosoSpeaks {
		restore, err := w.edit("contoso.yaml", change[0], change[1])
		if err != nil {
			return nil, err
		}
		restores = append(restores, restore)
	}
	if err := w.Apply(ctx); err != nil {
		return nil, err
	}
	line, err := w.peerIs(ctx, "Contoso", "NY", "established", func(r gateway.BGPPeerRow) bool {
		return r.State == "established" && r.Accepted == 1
	})
	if err != nil {
		return nil, err
	}
	seen = append(seen, line)
	for _, x := range sites[:2] {
		more, err := talk(ctx, w, x)
		if seen = append(seen, more...); err != nil {
			return seen, err
		}
	}
	for _, restore := range slices.Backward(restores) {
		err = errors.Join(err, restore())
	}
	if err := errors.Join(err, w.Apply(ctx), s.Silence()); err != nil {
		return seen, err
	}
	if _, err := talk(ctx, w, sites[0]); err != nil {
		return seen, err
	}
	return append(seen, "Woodgrove's sessions are what they were while Contoso's came and went"), w.sameLives(ctx, before)
}
