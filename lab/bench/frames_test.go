package bench_test

import (
	"encoding/binary"
	"net"
	"net/netip"
)

const protocolUDP, protocolGRE = 17, 47

// smallFrame is the size of a small packet's Ethernet frame without its checksum: 64 bytes with it.
const smallFrame = 60

func ether(dst, src net.HardwareAddr, packet []byte) []byte {
	f := append(append(append([]byte{}, dst...), src...), 0x08, 0x00)
	return append(f, packet...)
}

func ip4(src, dst netip.Addr, protocol byte, payload []byte) []byte {
	h := make([]byte, 20, 20+len(payload))
	h[0], h[8], h[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	h[6] = 0x40 // don't fragment
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	var sum uint32
	for i := 0; i < len(h); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum))
	return append(h, payload...)
}

// udp is a datagram without a checksum, which IPv4 allows.
func udp(sport, dport uint16, payload []byte) []byte {
	h := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(h, sport)
	binary.BigEndian.PutUint16(h[2:], dport)
	binary.BigEndian.PutUint16(h[4:], uint16(8+len(payload)))
	return append(h, payload...)
}

// nvgreFrame is a packet from the VM on its way to the gateway, as NVGRE (RFC 7637, section 3.2).
func nvgreFrame(vsid uint32, packet []byte) []byte {
	gre := binary.BigEndian.AppendUint32([]byte{0x20, 0, 0x65, 0x58}, vsid<<8|flowOf(packet)&0xff)
	return ether(backendMAC, hostMAC, ip4(hostPA, gatewayPA, protocolGRE,
		append(gre, ether(insideMAC, vmMAC, packet)...)))
}

// vxlanFrame is the same as VXLAN, for a device with the MAC address.
func vxlanFrame(vni uint32, to net.HardwareAddr, packet []byte) []byte {
	vxlan := binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, vni<<8)
	// The source port is the inner flow's, as the kernel sends it.
	return ether(backendMAC, hostMAC, ip4(hostPA, gatewayPA, protocolUDP,
		udp(0xc000|uint16(flowOf(packet)), vxlanPort, append(vxlan, ether(to, vxlanRemoteMAC, packet)...))))
}

// small is the smallest UDP packet of a flow.
func small(src, dst netip.Addr, flow int) []byte {
	return ip4(src, dst, protocolUDP, udp(uint16(1024+flow), 9, make([]byte, smallFrame-14-20-8)))
}

// flowOf tells the flows of small packets apart.
func flowOf(packet []byte) uint32 { return uint32(binary.BigEndian.Uint16(packet[20:])) * 0x9e37 >> 4 }
