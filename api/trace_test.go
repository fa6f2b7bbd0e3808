package api_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"bulkhead/gateway"
	"bulkhead/internal/testenv"
)

const routedYAML = `apiVersion: bulkhead/v1
kind: Tenant
metadata: {name: Contoso}
spec:
  routingDomainId: 12345678-1000-2000-3000-000000000001
  virtualSubnets: [{vsid: 5001, prefix: 10.0.0.0/24}, {vsid: 5003, prefix: 10.0.3.0/24}, {vsid: 6001, prefix: 10.0.254.0/24}]
  internalInterfaces: [{name: IfCi1, vsid: 6001, addresses: [10.0.254.2/24]}]
  lookupRecords:
    - {customerAddress: 10.0.0.10, vsid: 5001, macAddress: "60:00:60:00:01:01", providerAddress: 192.168.0.22}
    - {customerAddress: 10.0.3.10, vsid: 5003, macAddress: "60:00:60:00:01:03", providerAddress: 192.168.0.33}
  externalRouter: {}
`

// routed is a packet that the external router routes.
func routed() gateway.TraceRequest {
	return gateway.TraceRequest{
		Tenant: "Contoso", From: netip.MustParseAddr("10.0.0.10"), To: netip.MustParseAddr("10.0.3.10"), Protocol: "icmp",
		SourcePort: 7,
	}
}

func TestTraceIsAskedOfTheDaemon(t *testing.T) {
	c := serve(t)
	if _, err := c.Trace(t.Context(), routed()); err == nil || !strings.Contains(err.Error(), "not taken up") {
		t.Errorf("before a declaration is taken up: %v", err)
	}
	close(c.started)
	_, err := c.Apply(t.Context(), write(t, gatewayYAML, routedYAML))
	must(t, err)
	answer, err := c.Trace(t.Context(), routed())
	must(t, err)
	if answer.Verdict != gateway.VerdictDelivered || len(answer.Steps) != 2 || !strings.Contains(answer.Text, "192.168.0.33") {
		t.Errorf("%+v", answer)
	}
	for _, wrong := range []struct {
		change func(*gateway.TraceRequest)
		want   string
	}{
		{func(r *gateway.TraceRequest) { r.Tenant = "Adatum" }, "Contoso"},
		{func(r *gateway.TraceRequest) { r.Protocol = "sctp" }, "tcp, udp and icmp"},
		{func(r *gateway.TraceRequest) { r.To = netip.MustParseAddr("fd00::1") }, "address families"},
		{func(r *gateway.TraceRequest) { r.To = netip.Addr{} }, "needs the address"},
		{func(r *gateway.TraceRequest) { r.To = netip.MustParseAddr("fe80::1%eth0") }, "zone"},
		{func(r *gateway.TraceRequest) { r.From = netip.MustParseAddr("10.0.0.77") }, "--provider-address"},
		{func(r *gateway.TraceRequest) { r.Interface, r.From = "IfCe9", netip.MustParseAddr("10.9.9.9") }, "IfCe9"},
	} {
		r := routed()
		wrong.change(&r)
		if _, err := c.Trace(t.Context(), r); err == nil || !strings.Contains(err.Error(), wrong.want) {
			t.Errorf("%+v: error %v, want one about %q", r, err, wrong.want)
		}
	}
}

func TestRoutingThroughLastsAsLongAsItsAsker(t *testing.T) {
	c := serve(t)
	close(c.started)
	_, err := c.Apply(t.Context(), write(t, gatewayYAML, routedYAML))
	must(t, err)
	// On its way through the compartment a packet meets its routing.
	through := func() bool {
		answer, err := c.Trace(t.Context(), routed())
		must(t, err)
		return len(answer.Steps) > 2
	}
	ctx, cancel := context.WithCancel(t.Context())
	over, err := c.Through(ctx, "Contoso")
	must(t, err)
	if !through() {
		t.Error("packets do not pass the compartment")
	}
	cancel()
	<-over
	testenv.Eventually(t, "packets pass the compartment no more", func() bool { return !through() })
	if _, err := c.Through(t.Context(), "Adatum"); err == nil || !strings.Contains(err.Error(), "Adatum") {
		t.Errorf("error %v", err)
	}
	over, err = c.Through(t.Context(), "Contoso")
	must(t, err)
	c.stop()
	<-over
}
