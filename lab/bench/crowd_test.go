package bench_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"bulkhead/dataplane"
)

// crowd is a gateway with many tenants, alike in every address, whose clients are links of one machine:
//
//	client                compartments            Default
//	eth0   ----- ext0   [ compartment 0   ] IfCi1 ----- bhi0
//	eth1   ----- ext0   [ compartment 1   ] IfCi1 ----- bhi1    [doors] backend0 -- host
//	...
type crowd struct {
	client, gateway, host *machine
}

func newCrowd(t testing.TB, count int) *crowd {
	t.Helper()
	c := &crowd{client: newMachine(t), gateway: newMachine(t), host: newMachine(t)}
	cable(t, plug{c.gateway, "backend0", backendMAC, backendMTU}, plug{c.host, "backend0", hostMAC, backendMTU})
	c.gateway.address(t, "backend0", gatewayPA.String()+"/24")
	c.gateway.neighbour(t, "backend0", hostPA, hostMAC)
	d := doorsIn(t, c.gateway, gatewayAt(gatewayPA))
	for i := range count {
		inside, link := newMachine(t), fmt.Sprint("bhi", i)
		cable(t, plug{c.client, fmt.Sprint("eth", i), clientMAC, innerMTU}, plug{inside, "ext0", extMAC, innerMTU})
		cable(t, plug{c.gateway, link, insideMAC, innerMTU}, plug{inside, "IfCi1", insideMAC, innerMTU})
		inside.address(t, "IfCi1", gatewayCA.String()+"/32")
		inside.toClients(t)
		tenant := contoso(1)
		tenant.Name, tenant.RoutingDomain = fmt.Sprint("Tenant", i), uuid.NewSHA1(uuid.Nil, []byte(link))
		tenant.Interfaces[0].VSID, tenant.Interfaces[0].Link = crowdVSID(i), link
		tenant.Subnets = nil
		tenant.Records = []dataplane.Record{{CA: vmCA, VSID: crowdVSID(i), MAC: vmMAC, PA: hostPA}}
		must(t, "set a tenant", c.gateway.Do(func() error { return d.SetTenant(tenant) }))
	}
	return c
}

func crowdVSID(tenant int) uint32 { return uint32(10_000 + tenant) }

// crowdFrames are count frames, in turn for the first so many tenants.
func crowdFrames(count, tenants int) [][]byte {
	frames := make([][]byte, count)
	for i := range frames {
		packet := small(vmCA, clients(i), i)
		frames[i] = ether(backendMAC, hostMAC, ip4(hostPA, gatewayPA, protocolGRE,
			append(gre(crowdVSID(i%tenants), packet), ether(insideMAC, vmMAC, packet)...)))
	}
	return frames
}
