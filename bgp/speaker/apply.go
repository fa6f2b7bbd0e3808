package speaker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// applyPolicies exchanges the policies where they are others, and has routes go through them that went through the old
// ones. Sessions stay. The caller holds s.mu.
func (s *Speaker) applyPolicies(ctx context.Context, want *bgp.Config) error {
	imports := func(generation int) chain {
		return importChain(want, s.table.Space(), s.pins(want), generation)
	}
	exports := func(generation int) chain { return exportChain(want, generation) }
	return errors.Join(
		s.exchange(ctx, &s.imports, imports, api.ResetPeerRequest_DIRECTION_IN),
		s.exchange(ctx, &s.exports, exports, api.ResetPeerRequest_DIRECTION_OUT))
}

// exchange puts what make makes in the place of the chain in force, if it does something else. The caller holds s.mu.
func (s *Speaker) exchange(ctx context.Context, inForce *chain, make func(generation int) chain,
	direction api.ResetPeerRequest_Direction,
) error {
	if inForce.policy != nil && make(inForce.generation).equal(*inForce) {
		return nil
	}
	next := make(inForce.generation + 1)
	if err := install(ctx, s.server, next); err != nil {
		return errors.Join(fmt.Errorf("policies: %w", err), uninstall(ctx, s.server, next))
	}
	old := *inForce
	*inForce = next
	if old.policy == nil {
		return nil
	}
	err := s.server.ResetPeer(ctx, &api.ResetPeerRequest{Address: "all", Soft: true, Direction: direction})
	if err != nil {
		err = fmt.Errorf("apply policies to routes that are there: %w", err)
	}
	return errors.Join(err, uninstall(ctx, s.server, old))
}

// install adds a chain and has it take the place of the one in force, which is one step for GoBGP.
func install(ctx context.Context, running *server.BgpServer, c chain) error {
	for _, set := range c.sets {
		if err := running.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set}); err != nil {
			return err
		}
	}
	if err := running.AddPolicy(ctx, &api.AddPolicyRequest{Policy: c.policy}); err != nil {
		return err
	}
	return running.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name: global, Direction: c.direction, Policies: []*api.Policy{{Name: c.policy.Name}},
		DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}})
}

// uninstall removes a chain that is not in force, as far as it is there.
func uninstall(ctx context.Context, running *server.BgpServer, c chain) error {
	there := false
	err := running.ListPolicy(ctx, &api.ListPolicyRequest{Name: c.policy.Name}, func(*api.Policy) { there = true })
	errs := []error{err}
	if there {
		errs = append(errs, running.DeletePolicy(ctx, &api.DeletePolicyRequest{Policy: &api.Policy{Name: c.policy.Name}, All: true}))
	}
	for _, set := range c.sets {
		there = false
		request := &api.ListDefinedSetRequest{DefinedType: set.DefinedType, Name: set.Name}
		errs = append(errs, running.ListDefinedSet(ctx, request, func(*api.DefinedSet) { there = true }))
		if there {
			errs = append(errs, running.DeleteDefinedSet(ctx, &api.DeleteDefinedSetRequest{DefinedSet: set, All: true}))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove policies that are not in force: %w", err)
	}
	return nil
}

// pins are prefixes that no peer may claim: peers' own addresses, and whatever would lead there before the declared route
// does. Who told it would take another's session to itself (law 6). To a peer behind a default route every other one would.
func (s *Speaker) pins(want *bgp.Config) []bgp.PrefixRange {
	var ranges []bgp.PrefixRange
	for _, peer := range want.Peers {
		all := peer.Address.BitLen()
		shortest := 1
		if pinned, ok := s.table.Pinned(peer.Address); ok {
			shortest = min(all, pinned.Bits()+1)
		}
		for bits := shortest; bits <= all; bits++ {
			prefix := netip.PrefixFrom(peer.Address, bits).Masked()
			ranges = append(ranges, bgp.PrefixRange{Prefix: prefix, Min: bits, Max: bits})
		}
	}
	return ranges
}
