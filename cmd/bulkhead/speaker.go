package main

import (
	"context"
	"errors"
	"net/netip"

	"github.com/spf13/cobra"

	"bulkhead/bgp/speaker"
	"bulkhead/internal/netns"
	"bulkhead/nat"
)

// speakerCommand is the process that package bgp starts in a compartment.
func speakerCommand() *cobra.Command {
	var tenant, socket string
	cmd := &cobra.Command{
		Use:    "bgp-speaker --tenant TENANT --socket PATH",
		Short:  "Speak BGP in this network namespace; the daemon starts it",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ns, err := netns.Current()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, ns.Close()) }()
			return speaker.Run(cmd.Context(), socket, speaker.Options{
				Tenant: tenant, Version: version,
				Forget: func(ctx context.Context, prefixes []netip.Prefix) error {
					_, err := nat.Forget(ctx, ns, prefixes)
					return err
				},
			})
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "the compartment's tenant (required)")
	cmd.Flags().StringVar(&socket, "socket", "", "where the daemon is answered (required)")
	_ = cmd.MarkFlagRequired("tenant")
	_ = cmd.MarkFlagRequired("socket")
	return cmd
}
