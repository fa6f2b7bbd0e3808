package dataplane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// fuzzSeeds are good frames for every program, to start from.
func fuzzSeeds() [][]byte {
	none := make([]byte, 6)
	vm4 := ether(gatewayMAC, vmMAC, etherIPv4, ip4(vmCA, gatewayCA, 17, ports(1, 2)))
	vm6 := ether(gatewayMAC, vmMAC, etherIPv6, ip6(vmCA6, gatewayCA6, 17, ports(1, 2)))
	return [][]byte{
		nvgre(host, 6001, vm4), nvgre(host, 6002, vm4), nvgre(host, 6001, vm6),
		nvgre(host, 6001, ether(broadcast, vmMAC, etherARP, arp(1, vmMAC, vmCA, none, gatewayCA))),
		nvgre(host, 6001, ether(gatewayMAC, vmMAC, etherIPv6, solicit(vmCA6, gatewayCA6, gatewayCA6))),
		ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, vmCA, 17, ports(1, 2))),
		ether(gatewayMAC, gatewayMAC, etherIPv6, ip6(gatewayCA6, vmCA6, 17, ports(1, 2))),
		fromInternet(ip4(internet, contosoNAT, 6, ports(80, 1))), fromInternet(ip4(internet, sharedNAT, 6, ports(80, 9000))),
		fromInternet(ip6(internet6, contosoNAT6, 44, slices.Concat([]byte{17, 0, 0, 1, 0, 0, 0, 0}, ports(1, 2)))),
		fromInternet(unreachable(internet, sharedNAT, ip4(sharedNAT, internet, 6, ports(9001, 80)))),
		fromInternet(tooBig(internet6, contosoNAT6, ip6(contosoNAT6, internet6, 6, ports(1, 80)))),
		fromCompartment(ip4(contosoNAT, internet, 6, ports(1, 80))),
		fromCompartment(ip4(sharedNAT, woodNAT, 17, ports(9000, 80))),
		fromCompartment(unreachable(sharedNAT, internet, ip4(internet, sharedNAT, 17, ports(1, 9000)))),
		ether(broadcast, routerMAC, etherARP, arp(1, routerMAC, internet, none, sharedNAT)),
		ether(externalMAC, routerMAC, etherIPv6, solicit(internet6, contosoNAT6, contosoNAT6)),
	}
}

// hold passes a frame to every program and checks, by rules of its own, that what a program lets pass may pass.
func (d *doors) hold(t *testing.T, frame []byte) {
	t.Helper()
	for _, p := range []struct {
		program *ebpf.Program
		link    string
		may     func(frame, out []byte) bool
	}{
		{d.objects.Door1Wire, "backend0", mayEnterDoor1},
		{d.objects.Door1Tenant, "bhi6001", mayLeaveDoor1},
		{d.objects.Door2Wire, "If2", mayEnterDoor2},
		{d.objects.Door2Tenant, "bhx1", mayLeaveDoor2},
	} {
		verdict, out, err := d.try(p.program, p.link, frame)
		if errors.Is(err, unix.EINVAL) {
			continue // The kernel's test run takes no IP frame that is shorter than its header.
		}
		if err != nil {
			t.Fatal(err)
		}
		switch verdict {
		case verdictDrop:
		case verdictNext:
			if !bytes.Equal(frame, out) {
				t.Errorf("%v changed a frame that is the kernel's: %x to %x", p.program, frame, out)
			}
		case verdictRedirect:
			if !p.may(frame, out) {
				t.Errorf("%v let pass %x as %x", p.program, frame, out)
			}
		default:
			t.Errorf("%v: verdict %d", p.program, verdict)
		}
	}
}

func FuzzDoors(f *testing.F) {
	for _, seed := range fuzzSeeds() {
		f.Add(seed)
	}
	d := fabrikamDoors(f)
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) >= 14 && len(frame) <= 3000 {
			d.hold(t, frame)
		}
	})
}

func TestDoorsHoldTheirRulesWhenAByteOfAGoodFrameIsAnotherOrItEndsEarly(t *testing.T) {
	d := fabrikamDoors(t)
	for _, seed := range fuzzSeeds() {
		for at := range seed {
			for _, flip := range []byte{0x01, 0x80, 0xff} {
				frame := slices.Clone(seed)
				frame[at] ^= flip
				d.hold(t, frame)
			}
			if at >= 14 {
				d.hold(t, seed[:at])
			}
		}
	}
}

func mayEnterDoor1(frame, out []byte) bool {
	if len(frame) < 56 || !bytes.HasPrefix(frame, backendMAC) || !bytes.Equal(frame[12:15], []byte{8, 0, 0x45}) ||
		!bytes.Equal(frame[20:22], []byte{frame[20] & 0x40, 0}) || frame[23] != 47 ||
		!bytes.Equal(frame[26:34], append(host.AsSlice(), provider.AsSlice()...)) ||
		!bytes.Equal(frame[34:38], []byte{0x20, 0, 0x65, 0x58}) {
		return false
	}
	vsid := binary.BigEndian.Uint32(frame[38:]) >> 8
	if vsid != 6001 && vsid != 6002 {
		return false
	}
	if bytes.HasPrefix(out, frame[6:12]) { // an answer to the host
		return bytes.Equal(out[:12], slices.Concat(frame[6:12], frame[:6])) && bytes.Equal(out[38:42], frame[38:42]) &&
			bytes.Equal(out[42:54], slices.Concat(frame[48:54], gatewayMAC))
	}
	return bytes.Equal(out, frame[42:]) && bytes.HasPrefix(out, gatewayMAC) && mayBeIP(out[12:])
}

// mayBeIP checks the version of what an Ethernet type announces.
func mayBeIP(typed []byte) bool {
	return len(typed) > 2 && (bytes.HasPrefix(typed, []byte{8, 0}) && typed[2]>>4 == 4 ||
		bytes.HasPrefix(typed, []byte{0x86, 0xdd}) && typed[2]>>4 == 6)
}

// addresses are those of the IP packet in a frame.
func addresses(frame []byte) (src, dst netip.Addr) {
	at, size := 14+12, 4
	if frame[14]>>4 == 6 {
		at, size = 14+8, 16
	}
	if len(frame) < at+2*size {
		return src, dst
	}
	src, _ = netip.AddrFromSlice(frame[at : at+size])
	dst, _ = netip.AddrFromSlice(frame[at+size : at+2*size])
	return src, dst
}

func mayLeaveDoor1(frame, out []byte) bool {
	_, dst := addresses(frame)
	vsids := map[netip.Addr]uint32{vmCA: 5001, vmCA6: 5001, addr("10.0.254.9"): 6001}
	return mayBeIP(frame[12:]) && len(out) == len(frame)+42 && bytes.Equal(out[56:], frame[14:]) &&
		binary.BigEndian.Uint32(out[38:])>>8 == vsids[dst] && bytes.Equal(out[30:34], host.AsSlice()) &&
		bytes.Equal(out[42:56], slices.Concat(vmMAC, gatewayMAC, frame[12:14]))
}

// ours are the addresses that door 2 has an owner of.
func ours(a netip.Addr) bool {
	return slices.Contains([]netip.Addr{contosoNAT, contosoNAT6, sharedNAT, woodNAT}, a)
}

func mayEnterDoor2(frame, out []byte) bool {
	if bytes.HasPrefix(frame[12:], []byte{8, 6}) {
		target, _ := netip.AddrFromSlice(frame[38:42])
		return ours(target) && bytes.Equal(out[22:32], slices.Concat(externalMAC, target.AsSlice()))
	}
	_, dst := addresses(frame)
	if mayBeIP(frame[12:]) && len(frame) >= 78 && frame[14]>>4 == 6 && frame[20] == 58 && frame[54] == 135 {
		target, _ := netip.AddrFromSlice(frame[62:78])
		return ours(target) && bytes.HasPrefix(out, frame[6:12]) && bytes.Equal(out[80:], externalMAC)
	}
	return mayBeIP(frame[12:]) && ours(dst) && bytes.Equal(out, delivered(frame))
}

func mayLeaveDoor2(frame, out []byte) bool {
	src, dst := addresses(frame)
	if !mayBeIP(frame[12:]) || !slices.Contains([]netip.Addr{contosoNAT, contosoNAT6, sharedNAT}, src) ||
		dst == ownAddress || dst == provider || dst.IsMulticast() || dst.IsLinkLocalUnicast() && dst.Is6() {
		return false
	}
	if ours(dst) {
		return bytes.Equal(out, delivered(frame))
	}
	return bytes.Equal(out, frame) && dst != unownedNAT
}
