package dataplane

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// Prefixes behind VMs that route.
var (
	branch = netip.MustParsePrefix("172.16.0.0/16")
	within = netip.MustParsePrefix("172.16.9.0/24")
)

// leavesTo is the inner MAC address and VSID of what a compartment's packet becomes, or why it is dropped.
func (d *doors) leavesTo(t *testing.T, link string, dst netip.Addr) (vsid uint32, m string) {
	t.Helper()
	_, before := d.dropped(t, nil)
	packet := ip4(gatewayCA, addr("10.0.0.1"), 17, ports(1, 2))
	proto := uint16(etherIPv4)
	if dst.Is6() {
		packet, proto = ip6(gatewayCA6, dst, 17, ports(1, 2)), etherIPv6
	} else {
		copy(packet[16:20], dst.AsSlice())
	}
	verdict, out := d.run(t, d.objects.Door1Tenant, link, ether(gatewayMAC, gatewayMAC, proto, packet))
	if verdict != verdictRedirect {
		grown, _ := d.dropped(t, before)
		return 0, grown[0].Tenant + " " + grown[0].Reason
	}
	return uint32(out[38])<<16 | uint32(out[39])<<8 | uint32(out[40]), net.HardwareAddr(out[42:48]).String()
}

func TestDestinationsWithoutARecordGoWhereTheCustomerRouteSays(t *testing.T) {
	d := fabrikamDoors(t)
	other := mac("60:00:60:00:09:09")
	for _, tenant := range []Tenant{contoso(), woodgrove()} {
		home, own := tenant.Subnets[0].VSID, tenant.Subnets[1].VSID
		tenant.Records = append(tenant.Records, Record{CA: addr("10.0.254.8"), VSID: own, MAC: other, PA: host})
		tenant.Routes = []CustomerRoute{
			{VSID: home, Prefix: netip.MustParsePrefix("10.0.0.0/24")}, // on-link
			{VSID: home, Prefix: branch, NextHop: vmCA, Metric: 10},
			{VSID: own, Prefix: branch, NextHop: addr("10.0.254.8"), Metric: 20},
			{VSID: own, Prefix: within, NextHop: addr("10.0.254.8")},
			{VSID: home, Prefix: netip.MustParsePrefix("172.17.0.0/16"), NextHop: addr("10.0.0.99")},
			{VSID: own, Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: gatewayCA},
			{VSID: home, Prefix: netip.MustParsePrefix("fd77::/16"), NextHop: vmCA6},
		}
		d.set(t, tenant)
	}
	for _, c := range []struct {
		link, dst string
		vsid      uint32
		mac       string
	}{
		{"bhi6001", "172.16.1.1", 5001, vmMAC.String()},
		{"bhi6002", "172.16.1.1", 5002, vmMAC.String()},
		{"bhi6001", "172.16.9.1", 6001, other.String()},
		{"bhi6001", "fd77::1", 5001, vmMAC.String()},
		{"bhi6001", "172.17.1.1", 0, "Contoso no-record"}, // the next hop has no record
		{"bhi6001", "8.8.8.8", 0, "Contoso no-record"},    // the next hop is the gateway itself
		{"bhi6002", "10.0.0.55", 0, "Woodgrove no-record"},
		{"bhi6001", "10.0.0.10", 5001, vmMAC.String()}, // a record counts before any route
	} {
		if vsid, m := d.leavesTo(t, c.link, addr(c.dst)); vsid != c.vsid || m != c.mac {
			t.Errorf("%s from %s: VSID %d, %s; want %d, %s", c.dst, c.link, vsid, m, c.vsid, c.mac)
		}
	}
}

func TestCustomerRoutesChangeOneByOne(t *testing.T) {
	d := fabrikamDoors(t)
	c := contoso()
	c.Routes = []CustomerRoute{{VSID: 5001, Prefix: branch, NextHop: vmCA, Metric: 10}}
	d.set(t, c)
	before := d.snapshot(t)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	preferred := CustomerRoute{VSID: 6001, Prefix: branch, NextHop: addr("10.0.254.9"), Metric: 5}
	do(d.SetRoute(contosoID, preferred))
	if vsid, _ := d.leavesTo(t, "bhi6001", addr("172.16.1.1")); vsid != 6001 {
		t.Errorf("VSID %d after a better route came", vsid)
	}
	preferred.Metric = 50
	do(d.SetRoute(contosoID, preferred))
	if vsid, _ := d.leavesTo(t, "bhi6001", addr("172.16.1.1")); vsid != 5001 {
		t.Errorf("VSID %d after the route became worse", vsid)
	}
	routes, err := d.Routes(contosoID)
	if want := []CustomerRoute{c.Routes[0], preferred}; err != nil || !slices.Equal(routes, want) {
		t.Errorf("routes %v, %v; want %v", routes, err, want)
	}
	do(d.DeleteRoute(contosoID, c.Routes[0]))
	if vsid, _ := d.leavesTo(t, "bhi6001", addr("172.16.1.1")); vsid != 6001 {
		t.Errorf("VSID %d after the better route went", vsid)
	}
	do(d.DeleteRoute(contosoID, preferred))
	do(d.DeleteRoute(contosoID, preferred))
	if _, why := d.leavesTo(t, "bhi6001", addr("172.16.1.1")); why != "Contoso no-record" {
		t.Errorf("without a route: %s", why)
	}
	d.set(t, c)
	same(t, before, d.snapshot(t))
	d.reopen(t)
	d.do(t, func() error { return d.SetGateway(fabrikam()) })
	if routes, err := d.Routes(contosoID); err != nil || !slices.Equal(routes, c.Routes) {
		t.Errorf("routes after reopening: %v, %v", routes, err)
	}
	for want, r := range map[string]CustomerRoute{
		"VSID 5002 is none of the tenant's": {VSID: 5002, Prefix: branch, NextHop: vmCA},
		"not a unicast address":             {VSID: 5001, Prefix: branch, NextHop: vmCA6},
	} {
		if err := d.SetRoute(contosoID, r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	same(t, before, d.snapshot(t))
}
