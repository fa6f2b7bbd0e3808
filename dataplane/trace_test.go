package dataplane

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func flow(from, to netip.Addr) Probe {
	return Probe{From: from, To: to, Protocol: unix.IPPROTO_UDP, SourcePort: 4000, DestinationPort: 53}
}

// undisturbed holds that nothing is counted and nobody told while fn traces.
func (d *doors) undisturbed(t *testing.T, fn func()) {
	t.Helper()
	before := d.allCounters(t)
	fn()
	if diff := cmp.Diff(before, d.allCounters(t)); diff != "" {
		t.Errorf("a trace moved counters (-before +after):\n%s", diff)
	}
	var due doorsAllowance
	for id := range d.tenants {
		if err := d.objects.Allowances.Lookup(id, &due); err != nil || due != (doorsAllowance{}) {
			t.Errorf("a trace raised events: %v, %v", due, err)
		}
	}
}

func (d *doors) allCounters(t *testing.T) (all []any) {
	t.Helper()
	dropped, err := d.Drops()
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, dropped)
	for _, rdid := range []Tenant{contoso(), woodgrove()} {
		stats, err := d.Stats(rdid.RoutingDomain)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, stats)
	}
	return all
}

func (d *doors) fromHost(t *testing.T, p HostProbe) (sent Outer, h Hop) {
	t.Helper()
	p.RoutingDomain = contosoID
	d.do(t, func() (err error) {
		sent, h, err = d.TraceFromHost(p)
		return err
	})
	return sent, h
}

func TestTraceOfAHostsPacketTellsWhatDoor1Does(t *testing.T) {
	d := fabrikamDoors(t)
	router := contoso()
	router.Router = &Router{MAC: routerMAC}
	router.Records = append(router.Records, Record{CA: addr("10.0.254.7"), VSID: 6001, MAC: hostMAC, PA: addr("192.168.0.33")})
	for _, c := range []struct {
		name    string
		tenant  Tenant
		probe   HostProbe
		outcome Outcome
		reason  string
		link    string
		outer   Outer
	}{
		{"to the interface", contoso(), HostProbe{Probe: flow(vmCA, internet), VSID: 6001}, Entered, "", "bhi6001", Outer{}},
		{"IPv6", contoso(), HostProbe{Probe: flow(vmCA6, internet6), VSID: 6001}, Entered, "", "bhi6001", Outer{}},
		{"unlisted host", contoso(), HostProbe{Probe: flow(vmCA, internet), VSID: 6001, PA: addr("192.168.0.99")},
			Dropped, "unlisted-provider", "", Outer{}},
		{"unknown VSID", contoso(), HostProbe{Probe: flow(vmCA, internet), VSID: 7777}, Dropped, "unknown-vsid", "", Outer{}},
		{"VSID without interface", contoso(), HostProbe{Probe: flow(vmCA, internet), VSID: 5001}, Dropped, "inner-mac", "",
			Outer{}},
		{"routed", router, HostProbe{Probe: flow(vmCA, addr("10.0.254.7")), VSID: 5001, ToRouter: true}, ToHost, "", "",
			Outer{Local: provider, PA: addr("192.168.0.33"), VSID: 6001, From: routerMAC, To: hostMAC}},
		{"routed to nobody", router, HostProbe{Probe: flow(vmCA, addr("10.0.254.8")), VSID: 5001, ToRouter: true},
			Entered, "", "bhi6001", Outer{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.set(t, c.tenant)
			d.undisturbed(t, func() {
				sent, h := d.fromHost(t, c.probe)
				if h.Outcome != c.outcome || h.Reason.Name != c.reason || h.Link != c.link {
					t.Errorf("sent as %+v: %+v", sent, h)
				}
				if c.reason == "unlisted-provider" && h.Tenant != "Contoso" || c.reason == "unknown-vsid" && h.Tenant != "" {
					t.Errorf("dropped as %q's", h.Tenant)
				}
				if c.outcome == ToHost {
					if diff := cmp.Diff(c.outer, h.Outer, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
						t.Errorf("what is around it (-want +got):\n%s", diff)
					}
				}
				if h.Probe != c.probe.Probe {
					t.Errorf("the packet became %+v", h.Probe)
				}
				if c.probe.PA == (netip.Addr{}) && (sent.PA != host || sent.Local != provider) {
					t.Errorf("sent as %+v, want as the host of the lookup record does", sent)
				}
			})
		})
	}
}

func TestTraceOfAMachineThatNoRecordNamesAsksForItsHost(t *testing.T) {
	d := fabrikamDoors(t)
	err := d.ns.Do(func() error {
		_, _, err := d.TraceFromHost(HostProbe{Probe: flow(addr("10.0.0.77"), internet), RoutingDomain: contosoID, VSID: 6001})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "no lookup record") {
		t.Errorf("error %v", err)
	}
}

func TestTraceOfARewrittenPacketTellsBothOfItsForms(t *testing.T) {
	d := rewriteDoors(t)
	d.undisturbed(t, func() {
		sent, h := d.fromHost(t, HostProbe{Probe: flow(rewriteCA, gatewayCA), VSID: 6001})
		if sent.VSID != 0 || sent.PA != vmStandIn || sent.Local != ownStandIn || h.Outcome != Entered ||
			h.Link != "bhi6001" || h.Probe != flow(rewriteCA, gatewayCA) {
			t.Errorf("sent as %+v: %+v", sent, h)
		}
		var back Hop
		d.do(t, func() (err error) {
			back, err = d.TraceFromCompartment("bhi6001", flow(gatewayCA, rewriteCA))
			return err
		})
		if back.Outcome != ToHost || back.Outer.VSID != 0 || back.Outer.PA != vmStandIn || back.Outer.Local != ownStandIn {
			t.Errorf("the way back: %+v", back)
		}
	})
	err := d.ns.Do(func() error {
		_, _, err := d.TraceFromHost(HostProbe{Probe: flow(rewriteCA, internet), RoutingDomain: contosoID, VSID: 6001})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "rule rewrite") {
		t.Errorf("error %v", err)
	}
}

func TestTraceToAVLANOfTheProviderNetworkTellsWhatDoor1Does(t *testing.T) {
	d := fabrikamDoors(t)
	g := fabrikam()
	g.Providers[0].VLAN = 7
	d.do(t, func() error { return d.SetGateway(g) })
	d.undisturbed(t, func() {
		if _, h := d.fromHost(t, HostProbe{Probe: flow(vmCA, internet), VSID: 6001}); h.Outcome != Entered {
			t.Errorf("%+v", h)
		}
	})
}

func TestTraceFromACompartmentTellsWhatItsDoorDoes(t *testing.T) {
	d := fabrikamDoors(t)
	shared := flow(sharedNAT, woodNAT)
	shared.SourcePort = 9500
	// Port 4789 is VXLAN's, whose payload would be a packet again.
	vxlan := Probe{From: gatewayCA, To: vmCA, Protocol: unix.IPPROTO_UDP, SourcePort: 4000, DestinationPort: 4789}
	ping := Probe{From: contosoNAT, To: sharedNAT, Protocol: unix.IPPROTO_ICMP, SourcePort: 10500}
	for _, c := range []struct {
		name    string
		link    string
		probe   Probe
		outcome Outcome
		reason  string
		to      string // a compartment's link
	}{
		{"to a VM", "bhi6001", flow(gatewayCA, vmCA), ToHost, "", ""},
		{"VXLAN to a VM", "bhi6001", vxlan, ToHost, "", ""},
		{"IPv6 to a VM", "bhi6001", flow(gatewayCA6, vmCA6), ToHost, "", ""},
		{"no record", "bhi6001", flow(gatewayCA, addr("10.0.0.99")), Dropped, "no-record", ""},
		{"to the Internet", "bhx1", flow(contosoNAT, internet), ToInternet, "", ""},
		{"source not translated", "bhx1", flow(vmCA, internet), Dropped, "source-not-owned", ""},
		{"to another tenant", "bhx1", flow(contosoNAT, woodNAT), Entered, "", "bhx2"},
		{"from a share to another tenant", "bhx1", shared, Entered, "", "bhx2"},
		{"ping of another tenant's share", "bhx1", ping, Entered, "", "bhx2"},
		{"to the gateway", "bhx1", flow(contosoNAT, ownAddress), Dropped, "to-gateway", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.undisturbed(t, func() {
				var h Hop
				d.do(t, func() (err error) {
					h, err = d.TraceFromCompartment(c.link, c.probe)
					return err
				})
				if h.Outcome != c.outcome || h.Reason.Name != c.reason || h.Link != c.to || h.Probe != c.probe {
					t.Errorf("%+v", h)
				}
				if c.outcome == ToHost && (h.Outer.VSID != 5001 || h.Outer.PA != host || h.Outer.Local != provider ||
					h.Outer.To.String() != vmMAC.String()) {
					t.Errorf("around it is %+v", h.Outer)
				}
			})
		})
	}
	d.do(t, func() error {
		if _, err := d.TraceFromCompartment("stray", flow(contosoNAT, internet)); err == nil {
			t.Error("a link at no door is traced")
		}
		return nil
	})
}

func TestTraceFromTheInternetTellsWhatDoor2Does(t *testing.T) {
	d := fabrikamDoors(t)
	toShare := flow(internet, sharedNAT)
	toShare.DestinationPort = 9001
	for _, c := range []struct {
		name    string
		probe   Probe
		outcome Outcome
		reason  string
		link    string
	}{
		{"to a whole address", flow(internet, contosoNAT), Entered, "", "bhx1"},
		{"IPv6", flow(internet6, contosoNAT6), Entered, "", "bhx1"},
		{"to a share", toShare, Entered, "", "bhx1"},
		{"to nobody's port", flow(internet, sharedNAT), Dropped, "unowned-port", ""},
		{"to nobody's address", flow(internet, unownedNAT), Dropped, "unowned-address", ""},
		{"to the gateway itself", flow(internet, ownAddress), Passed, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.undisturbed(t, func() {
				var h Hop
				d.do(t, func() (err error) {
					h, err = d.TraceFromInternet(c.probe)
					return err
				})
				if h.Outcome != c.outcome || h.Reason.Name != c.reason || h.Link != c.link {
					t.Errorf("%+v", h)
				}
			})
		})
	}
}
