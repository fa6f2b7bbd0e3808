package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"bulkhead/api"
	"bulkhead/gateway"
)

// tunnelVerb is one thing that can be done to a tunnel.
type tunnelVerb struct {
	name, short, done string
	do                func(ctx context.Context, c *api.Client, tenant, iface string) error
}

// act asks the daemon for an action.
func act(action gateway.TunnelAction) func(context.Context, *api.Client, string, string) error {
	return func(ctx context.Context, c *api.Client, tenant, iface string) error {
		return c.Tunnel(ctx, tenant, iface, action)
	}
}

// state changes the tenant's policy.
func state(statement string) func(context.Context, *api.Client, string, string) error {
	return func(ctx context.Context, c *api.Client, tenant, iface string) error {
		_, err := c.ChangePolicy(ctx, tenant, []string{fmt.Sprintf(statement, iface)})
		return err
	}
}

var tunnelVerbs = []tunnelVerb{
	{"connect", "Dial the site and wait for the outcome", "connected", act(gateway.TunnelConnect)},
	{"disconnect", "Take the tunnel down; one on demand comes back with the next packet", "disconnected",
		act(gateway.TunnelDisconnect)},
	{"reset", "Take the tunnel down, forget its failures and dial anew", "reset", act(gateway.TunnelReset)},
	{"disable", "Take the tunnel down and let neither end dial, until it is enabled, also after a restart", "disabled",
		state("interface %s disabled")},
	{"enable", "Let a disabled tunnel be dialled again", "enabled", state("no interface %s disabled")},
}

func tunnelCommand(runDir *string) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{Use: "tunnel", Short: "Connect, disconnect, reset, disable or enable a site-to-site tunnel"}
	cmd.PersistentFlags().StringVar(&tenant, "tenant", "", "tenant of the interface, where several have one of this name")
	for _, v := range tunnelVerbs {
		cmd.AddCommand(&cobra.Command{
			Use:   v.name + " INTERFACE",
			Short: v.short,
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				client := api.NewClient(*runDir)
				owner, err := ownerOf(cmd.Context(), client, tenant, args[0])
				if err != nil {
					return err
				}
				if err := v.do(cmd.Context(), client, owner, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s\n", owner, args[0], v.done)
				return nil
			},
		})
	}
	return cmd
}

// ownerOf finds the tenant that a site-to-site interface belongs to, where none is named.
func ownerOf(ctx context.Context, client *api.Client, tenant, iface string) (string, error) {
	if tenant != "" {
		return tenant, nil
	}
	var tunnels []gateway.TunnelRow
	if err := client.Show(ctx, "tunnels", &tunnels); err != nil {
		return "", err
	}
	var owners []string
	for _, t := range tunnels {
		if t.Interface == iface {
			owners = append(owners, t.Tenant)
		}
	}
	return soleOwner(owners, "site-to-site interface", iface, "bulkhead show tunnels")
}
