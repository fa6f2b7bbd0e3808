package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"bulkhead/api"
	"bulkhead/vpn/peerconfig"
)

func vpnCommand(runDir *string) *cobra.Command {
	cmd := &cobra.Command{Use: "vpn", Short: "What the sites' own devices need"}
	cmd.AddCommand(peerConfigCommand(runDir))
	return cmd
}

func peerConfigCommand(runDir *string) *cobra.Command {
	var tenant, device string
	var secret bool
	cmd := &cobra.Command{
		Use:   "config INTERFACE --device " + strings.Join(peerconfig.Devices(), "|"),
		Short: "Print the configuration of the device at the other end of a site-to-site interface",
		Long: `Print the configuration of the device at the other end of a site-to-site interface, as it follows from the declaration in
force. The pre-shared key, or the site's password, is in it with --secret only.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client := api.NewClient(*runDir)
			owner, err := ownerOf(cmd.Context(), client, tenant, args[0])
			if err != nil {
				return err
			}
			text, err := client.PeerConfig(cmd.Context(), owner, args[0], device, secret)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant of the interface, where several have one of this name")
	cmd.Flags().StringVar(&device, "device", "generic", strings.Join(peerconfig.Devices(), ", "))
	cmd.Flags().BoolVar(&secret, "secret", false, "print the pre-shared key or password too")
	return cmd
}
