//go:build vm

package dataplane

import (
	"bytes"
	"testing"
)

// With VLAN devices at both ends, where the kernel has them: what the doors send and answer is in the VLAN too.
func TestAProviderAddressInAVLANSendsAndAnswersInThatVLAN(t *testing.T) {
	_, hostNS := vlanDoors(t, "backend0.7")
	wire := openWire(t, hostNS, "wire0.7")
	wire.send(t, vmAsks(vlanHost, vlanProvider, "hello"))
	wire.receive(t, func(f []byte) bool { return bytes.HasSuffix(f, []byte("Contoso: hello")) })
	ask := ether(broadcast, vmMAC, etherARP, arp(1, vmMAC, vmCA, make([]byte, 6), gatewayCA))
	want := ether(vmMAC, gatewayMAC, etherARP, arp(2, gatewayMAC, gatewayCA, vmMAC, vmCA))
	wire.send(t, ether(backendMAC, hostMAC, etherIPv4, ip4(vlanHost, vlanProvider, 47, gre(6001, 9, ask))))
	wire.receive(t, func(f []byte) bool { return bytes.HasSuffix(f, want) })
}
