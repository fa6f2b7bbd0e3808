package dataplane

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var boundProvider = addr("192.168.0.12") // of VSIDs 5001 and 6001 only

func boundGateway() Gateway {
	g := fabrikam()
	p := on(boundProvider)
	p[0].VSIDs = []uint32{5001, 6001}
	g.Providers = append(g.Providers, p...)
	return g
}

// sentFrom is the provider address that a compartment's packet leaves from.
func (d *doors) sentFrom(t *testing.T, link string) netip.Addr {
	t.Helper()
	frame := ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, vmCA, 17, ports(1, 2)))
	_, out := d.run(t, d.objects.Door1Tenant, link, frame)
	if len(out) < 34 {
		t.Fatalf("frame %x", out)
	}
	return netip.AddrFrom4([4]byte(out[26:30]))
}

func TestAVirtualSubnetUsesTheProviderAddressThatNamesItAndNoOther(t *testing.T) {
	d := fabrikamDoors(t)
	before := d.snapshot(t)
	d.do(t, func() error { return d.SetGateway(boundGateway()) })
	frame := ether(gatewayMAC, vmMAC, etherIPv4, ip4(vmCA, gatewayCA, 17, ports(1, 2)))
	to := func(pa netip.Addr, vsid uint32) []byte {
		return ether(backendMAC, hostMAC, etherIPv4, ip4(host, pa, 47, gre(vsid, 1, frame)))
	}
	d.check(t, d.objects.Door1Wire, "door1", "backend0", []packetCase{
		{name: "its own", frame: to(boundProvider, 6001), verdict: verdictRedirect, out: frame},
		{name: "the common one", frame: to(provider, 6002), verdict: verdictRedirect, out: frame},
		{name: "the common one for a VSID with its own", frame: to(provider, 6001), verdict: verdictDrop, tenant: "Contoso",
			reason: "wrong-provider"},
		{name: "another's own", frame: to(boundProvider, 6002), verdict: verdictDrop, tenant: "Woodgrove",
			reason: "wrong-provider"},
	})
	if a, b := d.sentFrom(t, "bhi6001"), d.sentFrom(t, "bhi6002"); a != boundProvider || b != provider {
		t.Errorf("sent from %v and %v, want %v and %v", a, b, boundProvider, provider)
	}
	// What is declared afterwards finds it as it is.
	restore := d.readOnly(t)
	d.set(t, contoso(), woodgrove())
	restore()
	d.do(t, func() error { return d.SetGateway(fabrikam()) })
	if a := d.sentFrom(t, "bhi6001"); a != provider {
		t.Errorf("sent from %v after the binding is gone", a)
	}
	if diff := cmp.Diff(len(before.Hosts), len(d.snapshot(t).Hosts)); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}

func TestProviderAddressesAndRoutesAreListedAsSet(t *testing.T) {
	d := fabrikamDoors(t)
	g := boundGateway()
	g.ProviderRoutes = []ProviderRoute{{netip.MustParsePrefix("10.0.0.0/8"), addr("192.168.0.1")}}
	d.do(t, func() error { return d.SetGateway(g) })
	same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(g.Providers, d.Providers(), same); diff != "" {
		t.Errorf("provider addresses (-want +got):\n%s", diff)
	}
	if !slices.Equal(g.ProviderRoutes, d.ProviderRoutes()) {
		t.Errorf("provider routes %v", d.ProviderRoutes())
	}
}

func TestARecordWhoseProviderAddressHasNoRouteIsRefusedUntilThereIsOne(t *testing.T) {
	d := fabrikamDoors(t)
	far := Record{CA: addr("10.0.0.77"), VSID: 5001, MAC: vmMAC, PA: addr("10.77.0.1")}
	const want = "tenant Contoso: record for 10.0.0.77: provider address 10.77.0.1 has no route"
	if err := d.SetRecord(contosoID, far); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	c := contoso()
	c.Records = append(c.Records, far)
	if err := d.ns.Do(func() error { return d.SetTenant(c) }); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	g := fabrikam()
	g.ProviderRoutes = []ProviderRoute{{netip.MustParsePrefix("10.77.0.0/16"), addr("192.168.0.1")}}
	d.do(t, func() error { return d.SetGateway(g) })
	d.set(t, c)
	frame := ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, far.CA, 17, ports(1, 2)))
	if verdict, _ := d.run(t, d.objects.Door1Tenant, "bhi6001", frame); verdict != verdictRedirect {
		t.Errorf("verdict %d", int32(verdict))
	}
	// Without the route, what goes there is dropped, and no other host is the worse for it.
	d.do(t, func() error { return d.SetGateway(fabrikam()) })
	d.check(t, d.objects.Door1Tenant, "door1", "bhi6001", []packetCase{
		{name: "no route any more", frame: frame, verdict: verdictDrop, tenant: "Contoso", reason: "not-ready"},
	})
	if from := d.sentFrom(t, "bhi6001"); from != provider {
		t.Errorf("the other hosts are sent to from %v", from)
	}
}

func TestDoor1DropsFramesLargerThanTheProviderNetworkAdmits(t *testing.T) {
	d := dualDoors(t)
	packet := func(dst netip.Addr, size int) []byte {
		return ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, dst, 17, make([]byte, size-20)))
	}
	d.check(t, d.objects.Door1Tenant, "door1", "bhi6001", []packetCase{
		{name: "as large as the MTU", frame: packet(vmCA, providerMTU-42), verdict: verdictRedirect},
		{name: "larger", frame: packet(vmCA, providerMTU-41), verdict: verdictDrop, tenant: "Contoso", reason: "too-big"},
		{name: "as large as the MTU over IPv6", frame: packet(vmOver6, providerMTU-62), verdict: verdictRedirect},
		{name: "larger over IPv6", frame: packet(vmOver6, providerMTU-61), verdict: verdictDrop, tenant: "Contoso",
			reason: "too-big"},
	})
}
