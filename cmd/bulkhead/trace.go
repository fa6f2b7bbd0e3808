package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"reflect"

	"github.com/spf13/cobra"

	"bulkhead/api"
	"bulkhead/gateway"
)

func traceCommand(runDir *string) *cobra.Command {
	var r gateway.TraceRequest
	var from, to, provider, output string
	cmd := &cobra.Command{
		Use:   "trace --tenant TENANT --from ADDRESS --to ADDRESS",
		Short: "Tell where a packet would go, or why it would die; nothing is sent",
		Long: `Tell, step by step, where a packet would go, or why it would die. The doors' programs, the compartment's
routing and sessions, the declaration in force and charon are asked; nothing is sent and no counter moves.

Where the packet comes in follows from its source:
  a VM's customer address       at door 1, as its host would send it to the gateway
  an address behind a tunnel    by that tunnel's interface
  the compartment's own         from the compartment itself
  any other                     from the Internet, at door 2

Of a packet that belongs to no session it is told what becomes of the first one: of TCP, the one that opens a
connection; of icmp, an echo request.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("--output %q: use table or json", output)
			}
			for _, a := range []struct {
				flag, text string
				into       *netip.Addr
			}{{"from", from, &r.From}, {"to", to, &r.To}, {"provider-address", provider, &r.ProviderAddress}} {
				if a.text == "" {
					continue
				}
				var err error
				if *a.into, err = netip.ParseAddr(a.text); err != nil {
					return fmt.Errorf("--%s %q: not an IP address", a.flag, a.text)
				}
			}
			answer, err := api.NewClient(*runDir).Trace(cmd.Context(), r)
			if err != nil {
				return err
			}
			if output == "json" {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(answer)
			}
			return printTrace(cmd.OutOrStdout(), answer)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&r.Tenant, "tenant", "", "whose packet it is (required)")
	flags.StringVar(&from, "from", "", "the packet's source address (required)")
	flags.StringVar(&to, "to", "", "its destination address (required)")
	flags.StringVar(&r.Protocol, "protocol", "icmp", "tcp, udp or icmp")
	flags.Uint16Var(&r.SourcePort, "sport", 40000, "source port; the identifier of an icmp echo request")
	flags.Uint16Var(&r.DestinationPort, "dport", 0, "destination port")
	flags.Uint32Var(&r.VSID, "vsid", 0, "as if the host sent it in this virtual subnet")
	flags.StringVar(&provider, "provider-address", "", "as if the host at this provider address sent it")
	flags.StringVar(&r.Interface, "interface", "", "as if it came in by this one: a site-to-site interface, or ext")
	flags.StringVarP(&output, "output", "o", "table", "table or json")
	for _, required := range []string{"tenant", "from", "to"} {
		_ = cmd.MarkFlagRequired(required)
	}
	return cmd
}

// printTrace prints the steps and, below, how the way ends.
func printTrace(w io.Writer, t *gateway.Trace) error {
	if err := printTable(w, reflect.ValueOf(t.Steps)); err != nil {
		return err
	}
	verdict := string(t.Verdict)
	if t.Reason != "" {
		verdict += fmt.Sprintf(" at %s: %s", t.Where, t.Reason)
	}
	_, err := fmt.Fprintf(w, "verdict: %s\n", verdict)
	return err
}
