package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"bulkhead/api"
	"bulkhead/gateway"
)

func bgpCommand(runDir *string) *cobra.Command {
	var tenant string
	var soft bool
	cmd := &cobra.Command{Use: "bgp", Short: "Start, stop or reset the session with a BGP peer, or restart a tenant's speaker"}
	cmd.PersistentFlags().StringVar(&tenant, "tenant", "", "tenant of the peer, where several have one of this name")
	verb := func(name, short, done string, do func(ctx context.Context, c *api.Client, tenant, peer string) error) *cobra.Command {
		return &cobra.Command{
			Use: name + " PEER", Short: short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				client := api.NewClient(*runDir)
				owner, err := peerOwner(cmd.Context(), client, tenant, args[0])
				if err != nil {
					return err
				}
				if err := do(cmd.Context(), client, owner, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s\n", owner, args[0], done)
				return nil
			},
		}
	}
	reset := verb("reset", "End the session and let it come back at once, or with --soft exchange routes anew", "reset",
		func(ctx context.Context, c *api.Client, tenant, peer string) error {
			return c.ResetPeer(ctx, tenant, peer, soft)
		})
	reset.Flags().BoolVar(&soft, "soft", false, "keep the session up")
	cmd.AddCommand(
		verb("start", "Let the session come up, also after a restart (Start-BgpPeer)", "started", state("bgp-peer %s started")),
		verb("stop", "End the session and keep it down, also after a restart (Stop-BgpPeer)", "stopped",
			state("bgp-peer %s stopped")),
		reset,
		&cobra.Command{
			Use: "restart", Args: cobra.NoArgs,
			Short: "Exchange the process of a tenant's speaker (--tenant) for one of the daemon's version",
			RunE: func(cmd *cobra.Command, _ []string) error {
				if tenant == "" {
					return fmt.Errorf("say whose speaker is to be restarted with --tenant; `bulkhead show bgp` lists them")
				}
				if err := api.NewClient(*runDir).RestartSpeaker(cmd.Context(), tenant); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: restarted\n", tenant)
				return nil
			},
		})
	return cmd
}

// peerOwner finds the tenant that a BGP peer belongs to, where none is named.
func peerOwner(ctx context.Context, client *api.Client, tenant, peer string) (string, error) {
	if tenant != "" {
		return tenant, nil
	}
	var peers []gateway.BGPPeerRow
	if err := client.Show(ctx, "bgp-peers", &peers); err != nil {
		return "", err
	}
	var owners []string
	for _, p := range peers {
		if p.Peer == peer {
			owners = append(owners, p.Tenant)
		}
	}
	return soleOwner(owners, "BGP peer", peer, "bulkhead show bgp peers")
}

// soleOwner is the one tenant that has an object.
func soleOwner(owners []string, kind, name, list string) (string, error) {
	slices.Sort(owners)
	switch len(owners) {
	case 0:
		return "", fmt.Errorf("no tenant has a %s %q; `%s` lists them", kind, name, list)
	case 1:
		return owners[0], nil
	}
	return "", fmt.Errorf("%v all have a %s %s; name one with --tenant", owners, kind, name)
}
