package api

import (
	"context"
	"maps"
	"slices"

	"bulkhead/gateway"
)

// views are what can be shown, by name. Each is read from the kernel, from charon and from the daemon when asked for.
var views = map[string]func(context.Context, *gateway.Gateway) (any, error){
	"compartments": func(ctx context.Context, g *gateway.Gateway) (any, error) { return g.Compartments(ctx) },
	"interfaces":   func(ctx context.Context, g *gateway.Gateway) (any, error) { return g.Interfaces(ctx) },
	"tunnels":      func(ctx context.Context, g *gateway.Gateway) (any, error) { return g.Tunnels(ctx) },
	"nat":          func(ctx context.Context, g *gateway.Gateway) (any, error) { return g.NAT(ctx) },
	"lookup-records": func(ctx context.Context, g *gateway.Gateway) (any, error) {
		return g.LookupRecords(ctx)
	},
	"customer-routes": func(ctx context.Context, g *gateway.Gateway) (any, error) {
		return g.CustomerRoutes(ctx)
	},
	"provider-addresses": func(ctx context.Context, g *gateway.Gateway) (any, error) {
		return g.ProviderAddresses(ctx)
	},
	"provider-routes": func(ctx context.Context, g *gateway.Gateway) (any, error) {
		return g.ProviderRoutes(ctx)
	},
	"traffic": func(ctx context.Context, g *gateway.Gateway) (any, error) { return g.Traffic(ctx) },
	"limits":  func(ctx context.Context, g *gateway.Gateway) (any, error) { return g.Limits(ctx) },
	"filters": func(ctx context.Context, g *gateway.Gateway) (any, error) { return g.Filters(ctx) },
	"certificates": func(ctx context.Context, g *gateway.Gateway) (any, error) {
		return g.Certificates(ctx)
	},
	"drops": func(ctx context.Context, g *gateway.Gateway) (any, error) { return g.Drops(ctx) },
}

// Views names what can be shown, sorted.
func Views() []string { return slices.Sorted(maps.Keys(views)) }
