package gateway

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/dataplane"
)

// LookupRecords lists the lookup records of declared tenants as door 1 has them, those included that it learned.
func (g *Gateway) LookupRecords(context.Context) ([]RecordRow, error) {
	rows := []RecordRow{}
	for _, tenant := range g.tenants() {
		records, err := g.doors.Records(tenant.Doors.RoutingDomain)
		if err != nil {
			return nil, fmt.Errorf("tenant %s: %w", tenant.Name, err)
		}
		for _, r := range records {
			rows = append(rows, recordRow(tenant.Name, r))
		}
	}
	slices.SortFunc(rows, func(a, b RecordRow) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), a.CustomerAddress.Compare(b.CustomerAddress),
			cmp.Compare(a.VSID, b.VSID), cmp.Compare(a.MACAddress, b.MACAddress))
	})
	return rows, nil
}

func recordRow(tenant string, r dataplane.Record) RecordRow {
	row := RecordRow{Tenant: tenant, CustomerAddress: r.CA, VSID: r.VSID, MACAddress: r.MAC.String(), ProviderAddress: r.PA,
		Type: r.Type.String(), Rule: r.Rule.String()}
	if !r.CA.IsValid() {
		row.CustomerAddress = netip.IPv4Unspecified() // as Get-NetVirtualizationLookupRecord shows it
	}
	switch {
	case r.Stale:
		row.State = "stale"
	case r.Moved:
		row.State = "moved"
	}
	return row
}

// CustomerRoutes lists the customer routes of declared tenants as door 1 has them.
func (g *Gateway) CustomerRoutes(context.Context) ([]CustomerRouteRow, error) {
	rows := []CustomerRouteRow{}
	for _, tenant := range g.tenants() {
		routes, err := g.doors.Routes(tenant.Doors.RoutingDomain)
		if err != nil {
			return nil, fmt.Errorf("tenant %s: %w", tenant.Name, err)
		}
		for _, r := range routes {
			row := CustomerRouteRow{Tenant: tenant.Name, VSID: r.VSID, Prefix: r.Prefix, NextHop: "on-link", Metric: r.Metric}
			if r.NextHop.IsValid() {
				row.NextHop = r.NextHop.String()
			}
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b CustomerRouteRow) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), a.Prefix.Addr().Compare(b.Prefix.Addr()),
			cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), cmp.Compare(a.Metric, b.Metric))
	})
	return rows, nil
}

// ProviderAddresses lists the gateway's addresses on the provider network, in order of preference, as door 1 has them.
func (g *Gateway) ProviderAddresses(context.Context) ([]ProviderAddressRow, error) {
	rows := []ProviderAddressRow{}
	for _, p := range g.doors.Providers() {
		rows = append(rows, ProviderAddressRow(p))
	}
	return rows, nil
}

// ProviderRoutes lists the routes on the provider network as door 1 has them.
func (g *Gateway) ProviderRoutes(context.Context) ([]ProviderRouteRow, error) {
	rows := []ProviderRouteRow{}
	for _, r := range g.doors.ProviderRoutes() {
		rows = append(rows, ProviderRouteRow(r))
	}
	return rows, nil
}

// Traffic lists what passed the doors, by tenant, virtual subnet and direction.
func (g *Gateway) Traffic(context.Context) ([]TrafficRow, error) {
	rows := []TrafficRow{}
	for _, tenant := range g.tenants() {
		counted, err := g.doors.Stats(tenant.Doors.RoutingDomain)
		if err != nil {
			return nil, fmt.Errorf("tenant %s: %w", tenant.Name, err)
		}
		for _, t := range counted {
			rows = append(rows,
				TrafficRow{Tenant: tenant.Name, VSID: t.VSID, Direction: "in", Packets: t.InPackets, Bytes: t.InBytes},
				TrafficRow{Tenant: tenant.Name, VSID: t.VSID, Direction: "out", Packets: t.OutPackets, Bytes: t.OutBytes})
		}
	}
	return rows, nil
}
