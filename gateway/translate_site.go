package gateway

import (
	"slices"

	"bulkhead/compartments"
	"bulkhead/configs"
	"bulkhead/filters"
	"bulkhead/ratelimit"
	"bulkhead/vpn"
	"bulkhead/vpn/radius"
)

// addSite adds a site-to-site interface with its routes, its limits and its tunnel.
func (p *TenantPlan) addSite(g *configs.Gateway, t *configs.Tenant, s configs.SiteToSite, id uint32) {
	p.Compartment.Links = append(p.Compartment.Links, compartments.Link{
		Name: s.Name, Kind: compartments.XFRM, IfID: id, Outside: true, Alias: t.Name + "/" + s.Name,
		MTU: vpn.InnerMTU(g.External.MTU, s.SourceAddress.Is6(), s.IKE.ESPProposals),
	})
	p.Through[s.Name] = through(s)
	for i, subnet := range slices.Concat(s.Subnets, s.PostConnectionSubnets) {
		p.Sites[s.Name] = append(p.Sites[s.Name], subnet.Prefix)
		p.SiteRoutes = append(p.SiteRoutes, SiteRoute{
			Route: compartments.Route{
				Prefix: subnet.Prefix, NextHop: doorHop(subnet.Prefix), Link: s.Name, Metric: subnet.Metric,
				// Law 7: what the compartment itself sends into a tunnel carries its internal address.
				Source: t.InternalAddress(subnet.Prefix.Addr()),
			},
			WhileConnected: i >= len(s.Subnets),
		})
	}
	p.Limits = append(p.Limits, ratelimit.Limit{
		Link: s.Name, TxKbps: s.Bandwidth.TxKbps, RxKbps: s.Bandwidth.RxKbps,
	})
	p.VPN = append(p.VPN, tunnel(g, t, s, id))
}

// through is what a site-to-site interface leads to, in an operator's words.
func through(s configs.SiteToSite) string {
	if s.Destination.IsZero() {
		return "a site that dials"
	}
	return "site " + s.Destination.String()
}

// tunnel is what charon is to know of a site-to-site interface.
func tunnel(g *configs.Gateway, t *configs.Tenant, s configs.SiteToSite, id uint32) vpn.Interface {
	a := s.Authentication
	i := vpn.Interface{
		Name: s.Name, IfID: id, LocalAddress: s.SourceAddress,
		PeerAddress: s.Destination.Address, PeerHost: s.Destination.Host,
		Method: vpn.Method(a.Method), LocalID: a.LocalIdentity, RemoteID: a.RemoteIdentity,
		PSK: a.SharedSecret.Reveal(), PreviousPSK: a.PreviousSharedSecret.Reveal(),
		UserName: a.UserName, Policy: ikePolicy(s.IKE),
		Initiate: vpn.Initiate(s.Initiate), Idle: s.IdleDisconnect, Disabled: s.Disabled,
	}
	if a.DialAs != nil {
		i.DialUserName, i.DialPassword = a.DialAs.UserName, a.DialAs.Password.Reveal()
	}
	if a.Method != configs.AuthPSK {
		i.Authorities = authorities(g, t)
	}
	return i
}

// authorities are those that may vouch for a tenant's sites: its own, and for nobody else's; the gateway's where it has
// none.
func authorities(g *configs.Gateway, t *configs.Tenant) [][]byte {
	if len(t.CertificateAuthorities) > 0 {
		return encoded(t.CertificateAuthorities)
	}
	return encoded(g.IKE.CertificateAuthorities)
}

// encoded are certificates in DER.
func encoded(all []configs.Certificate) (der [][]byte) {
	for _, chain := range all {
		for _, c := range chain {
			der = append(der, c.Raw)
		}
	}
	return der
}

// translateCredentials takes over the gateway's certificate, authorities and revocation lists.
func translateCredentials(ike configs.GatewayIKE) vpn.Credentials {
	c := vpn.Credentials{
		Certificate: encoded([]configs.Certificate{ike.Certificate}), PrivateKey: ike.PrivateKey.Reveal(),
		Authorities: encoded(ike.CertificateAuthorities), Revocation: vpn.Revocation(ike.Revocation),
	}
	for _, l := range ike.RevocationLists {
		c.RevocationLists = append(c.RevocationLists, l.Raw)
	}
	return c
}

// translateRADIUS is what FreeRADIUS is to know: the users of sites that dial with EAP, and the provider's servers.
func translateRADIUS(cfg *configs.Config) radius.Config {
	own := translateCredentials(cfg.Gateway.IKE)
	c := radius.Config{
		Certificate: own.Certificate, PrivateKey: own.PrivateKey, Strict: own.Revocation == vpn.RevocationStrict,
	}
	if own.Revocation != vpn.RevocationOff {
		c.RevocationLists, c.Responders = own.RevocationLists, true
	}
	for _, t := range cfg.Tenants {
		for _, s := range t.SiteToSite {
			if s.Authentication.Method == configs.AuthEAP {
				c.Sites = append(c.Sites, radiusSite(cfg.Gateway, t, s.Authentication))
			}
		}
	}
	for _, s := range cfg.Gateway.RADIUS.Upstream {
		c.Upstream = append(c.Upstream, radius.Server{Address: s.Address.AddrPort, Secret: s.Secret.Reveal()})
	}
	return c
}

// radiusSite is the user of a site that dials with EAP. One with a password has it here; one without is asked of the
// provider's servers where there are any, and shows a certificate where not.
func radiusSite(g *configs.Gateway, t *configs.Tenant, a configs.Authentication) radius.Site {
	site := radius.Site{Name: a.UserName, Password: a.Password.Reveal()}
	if len(site.Password) == 0 && len(g.RADIUS.Upstream) == 0 {
		site.Authorities = authorities(g, t)
	}
	return site
}

func ikePolicy(p configs.IKEPolicy) vpn.Policy {
	return vpn.Policy{
		IKEProposals: p.Proposals, ESPProposals: p.ESPProposals, DPD: p.DeadPeerDetection,
		IKELifetime: p.IKELifetime, ESPLifetime: p.ESPLifetime, ESPLifetimeBytes: p.ESPLifetimeBytes,
		NoMOBIKE: !p.MOBIKE.On(), NoFragmentation: !p.Fragmentation.On(),
		ForceEncapsulation: p.ForceEncapsulation.On(), HardwareOffload: p.HardwareOffload.On(),
	}
}

// addFilter adds a static filter.
func (p *TenantPlan) addFilter(t *configs.Tenant, f configs.Filter) {
	out := filters.Filter{
		Link: f.Interface, Arriving: direction(t, f.Interface, true) == f.Direction,
		Pass: f.Action == configs.FilterAllow, Established: f.Established == configs.EstablishedAllow,
	}
	for _, r := range f.List {
		rule := filters.Rule{
			Source: r.Source, Destination: r.Destination, Protocol: r.Protocol, Text: r.String(),
			SourcePorts:      filters.Ports{First: r.SourcePorts.First, Last: r.SourcePorts.Last},
			DestinationPorts: filters.Ports{First: r.DestinationPorts.First, Last: r.DestinationPorts.Last},
		}
		if r.ICMP != nil {
			rule.ICMP = &filters.ICMP{Type: r.ICMP.Type, Code: r.ICMP.Code}
		}
		out.Rules = append(out.Rules, rule)
	}
	p.Filters = append(p.Filters, out)
}

// direction of packets that arrive by a link, or leave by it, as seen from the virtual network: what enters that by a link
// to the virtual network leaves the compartment, what enters it by any other arrives there.
func direction(t *configs.Tenant, link string, arriving bool) configs.Direction {
	internal := slices.ContainsFunc(t.InternalInterfaces, func(i configs.InternalInterface) bool { return i.Name == link })
	if arriving != internal {
		return configs.Inbound
	}
	return configs.Outbound
}
