package api

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"bulkhead/gateway"
)

// view reads rows from the kernel, from charon, from speakers and from the daemon when it is asked for.
type view func(ctx context.Context, g *gateway.Gateway, query url.Values) (any, error)

// all is a view of everything there is.
func all[Row any](rows func(*gateway.Gateway, context.Context) ([]Row, error)) view {
	return func(ctx context.Context, g *gateway.Gateway, _ url.Values) (any, error) { return rows(g, ctx) }
}

// chosen is a view of what a query of BGP chooses.
func chosen[Row any](rows func(*gateway.Gateway, context.Context, gateway.BGPQuery) ([]Row, error)) view {
	return func(ctx context.Context, g *gateway.Gateway, query url.Values) (any, error) {
		q, err := parseBGPQuery(query)
		if err != nil {
			return nil, err
		}
		return rows(g, ctx, q)
	}
}

// views are what can be shown, by name.
var views = map[string]view{
	"compartments":       all((*gateway.Gateway).Compartments),
	"interfaces":         all((*gateway.Gateway).Interfaces),
	"tunnels":            all((*gateway.Gateway).Tunnels),
	"nat":                all((*gateway.Gateway).NAT),
	"lookup-records":     all((*gateway.Gateway).LookupRecords),
	"customer-routes":    all((*gateway.Gateway).CustomerRoutes),
	"provider-addresses": all((*gateway.Gateway).ProviderAddresses),
	"provider-routes":    all((*gateway.Gateway).ProviderRoutes),
	"traffic":            all((*gateway.Gateway).Traffic),
	"limits":             all((*gateway.Gateway).Limits),
	"filters":            all((*gateway.Gateway).Filters),
	"certificates":       all((*gateway.Gateway).Certificates),
	"drops":              all((*gateway.Gateway).Drops),
	"bgp":                chosen((*gateway.Gateway).BGP),
	"bgp-peers":          chosen((*gateway.Gateway).BGPPeers),
	"bgp-routes":         chosen((*gateway.Gateway).BGPRoutes),
	"bgp-advertised":     chosen((*gateway.Gateway).BGPAdvertised),
}

// Views names what can be shown, sorted.
func Views() []string { return slices.Sorted(maps.Keys(views)) }

// BGPQuery is a query of BGP's views as [Client.Show] takes it.
func BGPQuery(q gateway.BGPQuery) url.Values {
	values := url.Values{}
	for key, value := range map[string]string{"tenant": q.Tenant, "peer": q.Peer} {
		if value != "" {
			values.Set(key, value)
		}
	}
	if q.Prefix.IsValid() {
		values.Set("prefix", q.Prefix.String())
		values.Set("longer", strconv.FormatBool(q.Longer))
		values.Set("covering", strconv.FormatBool(q.Covering))
	}
	return values
}

func parseBGPQuery(values url.Values) (q gateway.BGPQuery, err error) {
	q.Tenant, q.Peer = values.Get("tenant"), values.Get("peer")
	q.Longer, q.Covering = values.Get("longer") == "true", values.Get("covering") == "true"
	if prefix := values.Get("prefix"); prefix != "" {
		if q.Prefix, err = netip.ParsePrefix(prefix); err != nil {
			return q, fmt.Errorf("%q is no prefix; want one such as 10.1.0.0/24: %w", prefix, err)
		}
	}
	return q, nil
}
