package gateway

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"bulkhead/compartments"
)

// Compartments lists the compartments that are declared or exist.
func (g *Gateway) Compartments(ctx context.Context) ([]CompartmentRow, error) {
	existing, err := g.compartments.Names()
	if err != nil {
		return nil, err
	}
	rows := map[string]*CompartmentRow{}
	for _, name := range existing {
		rows[name] = &CompartmentRow{Tenant: name}
	}
	g.mu.Lock()
	plan, loops := g.plan, maps.Clone(g.loops)
	g.mu.Unlock()
	if plan != nil {
		for _, t := range plan.Tenants {
			rows[t.Name] = &CompartmentRow{Tenant: t.Name, RoutingDomain: t.Doors.RoutingDomain.String(), VSIDs: t.VSIDs}
		}
		describePending(rows, plan.pending)
	}
	for name := range loops {
		if rows[name] == nil {
			rows[name] = &CompartmentRow{Tenant: name}
		}
	}
	for name, row := range rows {
		row.State, row.Error = tenantState(plan, name, loops[name])
		if err := g.measure(ctx, row); err != nil {
			row.Error = strings.TrimPrefix(row.Error+"; "+err.Error(), "; ")
		}
	}
	return sortedRows(rows, func(r *CompartmentRow) string { return r.Tenant }), nil
}

// tenantState tells how far a tenant is, and what keeps it from being as declared.
func tenantState(plan *Plan, name string, l *loop) (state, problem string) {
	var status LoopStatus
	if l != nil {
		status = l.Status()
	}
	var want *TenantPlan
	if plan != nil {
		want = plan.tenant(name)
	}
	switch {
	case plan == nil:
		return "adopted", "" // the daemon starts, and has not taken up its declaration
	case l == nil && want == nil:
		return "undeclared", ""
	case l == nil, want != status.Plan, status.Busy && status.Error == "":
		if want == nil {
			return "removing", status.Error
		}
		return "applying", status.Error
	case status.Error != "":
		return "failing", status.Error
	default:
		return "applied", ""
	}
}

// describePending fills in what is declared and not carried out yet.
func describePending(rows map[string]*CompartmentRow, pending []string) {
	for _, p := range pending {
		object, _, _ := strings.Cut(p, " ")
		if row := rows[strings.TrimPrefix(object, "Tenant/")]; row != nil && strings.HasPrefix(object, "Tenant/") {
			row.Pending = append(row.Pending, p)
		}
	}
}

// measure fills in what the kernel says.
func (g *Gateway) measure(ctx context.Context, row *CompartmentRow) error {
	state, err := g.state(ctx, row.Tenant)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	row.Namespace = filepath.Join(g.pins, row.Tenant)
	row.Interfaces = len(state.Links)
	row.Routes = len(state.Routes)
	return nil
}

func (g *Gateway) state(ctx context.Context, tenant string) (compartments.State, error) {
	ns, err := g.compartments.Open(tenant)
	if err != nil {
		return compartments.State{}, err
	}
	defer ns.Close()
	return g.compartments.State(ctx, ns)
}
