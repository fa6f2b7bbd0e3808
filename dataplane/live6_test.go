package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// over6 moves a node to a provider address of IPv6, whose headers leave its packets 20 bytes less.
func (n *node) over6(t testing.TB, number int) {
	t.Helper()
	n.pa = netip.MustParseAddr(fmt.Sprintf("2001:db8:168::%d", number))
	configure(t, n.ns, "backend0", providerMTU, []string{n.pa.String() + "/64"}, nil)
	configure(t, n.inside, "IfCi1", compartmentMTU-20, nil, nil)
	configure(t, n.ns, n.tenant.Interfaces[0].Link, compartmentMTU-20, nil, nil)
	n.do(t, func() error { return n.SetGateway(Gateway{Backend: "backend0", Providers: on(n.pa)}) })
}

// pair is two gateways back to back, each the other's Hyper-V host.
func pair(t testing.TB) (a, b *node) {
	t.Helper()
	network, join := bridged(t)
	a = newNode(t, network, site{1, 6001, []string{"10.0.254.2/24", "fd00:254::2/64"},
		[]string{"10.0.0.0/24", "fd00::/64"}})
	b = newNode(t, network, site{2, 5001, []string{"10.0.0.10/24", "fd00::10/64"},
		[]string{"10.0.254.0/24", "fd00:254::/64"}})
	join("port1", "port2")
	return a, b
}

func TestGSOPacketsSurviveAnIPv6ProviderNetwork(t *testing.T) {
	a, b := pair(t)
	a.over6(t, 1)
	b.over6(t, 2)
	meet(t, a, b)
	for _, segments := range []bool{true, false} {
		for _, way := range [][2]string{{"10.0.254.2", "10.0.0.10"}, {"fd00:254::2", "fd00::10"}} {
			beforeA, beforeB := a.passed(t), b.passed(t)
			transfer(t, a.inside, b.inside, way[0], way[1])
			if _, out := a.meanSizes(t, beforeA); out < 8000 {
				t.Errorf("%s: packets of %d bytes were encapsulated: GSO did not survive", way[0], out)
			}
			if in, _ := b.meanSizes(t, beforeB); (in > 2000) != segments {
				t.Errorf("%s: packets of %d bytes were decapsulated, with offload %v", way[0], in, segments)
			}
		}
		noSegmentation(t, a.ns)
	}
	for _, try := range []struct {
		local, remote string
		headers       int
	}{{"10.0.254.2", "10.0.0.10:7", 20 + 8}, {"fd00:254::2", "[fd00::10]:7", 40 + 8}} {
		serve(t, b.inside, try.remote, "Contoso")
		question := strings.Repeat("x", compartmentMTU-20-try.headers-len("Contoso: "))
		answer, err := ask(dial(t, a.inside, "udp", try.local, try.remote), question)
		if err != nil || answer != "Contoso: "+question {
			t.Errorf("%s to %s: as large as the MTU: %d bytes came back, %v", try.local, try.remote, len(answer), err)
		}
	}
}

// triangle is three gateways: two hosts in different virtual subnets, and the one that routes between them.
func triangle(t testing.TB) (a, b, router *node) {
	t.Helper()
	network, join := bridged(t)
	a = newNode(t, network, site{1, 5001, []string{"10.0.1.10/24", "fd00:1::10/64"},
		[]string{"10.0.2.0/24", "fd00:2::/64", "10.0.254.0/24", "fd00:254::/64"}})
	b = newNode(t, network, site{2, 5002, []string{"10.0.2.10/24", "fd00:2::10/64"},
		[]string{"10.0.1.0/24", "fd00:1::/64", "10.0.254.0/24", "fd00:254::/64"}})
	router = newNode(t, network, site{3, 6001, []string{"10.0.254.2/24", "fd00:254::2/64"},
		[]string{"10.0.1.0/24", "10.0.2.0/24", "fd00:1::/64", "fd00:2::/64"}})
	join("port1", "port2", "port3")
	forward(t, router.inside)
	return a, b, router
}

// byRouter makes the ends reach each other through the router only: in their own virtual subnets, at its MAC address.
func byRouter(t testing.TB, a, b, router *node) {
	t.Helper()
	router.tenant.Router = &Router{MAC: externalRouterMAC}
	meet(t, a, b, router)
	for _, end := range []struct{ node, other *node }{{a, b}, {b, a}} {
		through := end.node.tenant
		through.Records = append([]Record(nil), through.Records...)
		for i := range through.Records {
			r := &through.Records[i]
			if r.VSID != through.Interfaces[0].VSID {
				r.VSID, r.MAC, r.PA = through.Interfaces[0].VSID, externalRouterMAC, router.pa
			}
		}
		end.node.set(t, through)
	}
}

func TestTheExternalRouterCarriesTCPBetweenVirtualSubnets(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, a, b, router *node){
		"over IPv4": func(*testing.T, *node, *node, *node) {},
		"over IPv6": func(t *testing.T, a, b, router *node) {
			for i, n := range []*node{a, b, router} {
				n.over6(t, i+1)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, router := triangle(t)
			prepare(t, a, b, router)
			byRouter(t, a, b, router)
			// Past the compartment, through it for filters, and past it again where the NIC cannot segment.
			for _, through := range []bool{false, true, false} {
				router.tenant.Router.Through = through
				router.set(t, router.tenant)
				for _, way := range [][2]string{{"10.0.1.10", "10.0.2.10"}, {"fd00:1::10", "fd00:2::10"}} {
					before, beforeB := router.passed(t), b.passed(t)
					transfer(t, a.inside, b.inside, way[0], way[1])
					inside := router.passed(t).RxPackets - before.RxPackets
					if through != (inside > 100) {
						t.Errorf("%s: %d packets entered the router's compartment, with filters %v", way[0], inside, through)
					}
					if in, _ := b.meanSizes(t, beforeB); in < 2000 {
						t.Errorf("%s: packets of %d bytes came, with filters %v: GSO did not survive", way[0], in, through)
					}
				}
			}
			noSegmentation(t, router.ns)
			transfer(t, a.inside, b.inside, "10.0.1.10", "10.0.2.10")
			transfer(t, a.inside, b.inside, "fd00:1::10", "fd00:2::10")
			stats, err := router.Stats(contosoID)
			if err != nil || len(stats) != 3 || stats[0].InPackets < 10000 || stats[1].OutPackets < 10000 {
				t.Errorf("traffic: %+v, %v; 16 MiB eight times are more packets, however few the kernel made of them", stats, err)
			}
		})
	}
}

// A compartment whose IPv4 packets leave in IPv6, or the other way round, after they came in: the kernel refuses to
// encapsulate again what was decapsulated, so that the doors find another way.
func TestACompartmentRoutesBetweenProviderNetworksOfBothFamilies(t *testing.T) {
	a, b, router := triangle(t)
	b.over6(t, 2)
	four := router.pa
	router.over6(t, 3)
	six := router.pa
	router.do(t, func() error {
		return router.SetGateway(Gateway{Backend: "backend0", Providers: append(on(four), on(six)...)})
	})
	router.tenant.Router = &Router{MAC: externalRouterMAC}
	for _, end := range []struct {
		node, other *node
		router      netip.Addr
	}{{a, b, four}, {b, a, six}} {
		own := end.node.tenant.Interfaces[0]
		router.tenant.Subnets = append(router.tenant.Subnets, Subnet{own.VSID, netip.PrefixFrom(own.Addresses[0], 24)})
		for i := range own.Addresses {
			router.tenant.Records = append(router.tenant.Records, Record{
				CA: own.Addresses[i], VSID: own.VSID, MAC: own.MAC, PA: end.node.pa,
			})
			end.node.tenant.Records = append(end.node.tenant.Records, Record{
				CA: end.other.tenant.Interfaces[0].Addresses[i], VSID: own.VSID, MAC: externalRouterMAC, PA: end.router,
			})
		}
		end.node.set(t, end.node.tenant)
	}
	router.set(t, router.tenant)
	for _, way := range [][2]string{{"10.0.1.10", "10.0.2.10"}, {"fd00:1::10", "fd00:2::10"}} {
		before := router.passed(t)
		transfer(t, a.inside, b.inside, way[0], way[1])
		transfer(t, b.inside, a.inside, way[1], way[0])
		if in, out := router.meanSizes(t, before); in < 4000 || out < 4000 {
			t.Errorf("%s: the router's packets have %d bytes in and %d out: GSO did not survive", way[0], in, out)
		}
	}
	noSegmentation(t, router.ns)
	transfer(t, a.inside, b.inside, "10.0.1.10", "10.0.2.10")
	transfer(t, a.inside, b.inside, "fd00:1::10", "fd00:2::10")
	transfer(t, b.inside, a.inside, "10.0.2.10", "10.0.1.10")
	transfer(t, b.inside, a.inside, "fd00:2::10", "fd00:1::10")
}
