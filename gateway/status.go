package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"bulkhead/compartments"
	"bulkhead/filters"
	"bulkhead/internal/drops"
	"bulkhead/internal/netns"
	"bulkhead/nat"
	"bulkhead/ratelimit"
	"bulkhead/trigger"
	"bulkhead/vpn"
)

// Interfaces lists the interfaces of all declared compartments.
func (g *Gateway) Interfaces(ctx context.Context) ([]InterfaceRow, error) {
	tunnels, err := g.Tunnels(ctx)
	if err != nil {
		return nil, err
	}
	states := map[[2]string]string{}
	for _, t := range tunnels {
		states[[2]string{t.Tenant, t.Interface}] = t.State
	}
	rows := []InterfaceRow{}
	for _, tenant := range g.tenants() {
		state, err := g.state(ctx, tenant.Name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("tenant %s: %w", tenant.Name, err)
		}
		actual := map[string]compartments.LinkState{}
		for _, link := range state.Links {
			actual[link.Name] = link
		}
		for _, link := range tenant.Compartment.Links {
			row := InterfaceRow{Tenant: tenant.Name, Name: link.Name, Kind: tenant.kind(link), Through: tenant.Through[link.Name]}
			fillInterface(&row, actual)
			if link.Kind == compartments.XFRM && row.State == "up" {
				row.State = cmp.Or(states[[2]string{tenant.Name, link.Name}], string(vpn.Disconnected))
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// fillInterface fills in what the kernel says of an interface.
func fillInterface(row *InterfaceRow, actual map[string]compartments.LinkState) {
	link, ok := actual[row.Name]
	switch {
	case !ok:
		row.State = "missing"
		return
	case link.Up:
		row.State = "up"
	default:
		row.State = "down"
	}
	row.Addresses, row.MTU, row.IfID, row.MAC = link.Addresses, link.MTU, link.IfID, link.MAC
	row.RxPackets, row.RxBytes = link.RxPackets, link.RxBytes
	row.TxPackets, row.TxBytes = link.TxPackets, link.TxBytes
}

// NAT lists tenants' external addresses and static mappings with the number of sessions through each.
func (g *Gateway) NAT(context.Context) ([]NATRow, error) {
	rows := []NATRow{}
	for _, tenant := range g.tenants() {
		var sessions []nat.Session
		err := g.inCompartment(tenant.Name, func(ns *netns.Namespace) (err error) {
			sessions, err = nat.Sessions(ns)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, a := range tenant.NAT.Addresses {
			rows = append(rows, NATRow{Tenant: tenant.Name, Kind: "source", External: publicPorts(a), Internal: "any",
				Sessions: count(sessions, func(s nat.Session) bool { return translates(a, s) })})
		}
		for _, m := range tenant.NAT.Mappings {
			rows = append(rows, NATRow{Tenant: tenant.Name, Kind: "mapping", Protocol: string(m.Protocol),
				External: m.External.String(), Internal: m.Internal.String(),
				Sessions: count(sessions, func(s nat.Session) bool {
					return s.Destination == m.External && strings.EqualFold(s.Protocol, string(m.Protocol))
				})})
		}
	}
	return rows, nil
}

// translates tells whether the session leaves with the public address a.
func translates(a nat.Address, s nat.Session) bool {
	out := s.TranslatedSource
	return out.Addr() == a.Address && s.Source.Addr() != out.Addr() &&
		(a.Last == 0 || a.First <= out.Port() && out.Port() <= a.Last)
}

// publicPorts is a public address, with the ports of it where it is shared.
func publicPorts(a nat.Address) string {
	if a.Last == 0 {
		return a.Address.String()
	}
	return fmt.Sprintf("%v:%d-%d", a.Address, a.First, a.Last)
}

func count[T any](all []T, match func(T) bool) (n int) {
	for _, one := range all {
		if match(one) {
			n++
		}
	}
	return n
}

// Drops lists every drop counter that is not zero: of the doors, the compartments and of IPsec.
func (g *Gateway) Drops(context.Context) ([]DropRow, error) {
	all, err := g.doors.Drops()
	if err != nil {
		return nil, err
	}
	for _, tenant := range g.tenants() {
		for _, read := range []func(*netns.Namespace) ([]drops.Drop, error){
			compartments.Drops, nat.Drops, filters.Drops, ratelimit.Drops, trigger.Drops,
		} {
			err := g.inCompartment(tenant.Name, func(ns *netns.Namespace) error {
				found, err := read(ns)
				for _, d := range found {
					d.Tenant = tenant.Name
					all = append(all, d)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		}
	}
	ipsec, err := vpn.Drops()
	if err != nil {
		return nil, err
	}
	rows := []DropRow{}
	for _, d := range append(all, ipsec...) {
		if d.Packets > 0 {
			rows = append(rows, DropRow(d))
		}
	}
	slices.SortFunc(rows, func(a, b DropRow) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Where, b.Where), cmp.Compare(a.Reason, b.Reason))
	})
	return rows, nil
}

// inCompartment runs fn on a tenant's namespace; one that does not exist (yet, or any more) has nothing to tell.
func (g *Gateway) inCompartment(tenant string, fn func(*netns.Namespace) error) error {
	ns, err := g.compartments.Open(tenant)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer ns.Close()
	if err := fn(ns); err != nil {
		return fmt.Errorf("tenant %s: %w", tenant, err)
	}
	return nil
}

// tenants are the plans in force, by name.
func (g *Gateway) tenants() []*TenantPlan {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.plan == nil {
		return nil
	}
	return g.plan.Tenants
}

func sortedRows[R any](rows map[string]*R, key func(*R) string) []R {
	sorted := make([]R, 0, len(rows))
	for _, row := range rows {
		sorted = append(sorted, *row)
	}
	slices.SortFunc(sorted, func(a, b R) int { return cmp.Compare(key(&a), key(&b)) })
	return sorted
}
