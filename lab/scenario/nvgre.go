package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/lab"
	"bulkhead/lab/hnv"
)

// vms are the customer addresses of each tenant's VMs: the same for both.
var vms = []string{"10.0.0.10", "10.0.0.100"}

const gatewayCA = "10.0.254.2"

// vsids of the tenants' subnets: the VMs' and the gateway's.
var vsids = map[string][2]uint32{"Contoso": {5001, 6001}, "Woodgrove": {5002, 6002}}

var tenants = []string{"Contoso", "Woodgrove"}

func nvgre() Part {
	part := Part{Title: "Hyper-V hosts and the gateway speak NVGRE"}
	for _, tenant := range tenants {
		for _, ca := range vms {
			part.Steps = append(part.Steps, Step{
				Claim: fmt.Sprintf("%s's VM %s reaches its gateway %s", tenant, ca, gatewayCA),
				Check: func(ctx context.Context, w *World) ([]string, error) { return pingGateway(ctx, w, tenant, ca) },
			})
		}
	}
	part.Steps = append(part.Steps,
		Step{
			Claim: "each host is its VMs' distributed router, .1",
			Check: pingRouters,
		},
		Step{
			Claim: "FlowIDs vary with the inner flow, in both directions, and any is accepted",
			Check: flowIDs,
		},
	)
	return part
}

func pingGateway(ctx context.Context, w *World, tenant, ca string) ([]string, error) {
	vm, host := w.VM(tenant, ca), w.HyperV(ca)
	host.Forget()
	if _, err := vm.Ping(ctx, netip.MustParseAddr(gatewayCA)); err != nil {
		return nil, err
	}
	out, err := find(ctx, host, func(o hnv.Observation) bool {
		return o.Sent && o.VSID == vsids[tenant][1] && strings.Contains(o.Inner, ca+" > "+gatewayCA)
	})
	if err != nil {
		return nil, fmt.Errorf("request with VSID %d: %w", vsids[tenant][1], err)
	}
	back, err := find(ctx, host, func(o hnv.Observation) bool {
		return !o.Sent && o.VSID == vsids[tenant][0] && strings.Contains(o.Inner, gatewayCA+" > "+ca)
	})
	if err != nil {
		return nil, fmt.Errorf("reply with VSID %d: %w", vsids[tenant][0], err)
	}
	return []string{out.String(), back.String()}, nil
}

// find waits for an observation of a host that matches: a frame may be delivered a moment before it is recorded.
func find(ctx context.Context, host *hnv.Host, match func(hnv.Observation) bool) (found hnv.Observation, err error) {
	err = eventually(ctx, func() error {
		all := host.Observations()
		i := slices.IndexFunc(all, match)
		if i < 0 {
			return fmt.Errorf("host %v saw no such frame", host.PA())
		}
		found = all[i]
		return nil
	})
	return found, err
}

func pingRouters(ctx context.Context, w *World) ([]string, error) {
	var seen []string
	for _, tenant := range tenants {
		for _, ca := range vms {
			if _, err := w.VM(tenant, ca).Ping(ctx, netip.MustParseAddr("10.0.0.1")); err != nil {
				return seen, fmt.Errorf("%s %s: %w", tenant, ca, err)
			}
			seen = append(seen, fmt.Sprintf("%s %s: 10.0.0.1 answered by its host %v", tenant, ca, w.HyperV(ca).PA()))
		}
	}
	return seen, nil
}

// flowIDs makes many inner flows and looks at the FlowIDs that travelled.
func flowIDs(ctx context.Context, w *World) ([]string, error) {
	host := w.HyperV(vms[0])
	host.Forget()
	const flows = 24
	for range flows {
		if _, err := w.VM("Contoso", vms[0]).Fetch(ctx, lab.UDP, webServer); err != nil {
			return nil, err
		}
	}
	sent, received := map[uint8]bool{}, map[uint8]bool{}
	for _, o := range host.Observations() {
		if o.Sent {
			sent[o.FlowID] = true
		} else {
			received[o.FlowID] = true
		}
	}
	// 24 flows over 256 values: fewer than 8 different ones would be no accident.
	if len(sent) < 8 || len(received) < 8 {
		return nil, fmt.Errorf("%d flows travelled with %d FlowIDs to the gateway and %d from it", flows, len(sent), len(received))
	}
	return []string{fmt.Sprintf("%d UDP flows: %d different FlowIDs from the host, %d from the gateway, none lost", flows,
		len(sent), len(received))}, nil
}
