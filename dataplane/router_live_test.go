package dataplane

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"bulkhead/internal/testenv"
)

// innerOf is the inner frame of an NVGRE packet over IPv4 that a host receives in a virtual subnet; nil if it is none.
func innerOf(frame []byte, vsid uint32) []byte {
	if len(frame) < 56 || !bytes.Equal(frame[12:14], []byte{8, 0}) || frame[23] != 47 ||
		binary.BigEndian.Uint32(frame[38:])>>8 != vsid {
		return nil
	}
	return append(slices.Clone(frame[42:]), make([]byte, 64)...) // so that nobody reads beyond a short one
}

// A raw host with VMs of two tenants alike in everything, whose router the gateway is:
//
//	host (raw frames) -- backend0 [doors] bhi6001 -- IfCi1 (Contoso: 10.0.254.2, 10.0.0.1, 10.0.3.1)
//	                                      bhi6002 -- IfCi1 (Woodgrove, alike)
func TestTheExternalRouterShowsAsAHopAnswersPingsAndSaysWhatIsTooBig(t *testing.T) {
	ns, hostNS := testenv.Namespace(t), testenv.Namespace(t)
	addVeth(t, ns, "backend0", backendMAC, hostNS, "wire0", hostMAC)
	configure(t, ns, "backend0", providerMTU, []string{"192.168.0.11/24"}, nil)
	configure(t, hostNS, "wire0", providerMTU, nil, nil)
	neighbours(t, ns, "backend0", hostMAC, host, farHost)
	d := openDoors(t, ns)
	for _, link := range []string{"bhi6001", "bhi6002"} {
		inside := testenv.Namespace(t)
		compartment(t, d, inside, link, "IfCi1", gatewayMAC,
			[]string{"10.0.254.2/24", "fd00:254::2/64", "10.0.0.1/32", "10.0.3.1/32", "fd00::1/128", "fd00:3::1/128"},
			[]string{"10.0.0.0/24", "10.0.3.0/24", "fd00::/64", "fd00:3::/64"})
		forward(t, inside)
		configure(t, inside, "IfCi1", 1400, nil, nil)
	}
	g := fabrikam()
	g.External = ""
	d.do(t, func() error { return d.SetGateway(g) })
	c, w := routed(contoso(), 5003), routed(woodgrove(), 5004)
	c.External, w.External = nil, nil
	d.set(t, c, w)
	wire := openWire(t, hostNS, "wire0")
	gateway4, gateway6 := addr("10.0.0.1"), addr("fd00::1")
	large := ip4Fragment(vmCA, farCA, 17, 0x4000, make([]byte, 1500))
	for _, tenant := range []struct {
		name     string
		from, to uint32
	}{{"Contoso", 5001, 5003}, {"Woodgrove", 5002, 5004}} {
		for _, try := range []struct {
			name   string
			proto  uint16
			packet []byte
			answer func(packet []byte) bool
		}{
			{"TTL 1", etherIPv4, withTTL(ip4(vmCA, farCA, 17, ports(1, 2)), 1),
				func(p []byte) bool { return p[9] == 1 && p[20] == 11 }},
			{"hop limit 1", etherIPv6, withTTL(ip6(vmCA6, farCA6, 17, ports(1, 2)), 1),
				func(p []byte) bool { return p[6] == 58 && p[40] == 3 }},
			{"ping", etherIPv4, ip4(vmCA, gateway4, 1, icmp(8, 0, 7<<16|1, []byte("ping"))),
				func(p []byte) bool { return bytes.Equal(p[12:16], gateway4.AsSlice()) && p[20] == 0 }},
			{"ping IPv6", etherIPv6, ip6(vmCA6, gateway6, 58, icmp6(vmCA6, gateway6, 128, 7<<16|1, []byte("ping"))),
				func(p []byte) bool { return bytes.Equal(p[8:24], gateway6.AsSlice()) && p[40] == 129 }},
			{"plain forwarding", etherIPv4, ip4(vmCA, farCA, 17, []byte(tenant.name+"!!")), nil},
			{"larger than the compartment admits, but not the provider network", etherIPv4, large, nil},
		} {
			back, dst := tenant.from, vmMAC
			if try.answer == nil {
				back, dst = tenant.to, farMAC
				try.answer = func(p []byte) bool { return p[8] == 63 && bytes.HasPrefix(p[20:], try.packet[20:]) }
			}
			wire.send(t, nvgre(host, tenant.from, ether(externalRouterMAC, vmMAC, try.proto, try.packet)))
			wire.receive(t, func(f []byte) bool {
				in := innerOf(f, back)
				return in != nil && bytes.HasPrefix(in, dst) && bytes.Equal(in[6:12], externalRouterMAC) &&
					try.answer(in[14:])
			})
		}
	}
	// A filter sends it through the compartment, which says that it is too large for its way out.
	c.Router.Through = true
	d.set(t, c)
	wire.send(t, nvgre(host, 5001, ether(externalRouterMAC, vmMAC, etherIPv4, large)))
	wire.receive(t, func(f []byte) bool {
		in := innerOf(f, 5001)
		return in != nil && in[14+9] == 1 && in[14+20] == 3 && in[14+21] == 4 && binary.BigEndian.Uint16(in[14+26:]) == 1400
	})
}
