package gateway

import (
	"net/netip"
	"slices"

	"bulkhead/bgp"
	"bulkhead/configs"
)

// translateBGP is what the tenant's speaker is to be, peers that an operator stopped left aside (see bgp).
func translateBGP(t *configs.Tenant) *bgp.Config {
	b := t.BGP
	config := &bgp.Config{
		Tenant: t.Name, Identifier: b.Identifier, ASN: b.ASN, ClusterID: b.ClusterID, Transit: b.TransitRouting,
		MaximumPaths: b.MaximumPaths, CompareMEDAcrossASN: b.CompareMEDAcrossASN,
		Inside: t.VirtualPrefixes(), Guard: t.NAT != nil,
	}
	if b.GracefulRestart != nil {
		config.RestartTime = b.GracefulRestart.RestartTime
	}
	for _, anywhere := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if source := t.InternalAddress(anywhere); source.IsValid() {
			config.Sources = append(config.Sources, source)
		}
	}
	for _, p := range b.Peers {
		config.Peers = append(config.Peers, translatePeer(p))
	}
	for _, p := range b.Policies {
		config.Policies = append(config.Policies, translatePolicy(p))
	}
	for _, r := range b.CustomRoutes {
		if r.Interface != "" {
			config.Interfaces = append(config.Interfaces, r.Interface)
		} else {
			config.Networks = append(config.Networks, r.Prefix.Masked())
		}
	}
	return config
}

func translatePeer(p configs.BGPPeer) bgp.Peer {
	peer := bgp.Peer{
		Name: p.Name, LocalAddress: p.LocalAddress, Address: p.Address, ASN: p.ASN,
		Passive: p.OperationMode == configs.OperationPassive,
		IPv4:    p.Exchanges(configs.FamilyIPv4), IPv6: p.Exchanges(configs.FamilyIPv6),
		Password: bgp.Secret(p.Password.Reveal()),
		HoldTime: p.HoldTime, KeepaliveInterval: p.KeepaliveInterval, ConnectRetry: p.ConnectRetry,
		Hops: p.Multihop, SecurityHops: p.TTLSecurity,
		MaximumPrefixes: p.MaximumPrefixes.Limit, WarnAt: p.MaximumPrefixes.WarnAt, RestartAfter: p.MaximumPrefixes.RestartAfter,
		ReflectorClient: p.RouteReflectorClient, AcceptDefault: p.AcceptDefault, AllowOwnASN: p.AllowOwnASN,
		NextHopSelf: p.NextHopSelf, Import: p.Import, Export: p.Export,
	}
	if b := p.BFD; b != nil {
		peer.BFD = &bgp.BFD{Transmit: b.Transmit, Receive: b.Receive, Multiplier: b.Multiplier}
	}
	return peer
}

func translatePolicy(p configs.BGPPolicy) bgp.Policy {
	policy := bgp.Policy{Name: p.Name}
	for _, s := range p.Statements {
		statement := bgp.Statement{
			ASPath: texts(s.Match.ASPath), PathLengthAtMost: s.Match.PathLengthAtMost,
			Communities: texts(s.Match.Communities), LargeCommunities: texts(s.Match.LargeCommunities),
			NextHops: slices.Clone(s.Match.NextHops), Action: bgp.Action(s.Action),
			LocalPreference: s.Set.LocalPreference, MED: s.Set.MED, Prepend: s.Set.Prepend, NextHop: s.Set.NextHop,
			AddCommunities: texts(s.Set.Communities.Add), RemoveCommunities: texts(s.Set.Communities.Remove),
			SetCommunities: texts(s.Set.Communities.Set),
		}
		for _, r := range s.Match.Prefixes {
			statement.Prefixes = append(statement.Prefixes, bgp.PrefixRange(r))
		}
		policy.Statements = append(policy.Statements, statement)
	}
	return policy
}

// texts are values as they are written.
func texts[T ~string](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}
