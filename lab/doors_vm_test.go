//go:build vm

package lab_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/internal/testenv"
	"bulkhead/lab"
	"bulkhead/lab/hnv"
)

// An IPv6 tenant on an IPv6 provider network, whose hosts do not route: the gateway is its router.
const tenantSix = `apiVersion: bulkhead/v1
kind: Tenant
metadata:
  name: Trey
spec:
  routingDomainId: 12345678-1000-2000-3000-123456780006
  virtualSubnets:
    - {vsid: 7001, prefix: "fd00:1::/64"}
    - {vsid: 7002, prefix: "fd00:2::/64"}
    - {vsid: 7003, prefix: "fd00:3::/64"}
  internalInterfaces:
    - {name: IfCi1, vsid: 7003, addresses: ["fd00:3::2/64"], macAddress: "60:01:60:01:03:01"}
  externalRouter: {macAddress: "60:00:60:00:00:01"}
  lookupRecords:
    - {customerAddress: "fd00:1::a", vsid: 7001, macAddress: "02:00:00:00:07:01", providerAddress: "fd00:a::71"}
    - {customerAddress: "fd00:2::a", vsid: 7002, macAddress: "02:00:00:00:07:02", providerAddress: "fd00:a::72"}
    - {type: L2Only, vsid: 7002, macAddress: "02:00:00:00:07:03", providerAddress: "fd00:a::72"}
`

var (
	thirdMAC  = net.HardwareAddr{2, 0, 0, 0, 7, 3}
	routerMAC = net.HardwareAddr{0x60, 0, 0x60, 0, 0, 1}
	gatewayPA = addr("fd00:a::11")
)

// sixLab is the lab with the gateway and two hosts: a VM of 7001 on East, two of 7002 on West.
func sixLab(t *testing.T) (vms [3]*lab.Node, east, west *hnv.Host) {
	t.Helper()
	l := newLab(t)
	gateway(t, l, map[string]string{"gateway.yaml": gretapGateway, "trey.yaml": tenantSix})
	eastPA, westPA := addr("fd00:a::71"), addr("fd00:a::72")
	var policy hnv.Policy
	for i, prefix := range []string{"fd00:1::/64", "fd00:2::/64"} {
		p, vsid := netip.MustParsePrefix(prefix), 7001+uint32(i)
		policy.Subnets = append(policy.Subnets,
			hnv.Subnet{RoutingDomain: "Trey", VSID: vsid, Prefix: p, ExternalRouter: true})
		policy.Records = append(policy.Records,
			hnv.Record{RoutingDomain: "Trey", VSID: vsid, CA: p.Addr().Next(), MAC: routerMAC, PA: gatewayPA})
	}
	policy.Records = append(policy.Records,
		hnv.Record{RoutingDomain: "Trey", VSID: 7002, CA: addr("fd00:2::a"), MAC: secondMAC, PA: westPA},
		hnv.Record{RoutingDomain: "Trey", VSID: 7002, MAC: thirdMAC, PA: westPA, Type: hnv.L2Only})
	for name, pa := range map[string]netip.Addr{"East": eastPA, "West": westPA} {
		if _, err := l.AddHyperV(name, pa, policy); err != nil {
			t.Fatal(err)
		}
	}
	for i, v := range []struct {
		host string
		vm   lab.VM
	}{
		{"East", lab.VM{VSID: 7001, MAC: firstMAC, Address: netip.MustParsePrefix("fd00:1::a/64")}},
		{"West", lab.VM{VSID: 7002, MAC: secondMAC, Address: netip.MustParsePrefix("fd00:2::a/64")}},
		{"West", lab.VM{VSID: 7002, MAC: thirdMAC, Address: netip.MustParsePrefix("fd00:2::b/64")}},
	} {
		v.vm.Name = fmt.Sprintf("Trey-%d", i)
		node, err := l.AddVM(v.host, v.vm)
		if err != nil {
			t.Fatal(err)
		}
		vms[i] = node
	}
	return vms, l.Host("East"), l.Host("West")
}

// saw waits for an observation of a host.
func saw(t *testing.T, h *hnv.Host, what string, match func(hnv.Observation) bool) {
	t.Helper()
	if _, err := h.Await(within(t, 10*time.Second), match); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func TestIPv6TenantOnAnIPv6ProviderNetworkIsRoutedLearnedAndFollowed(t *testing.T) {
	testenv.Root(t)
	vms, east, west := sixLab(t)
	second, learned := addr("fd00:2::a"), addr("fd00:2::b")
	hops, err := vms[0].Trace(within(t, 10*time.Second), second)
	if want := []netip.Addr{addr("fd00:1::1"), second}; err != nil || !slices.Equal(hops, want) {
		t.Errorf("the way is %v, want %v: %v", hops, want, err)
	}
	for _, to := range []netip.Addr{addr("fd00:1::1"), addr("fd00:3::2"), learned} {
		if _, err := vms[0].Ping(within(t, 10*time.Second), to); err != nil {
			t.Error(err)
		}
	}
	saw(t, west, "the question for the learned address", func(o hnv.Observation) bool {
		return !o.Sent && o.Source == gatewayPA && o.VSID == 7002 && strings.HasPrefix(o.Inner, "who has fd00:2::b")
	})
	// The VM moves; the old host says so to the gateway, and the gateway follows.
	if err := west.Migrate(7002, secondMAC, east); err != nil {
		t.Fatal(err)
	}
	if _, err := vms[0].Ping(within(t, 10*time.Second), second); err != nil {
		t.Error(err)
	}
	saw(t, west, "the REDIRECT", func(o hnv.Observation) bool {
		return o.Sent && o.Destination == gatewayPA && strings.HasPrefix(o.Inner, "REDIRECT to fd00:a::71")
	})
	if drops := west.Drops(); drops[hnv.DropNoVM] == 0 || drops[hnv.DropMalformed]+drops[hnv.DropControl] != 0 {
		t.Errorf("the old host dropped %v", drops)
	}
}

// The gateway, as the receiver of what is not for it, speaks [MS-NVGREE] as the host expects it.
func TestHostBelievesWhatTheGatewaySaysOfFramesThatAreNotForIt(t *testing.T) {
	testenv.Root(t)
	_, east, west := sixLab(t)
	strange := net.HardwareAddr{2, 0, 0, 0, 9, 9}
	policy := east.Policy()
	// East takes two VMs to be at the gateway: one is on West, and one is nowhere.
	for i, r := range policy.Records {
		if r.CA == addr("fd00:2::a") {
			policy.Records[i].PA = gatewayPA
		}
	}
	policy.Records = append(policy.Records,
		hnv.Record{RoutingDomain: "Trey", VSID: 7002, CA: addr("fd00:2::99"), MAC: strange, PA: gatewayPA})
	east.SetPolicy(policy)
	for _, x := range []struct {
		mac  net.HardwareAddr
		ca   string
		kind hnv.EventKind
		now  netip.Addr
	}{
		{secondMAC, "fd00:2::a", hnv.Redirected, west.PA()},
		{strange, "fd00:2::99", hnv.Stale, gatewayPA},
	} {
		frame := hnv.EchoRequest(firstMAC, x.mac, addr("fd00:1::a"), addr(x.ca), 1, 1)
		if err := east.Send(east.Packet(gatewayPA, 7002, frame)); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, "the gateway says "+string(x.kind), func() bool {
			return slices.ContainsFunc(east.Events(), func(e hnv.Event) bool {
				return e.Kind == x.kind && e.Record.CA == addr(x.ca) && e.Record.PA == x.now && e.From == gatewayPA
			})
		})
	}
	if drops := east.Drops(); drops[hnv.DropControl] != 0 {
		t.Errorf("dropped %v", drops)
	}
}

// RFC 6040, through the router and out again: what the provider network says of congestion on the first part of the way
// is still said on the second, and a packet that cannot carry it is dropped.
func TestCongestionOnTheWayToTheRouterIsToldBehindIt(t *testing.T) {
	testenv.Root(t)
	_, east, west := sixLab(t)
	const capable, congestion = 2, 3 // of the ECN field
	send := func(id uint16, inner, outer uint8) {
		t.Helper()
		frame := hnv.EchoRequest(firstMAC, routerMAC, addr("fd00:1::a"), addr("fd00:2::a"), id, 1)
		frame[15] |= inner << 4
		p := east.Packet(gatewayPA, 7001, frame)
		p.TOS = outer
		if err := east.Send(p); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(congested bool) func(hnv.Observation) bool {
		return func(o hnv.Observation) bool {
			return !o.Sent && o.Source == gatewayPA && o.VSID == 7002 && strings.Contains(o.Inner, "echo request") &&
				(o.TOS == congestion) == congested
		}
	}
	send(1, 0, congestion) // dropped; it comes before the others
	send(2, capable, congestion)
	saw(t, west, "the packet that met congestion", seen(true))
	send(3, capable, capable)
	saw(t, west, "the one that did not", seen(false))
	requests := slices.DeleteFunc(west.Observations(), func(o hnv.Observation) bool {
		return o.Sent || !strings.Contains(o.Inner, "echo request")
	})
	if len(requests) != 2 {
		t.Errorf("want two requests, saw %v", requests)
	}
}
