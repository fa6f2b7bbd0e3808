package gateway

import (
	"net/netip"
	"sync"

	"bulkhead/bgp"
	"bulkhead/compartments"
	"bulkhead/configs"
	"bulkhead/dataplane"
	"bulkhead/filters"
	"bulkhead/nat"
	"bulkhead/ratelimit"
	"bulkhead/vpn"
	"bulkhead/vpn/radius"
)

// Plan is a declaration translated into what each capability is to bring about.
type Plan struct {
	// Default is the Default compartment: NICs, their addresses and routes.
	Default compartments.Default
	// Doors are the two NICs that the doors stand on.
	Doors dataplane.Gateway
	// Credentials are what the gateway proves itself with to sites, and what it knows of theirs.
	Credentials vpn.Credentials
	// RADIUS is what FreeRADIUS is to know of sites with EAP.
	RADIUS radius.Config
	// Tenants by name.
	Tenants []*TenantPlan

	policy  *policy  // the declaration itself
	pending []string // what is declared and not carried out yet
}

// TenantPlan is what one tenant comes to.
type TenantPlan struct {
	Name  string
	VSIDs []uint32
	// Compartment and Doors lack what changes while the plan is in force, lookup records, customer routes and the routes by
	// site-to-site interfaces: see compartment and doors.
	Compartment compartments.Config
	SiteRoutes  []SiteRoute
	NAT         nat.Config
	Doors       dataplane.Tenant
	VPN         []vpn.Interface
	Limits      []ratelimit.Limit
	Filters     []filters.Filter
	// BGP is what the tenant's speaker is to be, nil for none. Which of its peers an operator stopped is policy: see bgp.
	BGP *bgp.Config
	// Sites are the prefixes behind each site-to-site interface, those included that are routed while connected only.
	Sites map[string][]netip.Prefix
	// Through says what each link leads to, for show.
	Through map[string]string

	policy   *policy
	tenant   *configs.Tenant // of policy.config
	writing  sync.Mutex      // held while the kernel is made to hold what changes: what is written last is in force
	speaking sync.Mutex      // held while the speaker is made what is declared: what it is told last is in force
	known    bool            // guarded by writing: the doors know the tenant by this plan
}

// names of the plan's tenants, in order.
func (p *Plan) names() []string {
	names := make([]string, len(p.Tenants))
	for i, t := range p.Tenants {
		names[i] = t.Name
	}
	return names
}

// tenant is the named tenant's plan; nil where the plan has none.
func (p *Plan) tenant(name string) *TenantPlan {
	for _, t := range p.Tenants {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// kind names what a link is for.
func (t *TenantPlan) kind(link compartments.Link) string {
	switch {
	case link.Kind == compartments.XFRM:
		return "siteToSite"
	case link.Name == externalLink:
		return "external"
	default:
		return "internal"
	}
}
