package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"bulkhead/api"
	"bulkhead/gateway"
)

// bgpViews are what `show bgp` shows: speakers when nothing more is said.
var bgpViews = []view{
	{"bgp", "BGP speakers of tenants, and what `show bgp peers|routes|advertised` shows of them", rowsOf[gateway.BGPRow]},
	{"bgp-peers", "BGP peers and the state of their sessions", rowsOf[gateway.BGPPeerRow]},
	{"bgp-routes", "Paths that BGP knows, and why each is used or not", rowsOf[gateway.BGPRouteRow]},
	{"bgp-advertised", "Routes that BGP peers are told of", rowsOf[gateway.BGPAdvertisedRow]},
}

func showBGPCommand(runDir, output *string) *cobra.Command {
	var q gateway.BGPQuery
	command := func(use string, v view, args cobra.PositionalArgs) *cobra.Command {
		return &cobra.Command{Use: use, Short: v.short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				var err error
				if q.Prefix, q.Covering, err = parsePrefix(args[0]); err != nil {
					return err
				}
			}
			return showRows(cmd, *runDir, *output, v, api.BGPQuery(q))
		}}
	}
	bgp := command("bgp", bgpViews[0], cobra.NoArgs)
	bgp.PersistentFlags().StringVar(&q.Tenant, "tenant", "", "of this tenant only")
	peers := command("peers", bgpViews[1], cobra.NoArgs)
	routes := command("routes [PREFIX|ADDRESS]", bgpViews[2], cobra.MaximumNArgs(1))
	advertised := command("advertised [PREFIX|ADDRESS]", bgpViews[3], cobra.MaximumNArgs(1))
	for _, c := range []*cobra.Command{peers, routes, advertised} {
		c.Flags().StringVar(&q.Peer, "peer", "", "of this peer only")
		bgp.AddCommand(c)
	}
	for _, c := range []*cobra.Command{routes, advertised} {
		c.Flags().BoolVar(&q.Longer, "longer", false, "more specific prefixes too")
	}
	return bgp
}

// parsePrefix takes a prefix, or an address for the prefixes that cover it.
func parsePrefix(text string) (p netip.Prefix, covering bool, err error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true, nil
	}
	if p, err = netip.ParsePrefix(text); err != nil {
		return p, false, fmt.Errorf("%q is neither a prefix nor an address; want one such as 10.1.0.0/24: %w", text, err)
	}
	return p.Masked(), false, nil
}
