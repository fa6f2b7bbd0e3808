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
//
// In a crowd by VXLAN each IfCi1 is a VXLAN device instead.
type crowd struct {
	client, gateway, host *machine
	compartments          []*machine
	frame                 func(vsid uint32, packet []byte) []byte // for the gateway's backend link
}

func newCrowd(t testing.TB, count int, join func(testing.TB, *crowd)) *crowd {
	t.Helper()
	c := &crowd{client: newMachine(t), gateway: newMachine(t), host: newMachine(t)}
	cable(t, plug{c.gateway, "backend0", backendMAC, backendMTU}, plug{c.host, "backend0", hostMAC, backendMTU})
	c.gateway.address(t, "backend0", gatewayPA.String()+"/24")
	c.gateway.neighbour(t, "backend0", hostPA, hostMAC)
	for i := range count {
		inside := newMachine(t)
		cable(t, plug{c.client, fmt.Sprint("eth", i), clientMAC, innerMTU}, plug{inside, "ext0", extMAC, innerMTU})
		inside.toClients(t)
		c.compartments = append(c.compartments, inside)
	}
	join(t, c)
	for _, inside := range c.compartments {
		inside.address(t, "IfCi1", gatewayCA.String()+"/32")
	}
	c.gateway.liveFrames(t, "backend0")
	return c
}

func crowdNVGRE(t testing.TB, c *crowd) {
	t.Helper()
	c.frame = nvgreFrame
	d := doorsIn(t, c.gateway, gatewayAt(gatewayPA))
	for i, inside := range c.compartments {
		link := fmt.Sprint("bhi", i)
		cable(t, plug{c.gateway, link, insideMAC, innerMTU}, plug{inside, "IfCi1", insideMAC, innerMTU})
		tenant := contoso(0)
		tenant.Name, tenant.RoutingDomain = fmt.Sprint("Tenant", i), uuid.NewSHA1(uuid.Nil, []byte(link))
		tenant.Interfaces[0].VSID, tenant.Interfaces[0].Link, tenant.Subnets = crowdVSID(i), link, nil
		tenant.Records = []dataplane.Record{{CA: vmCA, VSID: crowdVSID(i), MAC: vmMAC, PA: hostPA}}
		must(t, "set a tenant", c.gateway.Do(func() error { return d.SetTenant(tenant) }))
	}
}

func crowdVXLAN(t testing.TB, c *crowd) {
	t.Helper()
	c.frame = func(vni uint32, packet []byte) []byte { return vxlanFrame(vni, insideMAC, packet) }
	for i, inside := range c.compartments {
		vxlanDevice(t, c.gateway, crowdVSID(i), gatewayPA, hostPA, insideMAC, inside, "IfCi1")
	}
}

func crowdVSID(tenant int) uint32 { return uint32(10_000 + tenant) }

// generator sends to the first so many tenants in turn, a burst to each, and counts what comes out anywhere.
func (c *crowd) generator(t testing.TB, tenants, burst int, s *sink) *generator {
	t.Helper()
	frames := make([][]byte, len(c.compartments))
	for i := range frames {
		frames[i] = c.frame(crowdVSID(i%tenants), small(vmCA, clients(i), i))
	}
	return newGenerator(t, c.gateway, "backend0", frames, burst, s)
}

// sink counts what comes to a client, of any tenant.
func (c *crowd) sink(t testing.TB) *sink {
	t.Helper()
	s := newSink(t, smallFrame)
	for i := range c.compartments {
		s.stand(t, c.client, fmt.Sprint("eth", i))
	}
	return s
}
