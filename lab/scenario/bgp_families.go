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

func families() Part {
	return Part{Title: "Reflection, several paths, IPv6", Steps: []Step{
		{"a prefix that both sites tell is reached by both at the same time where that is declared (ECMP)", bothWays},
		{"with transit each site is told what the other one tells, with the whole path", transit},
		{"sites of the tenant's own system are told of each other by the route reflector", reflected},
		{"IPv6 prefixes come over a session of IPv4 as over one of IPv6", sixth},
	}}
}

// shared is a prefix that both sites have.
var shared = netip.MustParsePrefix("10.77.0.0/24")

// tellShared has both sites announce it.
func (w *World) tellShared(ctx context.Context) error {
	ny := newYork()
	ny.Networks = append(ny.Networks, shared)
	return errors.Join(w.Site(sites[1].name).Speaker.Load(ctx, ny), w.tell(ctx, shared))
}

// tellUsual has both announce what they always do.
func (w *World) tellUsual(ctx context.Context) error {
	return errors.Join(w.Site(sites[1].name).Speaker.Load(ctx, newYork()), w.tell(ctx))
}

func bothWays(ctx context.Context, w *World) (seen []string, err error) {
	undo, err := w.redeclare(ctx, [2]string{"    asn: 65412\n", "    asn: 65412\n    maximumPaths: 2\n"})
	if err != nil {
		return nil, err
	}
	if err := w.tellShared(ctx); err != nil {
		return nil, err
	}
	err = eventually(ctx, func() error {
		if seen, err = w.routesTo(ctx, shared.String()); err != nil {
			return err
		}
		if text := strings.Join(seen, "\n"); !strings.Contains(text, sites[1].iface) || !strings.Contains(text, sites[2].iface) {
			return fmt.Errorf("not by both: %s", text)
		}
		return nil
	})
	return seen, errors.Join(err, w.tellUsual(ctx), undo())
}

func transit(ctx context.Context, w *World) (seen []string, err error) {
	undo, err := w.redeclare(ctx, [2]string{"    asn: 65412\n", "    asn: 65412\n    transitRouting: true\n"})
	if err != nil {
		return nil, err
	}
	// A prefix that New York does not tell San Francisco by their own line: over there the gateway's path is the only one.
	told := netip.MustParsePrefix("10.78.0.0/24")
	alone := newYork()
	alone.Networks, alone.Neighbours = append(alone.Networks, told), alone.Neighbours[:1]
	if err := w.Site(sites[1].name).Speaker.Load(ctx, alone); err != nil {
		return nil, err
	}
	for prefix, path := range map[string]string{told.String(): "65412 65413", "10.1.0.0/24": "65412 65413"} {
		line, errKnows := knows(ctx, w.Site(sites[2].name), prefix, path)
		seen, err = append(seen, line), errors.Join(err, errKnows)
	}
	return seen, errors.Join(err, w.tellUsual(ctx), undo())
}

// reflected makes both sites of the gateway's system, clients of its reflector.
func reflected(ctx context.Context, w *World) (seen []string, err error) {
	const client = "asn: 65412, routeReflectorClient: true,"
	undo, err := w.redeclare(ctx, [2]string{"asn: 65413,", client}, [2]string{"asn: 65414,", client})
	if err != nil {
		return nil, err
	}
	for name, speaks := range map[string]lab.BGP{sites[1].name: newYork(), sites[2].name: sanFrancisco()} {
		speaks.ASN, speaks.Neighbours = gatewayASN, speaks.Neighbours[:1]
		err = errors.Join(err, w.Site(name).Speaker.Load(ctx, speaks))
	}
	if err != nil {
		return nil, err
	}
	for i, prefix := range []string{"10.2.0.0/24", "10.1.0.0/24"} {
		line, errKnows := knows(ctx, w.Site(sites[1+i].name), prefix, "")
		seen, err = append(seen, line+"(inside the system)"), errors.Join(err, errKnows)
	}
	return seen, errors.Join(err, undo(), w.tellUsual(ctx))
}

// What gives Woodgrove IPv6: an address of the gateway's, New York's router by its other address, and both ways to tell of it.
var speakSix = [][2]string{
	{"  virtualSubnets:\n", "  dualStack: true\n  virtualSubnets:\n"},
	{"    - {vsid: 6002, prefix: 10.0.254.0/24}\n",
		"    - {vsid: 6002, prefix: 10.0.254.0/24}\n    - {vsid: 6012, prefix: \"fd00:0:0:fe::/64\"}\n"},
	{"  lookupRecords:\n", "    - {name: IfWi2, vsid: 6012, addresses: [\"fd00:0:0:fe::2/64\"]}\n  lookupRecords:\n"},
	{`subnets: ["10.1.0.1/32:100"]`, `subnets: ["10.1.0.1/32:100", "fd00:1::1/128:100"]`},
	{"asn: 65413,", "asn: 65413, addressFamilies: [ipv4, ipv6],"},
	{"    customRoutes:\n", "      - {name: NY6, localAddress: \"fd00:0:0:fe::2\", address: \"fd00:1::1\", asn: 65413}\n    customRoutes:\n"},
}

func sixth(ctx context.Context, w *World) (seen []string, err error) {
	near, far := netip.MustParseAddr("fd00:1::1"), netip.MustParseAddr("fd00:0:0:fe::2")
	ny, speaks := w.Site(sites[1].name), newYork()
	speaks.Networks = append(speaks.Networks, netip.MustParsePrefix("fd00:1::/64"))
	speaks.Neighbours[0].IPv6, speaks.Neighbours[0].NextHop6 = true, near
	speaks.Neighbours = append(speaks.Neighbours, lab.Neighbour{Local: near, Address: far, ASN: gatewayASN, IPv6: true})
	undo, err := w.redeclare(ctx, speakSix...)
	if err == nil {
		err = errors.Join(ny.Pair(near, far), ny.Speaker.Load(ctx, speaks))
	}
	for _, name := range []string{"NY", "NY6"} {
		if err != nil {
			break
		}
		var line string
		line, err = w.peerIs(ctx, "Woodgrove", name, "established, with an IPv6 prefix", func(r gateway.BGPPeerRow) bool {
			i := slices.IndexFunc(r.Families, func(f gateway.BGPFamilyRow) bool { return f.Name == "ipv6" })
			return r.State == "established" && i >= 0 && r.Families[i].Accepted == 1
		})
		seen = append(seen, line)
	}
	if err == nil {
		err = eventually(ctx, func() error {
			routes, err := w.inWoodgrove(ctx, "ip", "-6", "route", "show", "fd00:1::/64")
			if err == nil && (!strings.Contains(routes, "dev "+sites[1].iface+" ") || !strings.Contains(routes, "proto bgp")) {
				err = fmt.Errorf("no way to New York's IPv6 prefix: %s", routes)
			}
			seen = append(seen[:2], lines(routes)...)
			return err
		})
	}
	return seen, errors.Join(err, undo(), ny.Speaker.Load(ctx, newYork()))
}
