package hnv_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"bulkhead/lab/hnv"
)

// In external-router mode a host knows its own subnet and the router, which is the gateway: here the second host's VM.
func TestHostSendsWhatLeavesTheSubnetToTheExternalRouterAsItIs(t *testing.T) {
	router := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	p := hnv.Policy{
		Subnets: []hnv.Subnet{
			{RoutingDomain: "red", VSID: 5001, Prefix: netip.MustParsePrefix("10.0.0.0/24"), ExternalRouter: true},
		},
		Records: []hnv.Record{
			{RoutingDomain: "red", VSID: 5001, CA: netip.MustParseAddr("10.0.0.1"), MAC: router, PA: paB},
			{RoutingDomain: "red", VSID: 5001, CA: netip.MustParseAddr("10.0.0.10"), MAC: macA, PA: paA},
		},
	}
	vm, gateway := newCable(), newCable()
	hosts := wire(t,
		hnv.Config{Name: "a", PA: paA, Policy: p, Ports: []hnv.Port{{VSID: 5001, MAC: macA, Device: vm}}},
		hnv.Config{Name: "b", PA: paB, Policy: p, Ports: []hnv.Port{{VSID: 5001, MAC: router, Device: gateway}}})
	vm.sends(arpFrame(t, layers.ARPRequest, macA, "10.0.0.10", nil, "10.0.0.1"))
	if address, mac := answered(t, vm.next(t)); address.String() != "10.0.0.1" || !bytes.Equal(mac, router) {
		t.Errorf("%v is at %v", address, mac)
	}
	for _, to := range []string{"10.0.1.10", "10.0.0.1", "65.10.10.100"} {
		request := echo(router, to, 1)
		vm.sends(request)
		if got := gateway.next(t); !bytes.Equal(got, request) {
			t.Errorf("%s: the router got %x, want it as it was sent", to, got)
		}
	}
	for _, o := range hosts[0].Observations() {
		if o.VSID != 5001 || o.Destination != paB {
			t.Errorf("on the wire: %v", o)
		}
	}
	vm.quiet(t) // the host does not play the router
}
