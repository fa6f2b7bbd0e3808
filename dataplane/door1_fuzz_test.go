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

// judge knows what was declared and, by rules of its own, what door 1 may make of a frame.
type judge struct {
	gateway Gateway
	tenants []Tenant
}

// everything is a gateway that does all that door 1 can: two families outside, the external router, customer routes,
// L2Only records and the rule rewrite.
func everything(t testing.TB) (*doors, *judge) {
	t.Helper()
	d := rewriteDoors(t)
	j := &judge{gateway: fabrikam()}
	j.gateway.Providers = slices.Concat(j.gateway.Providers, on(provider6), on(ownStandIn), on(woodStandIn),
		on(ownStandIn6))
	for i, tenant := range []Tenant{routed(contoso(), 5003), routed(woodgrove(), 5004)} {
		home := tenant.Subnets[0].VSID
		tenant.Interfaces[0].Provider = []netip.Addr{ownStandIn, woodStandIn}[i]
		tenant.Records = append(tenant.Records,
			Record{Rule: Rewrite, CA: rewriteCA, VSID: home, MAC: vmMAC, PA: []netip.Addr{vmStandIn, vmStandIn2}[i]},
			Record{CA: vmOver6, VSID: home, MAC: vmMAC, PA: host6}, Record{CA: vm6Over6, VSID: home, MAC: vmMAC, PA: host6},
			Record{Type: L2Only, VSID: home, MAC: farMAC, PA: farHost})
		tenant.Routes = []CustomerRoute{{VSID: home, Prefix: branch, NextHop: vmCA}}
		d.set(t, tenant)
		j.tenants = append(j.tenants, tenant)
	}
	return d, j
}

// wire is a frame on the provider network, as the judge reads it.
type outerFrame struct {
	src, dst netip.Addr
	class    byte
	proto    byte
	payload  []byte // of the IP packet, without padding of the frame
	at       int    // where it starts
}

// readOuter reads an IP packet that is whole, of either version; strict refuses options and fragments.
func readOuter(f []byte, strict bool) (o outerFrame, ok bool) {
	var length int
	switch {
	case len(f) >= 34 && bytes.HasPrefix(f[12:], []byte{8, 0}) && f[14]>>4 == 4:
		o.src, o.dst = netip.AddrFrom4([4]byte(f[26:30])), netip.AddrFrom4([4]byte(f[30:34]))
		o.class, o.proto, o.at, length = f[15], f[23], 34, int(binary.BigEndian.Uint16(f[16:]))+14
		if strict && (f[14] != 0x45 || f[20]&0xbf != 0 || f[21] != 0) {
			return o, false
		}
	case len(f) >= 54 && bytes.HasPrefix(f[12:], []byte{0x86, 0xdd}) && f[14]>>4 == 6:
		o.src, o.dst = netip.AddrFrom16([16]byte(f[22:38])), netip.AddrFrom16([16]byte(f[38:54]))
		o.class, o.proto, o.at, length = f[14]<<4|f[15]>>4, f[20], 54, int(binary.BigEndian.Uint16(f[18:]))+54
	default:
		return o, false
	}
	if length > len(f) || length < o.at {
		return o, !strict
	}
	o.payload = f[o.at:length]
	return o, true
}

func (j *judge) tenantOf(vsid uint32) *Tenant {
	for i := range j.tenants {
		if j.tenants[i].vsids()[vsid] {
			return &j.tenants[i]
		}
	}
	return nil
}

func (t *Tenant) record(match func(Record) bool) (Record, bool) {
	i := slices.IndexFunc(t.Records, match)
	if i < 0 {
		return Record{}, false
	}
	return t.Records[i], true
}

// unchanged tells whether a packet is as it was but for its ECN and, by so much, its TTL.
func unchanged(was, is []byte, hops byte) bool {
	if len(was) != len(is) || len(was) < 20 || was[0]>>4 != is[0]>>4 {
		return false
	}
	was, is = slices.Clone(was), slices.Clone(is)
	if was[0]>>4 == 6 {
		was[1], is[1] = was[1]&0xcf, is[1]&0xcf
		is[7] += hops
		return bytes.Equal(was, is)
	}
	is[8] += hops
	was[1], was[10], was[11] = was[1]&0xfc, 0, 0
	is[1], is[10], is[11] = is[1]&0xfc, 0, 0
	return bytes.Equal(was, is)
}

func (j *judge) mayEnter(frame, out []byte) bool {
	o, ok := readOuter(frame, true)
	if !ok || o.proto != 47 {
		return j.mayEnterRewritten(frame, out)
	}
	if !bytes.HasPrefix(frame, backendMAC) || len(o.payload) < 22 ||
		!bytes.HasPrefix(o.payload, []byte{0x20, 0, 0x65, 0x58}) ||
		!slices.ContainsFunc(j.gateway.Providers, func(p Provider) bool { return p.Address.Addr() == o.dst }) {
		return false
	}
	vsid := binary.BigEndian.Uint32(o.payload[4:]) >> 8
	tenant := j.tenantOf(vsid)
	if tenant == nil {
		return false
	}
	if _, listed := tenant.record(func(r Record) bool { return r.PA == o.src && r.Rule == Encap }); !listed {
		return false
	}
	at := o.at + 8
	in := frame[at:]
	own := vsid == tenant.Interfaces[0].VSID && bytes.HasPrefix(in, gatewayMAC)
	router := bytes.HasPrefix(in, externalRouterMAC)
	switch {
	case bytes.HasPrefix(out, gatewayMAC) && (own || router):
		return bytes.Equal(out[6:14], in[6:14]) && mayBeIP(out[12:]) && unchanged(in[14:], out[14:], 0)
	case bytes.Equal(out[:12], frame[:12]) && router && len(out) == len(frame):
		return tenant.mayRoute(in, out, o.at)
	}
	// An answer, from one of the gateway's addresses.
	return bytes.Equal(out[:12], slices.Concat(frame[6:12], frame[:6])) && bytes.Equal(out[at-8:at], frame[at-8:at]) &&
		bytes.Equal(out[at:at+6], in[6:12]) &&
		(bytes.Equal(out[at+6:at+12], gatewayMAC) || bytes.Equal(out[at+6:at+12], externalRouterMAC)) &&
		(bytes.HasPrefix(out[at+12:], []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 2}) || out[at+54] == 136)
}

// mayRoute judges what the external router made of an inner frame; outer headers end at `at`.
func (t *Tenant) mayRoute(in, out []byte, at int) bool {
	_, dst := addresses(in)
	r, ok := t.record(func(r Record) bool { return r.Type != L2Only && r.CA == dst && r.Rule == Encap })
	o, whole := readOuter(out, true)
	return ok && whole && o.at == at && o.dst == r.PA && binary.BigEndian.Uint32(o.payload[4:])>>8 == r.VSID &&
		bytes.Equal(o.payload[8:22], slices.Concat(r.MAC, externalRouterMAC, in[12:14])) && mayBeIP(in[12:]) &&
		unchanged(in[14:], out[at+8+14:], 1)
}

// mayEnterRewritten judges what is not encapsulated.
func (j *judge) mayEnterRewritten(frame, out []byte) bool {
	o, ok := readOuter(frame, false)
	if !ok || len(out) != len(frame) || !bytes.HasPrefix(frame, backendMAC) {
		return false
	}
	for _, t := range j.tenants {
		r, listed := t.record(func(r Record) bool { return r.PA == o.src && r.Rule == Rewrite })
		src, dst := addresses(out)
		if listed && t.Interfaces[0].Provider == o.dst {
			return src == r.CA && dst == gatewayCA && bytes.HasPrefix(out, gatewayMAC) && mayBeIP(out[12:])
		}
	}
	return false
}

// mayLeave judges what Contoso's compartment sends.
func (j *judge) mayLeave(frame, out []byte) bool {
	t := &j.tenants[0]
	src, dst := addresses(frame)
	if bytes.HasPrefix(frame[12:], []byte{8, 6}) {
		r, ok := t.record(func(r Record) bool {
			return r.CA.Is4() && len(frame) >= 42 && bytes.Equal(r.CA.AsSlice(), frame[38:42])
		})
		return ok && bytes.Equal(out[6:14], slices.Concat(r.MAC, []byte{8, 6})) &&
			bytes.Equal(out[22:32], slices.Concat(r.MAC, r.CA.AsSlice()))
	}
	if !mayBeIP(frame[12:]) {
		return false
	}
	if frame[14]>>4 == 6 && frame[20] == 58 && len(frame) >= 78 && frame[54] == 135 {
		r, ok := t.record(func(r Record) bool { return bytes.Equal(r.CA.AsSlice(), frame[62:78]) })
		return ok && bytes.Equal(out[80:86], r.MAC)
	}
	r, ok := t.record(func(r Record) bool { return r.Type != L2Only && r.CA == dst })
	if !ok && branch.Contains(dst) {
		r, ok = t.record(func(r Record) bool { return r.CA == vmCA })
	}
	if !ok {
		return false
	}
	if r.Rule == Rewrite {
		from, to := addresses(out)
		return src == gatewayCA && from == ownStandIn && to == r.PA && len(out) == len(frame)
	}
	o, whole := readOuter(out, true)
	if !whole || o.dst != r.PA || len(out) != len(frame)+o.at+8 {
		return false
	}
	from := []byte(externalRouterMAC)
	if r.VSID == t.Interfaces[0].VSID {
		from = gatewayMAC
	}
	return binary.BigEndian.Uint32(o.payload[4:])>>8 == r.VSID && bytes.Equal(o.payload[22:], frame[14:]) &&
		bytes.Equal(o.payload[8:22], slices.Concat(r.MAC, from, frame[12:14]))
}

// hold passes a frame to both programs of door 1 and has what comes of it judged.
func (j *judge) hold(t *testing.T, d *doors, frame []byte) {
	t.Helper()
	for _, p := range []struct {
		program *ebpf.Program
		link    string
		may     func(frame, out []byte) bool
	}{{d.objects.Door1Wire, "backend0", j.mayEnter}, {d.objects.Door1Tenant, "bhi6001", j.mayLeave}} {
		verdict, out, err := d.try(p.program, p.link, frame)
		if errors.Is(err, unix.EINVAL) {
			continue // The kernel's test run takes no IP frame that is shorter than its header.
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case verdict == verdictNext && !bytes.Equal(frame, out):
			t.Errorf("%v changed a frame that is the kernel's: %x to %x", p.program, frame, out)
		case verdict == verdictRedirect && !p.may(frame, out):
			t.Errorf("%v let pass %x as %x", p.program, frame, out)
		}
	}
}

func door1Seeds() [][]byte {
	none := make([]byte, 6)
	vm := func(dst netip.Addr) []byte { return ip4(vmCA, dst, 17, ports(1, 2)) }
	vm6 := func(dst netip.Addr) []byte { return ip6(vmCA6, dst, 17, ports(1, 2)) }
	routed4 := ether(externalRouterMAC, vmMAC, etherIPv4, vm(farCA))
	routed6 := ether(externalRouterMAC, vmMAC, etherIPv6, vm6(farCA6))
	fragment := slices.Concat([]byte{17, 0, 0, 1, 0, 0, 0, 9}, ports(1, 2))
	rewritten := ether(backendMAC, hostMAC, etherIPv4, ip4(vmStandIn, ownStandIn, 6, make([]byte, 20)))
	return slices.Concat(fuzzSeeds()[:7], [][]byte{
		nvgre(host, 5001, routed4), nvgre(host, 5002, routed6), nvgre6(host6, 5001, routed4), nvgre6(host6, 5001, routed6),
		nvgre6(host6, 6001, ether(gatewayMAC, vmMAC, etherIPv6, vm6(gatewayCA6))),
		nvgre6(host6, 5001, ether(externalRouterMAC, vmMAC, etherIPv4, vm(vmOver6))),
		nvgre(host, 5001, ether(broadcast, vmMAC, etherARP, arp(1, vmMAC, vmCA, none, addr("10.0.0.1")))),
		nvgre(host, 5001, ether(vmMAC, farMAC, etherARP, arp(2, farMAC, farCA, vmMAC, vmCA))),
		nvgre(host, 5001, ether(gatewayMAC, vmMAC, etherIPv4, ip4(host, provider, 1, icmp(5, 10, 0, vm(farCA))))),
		nvgre6(host6, 6001, ether(gatewayMAC, vmMAC, etherIPv6, solicit(vmCA6, gatewayCA6, gatewayCA6))),
		rewritten, ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, rewriteCA, 17, ports(1, 2))),
		ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, vmOver6, 17, ports(1, 2))),
		ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, branch.Addr().Next(), 17, ports(1, 2))),
		ether(gatewayMAC, gatewayMAC, etherIPv6, ip6(gatewayCA6, vm6Over6, 44, fragment)),
		ether(gatewayMAC, gatewayMAC, etherIPv6, solicit(gatewayCA6, vmCA6, vmCA6)),
		ether(broadcast, gatewayMAC, etherARP, arp(1, gatewayMAC, gatewayCA, none, vmCA)),
	})
}

func FuzzDoor1(f *testing.F) {
	for _, seed := range door1Seeds() {
		f.Add(seed)
	}
	d, j := everything(f)
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) >= 14 && len(frame) <= 3000 {
			j.hold(t, d, frame)
		}
	})
}

func TestDoor1HoldsItsRulesInAllItsModesWhenAByteOfAGoodFrameIsAnotherOrItEndsEarly(t *testing.T) {
	d, j := everything(t)
	for _, seed := range door1Seeds() {
		for at := range seed {
			for _, flip := range []byte{0x01, 0x80, 0xff} {
				frame := slices.Clone(seed)
				frame[at] ^= flip
				j.hold(t, d, frame)
			}
			if at >= 14 {
				j.hold(t, d, seed[:at])
			}
		}
	}
}
