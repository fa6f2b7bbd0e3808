package dataplane

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
)

// offending is a frame that the gateway sent to the declared VM.
func offending() []byte {
	return ether(vmMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, vmCA, 17, ports(1, 2)))
}

// redirects is a REDIRECT of the declared VM's address from a host.
func redirects(from, now netip.Addr) []byte {
	return redirectFrame(hardware(backendMAC), hardware(hostMAC), from, now, offending())
}

func TestARedirectFromTheRecordsHostMovesTheRecordUntilPolicyChanges(t *testing.T) {
	c := newClassroom(t, 0)
	moved := addr("192.168.0.44")
	c.from(t, host, 5001, redirects(host, moved))
	c.expect(t, Event{Kind: Moved, Tenant: "Contoso", CA: vmCA, VSID: 5001, PA: moved, OldPA: host})
	c.say(t, "Contoso", vmCA)
	c.receive(t, moved, 5001, etherIPv4)
	c.say(t, "Woodgrove", vmCA)
	c.receive(t, host, 5002, etherIPv4)
	tenant := learningTenant("Contoso")
	c.set(t, tenant)
	if r, _ := c.record(t, tenant, vmCA); r.PA != moved || !r.Moved || r.Type != Static {
		t.Errorf("declared anew as it was: %+v", r)
	}
	tenant.Records[0].PA = otherHost
	c.set(t, tenant)
	if r, _ := c.record(t, tenant, vmCA); r.PA != otherHost || r.Moved {
		t.Errorf("declared elsewhere: %+v", r)
	}
}

func TestARedirectFromAnotherHostIsRefused(t *testing.T) {
	c := newClassroom(t, 0)
	_, before := c.dropped(t, nil)
	c.from(t, otherHost, 5001, redirects(otherHost, otherHost))
	c.expect(t, Event{Kind: Refused, Tenant: "Contoso", CA: vmCA, VSID: 5001, PA: otherHost})
	c.from(t, addr("192.168.0.44"), 5001, redirects(addr("192.168.0.44"), otherHost))
	c.from(t, host, 5002, redirects(host, provider))
	c.expect(t, Event{Kind: Refused, Tenant: "Woodgrove", CA: vmCA, VSID: 5002, PA: host})
	var reasons []string
	for _, d := range c.inbound(t, before) {
		reasons = append(reasons, d.Tenant+" "+d.Reason)
	}
	want := []string{"Contoso refused", "Contoso unlisted-provider", "Woodgrove refused"}
	if !slices.Equal(reasons, want) {
		t.Errorf("counted %v, want %v", reasons, want)
	}
	for _, name := range []string{"Contoso", "Woodgrove"} {
		if r, _ := c.record(t, learningTenant(name), vmCA); r.PA != host || r.Moved {
			t.Errorf("%s: record %+v", name, r)
		}
	}
}

func TestUnreachableFromTheRecordsHostMarksTheRecord(t *testing.T) {
	c := newClassroom(t, 0)
	frame := unreachableFrame(hardware(backendMAC), hardware(hostMAC), host, provider, offending())
	c.from(t, host, 5001, frame)
	c.expect(t, Event{Kind: Stale, Tenant: "Contoso", CA: vmCA, VSID: 5001, PA: host})
	tenant := learningTenant("Contoso")
	c.set(t, tenant)
	if r, _ := c.record(t, tenant, vmCA); !r.Stale || r.PA != host {
		t.Errorf("record %+v", r)
	}
	c.say(t, "Contoso", vmCA)
	c.receive(t, host, 5001, etherIPv4)
	if r, _ := c.record(t, learningTenant("Woodgrove"), vmCA); r.Stale {
		t.Errorf("the tenant alike has record %+v", r)
	}
}

func TestATenantsOwnICMPIsNoControlMessage(t *testing.T) {
	d := fabrikamDoors(t)
	unreachable := icmp(3, 10, 0, ip4(gatewayCA, vmCA, 17, ports(1, 2)))
	frame := ether(gatewayMAC, vmMAC, etherIPv4, ip4(vmCA, gatewayCA, 1, unreachable))
	toHost := func(src netip.Addr, m []byte) []byte {
		return nvgre(host, 6001, ether(backendMAC, hostMAC, etherIPv4, ip4(src, provider, 1, m)))
	}
	d.check(t, d.objects.Door1Wire, "door1", "backend0", []packetCase{
		{name: "of a VM", frame: nvgre(host, 6001, frame), verdict: verdictRedirect, out: frame},
		{name: "in the name of another host", frame: toHost(otherHost, unreachable), verdict: verdictDrop,
			tenant: "Contoso", reason: "inner-mac"},
		{name: "a host's ping", frame: toHost(host, icmp(8, 0, 0, nil)), verdict: verdictDrop, tenant: "Contoso",
			reason: "inner-mac"},
		{name: "a control message, which the daemon gets", frame: toHost(host, unreachable), verdict: verdictDrop},
	})
}

func TestAMisdeliveredFrameTellsItsSenderWhereTheMachineIs(t *testing.T) {
	c := newClassroom(t, 0)
	frame := ether(vmMAC, vm2MAC, etherIPv4, ip4(vm2CA, vmCA, 17, ports(1, 2)))
	c.from(t, otherHost, 5001, frame)
	got := c.receive(t, otherHost, 5001, etherIPv4)
	if n, ok := parseNotice(got); !ok || n != (notice{redirect: true, from: provider, to: host, ca: vmCA}) {
		t.Errorf("answered %+v, %v", n, ok)
	}
	if !bytes.HasPrefix(got, slices.Concat(hostMAC, backendMAC)) || !bytes.HasSuffix(got, frame) {
		t.Errorf("answered %x", got)
	}
	unknown := ether(vmMAC, vm2MAC, etherIPv4, ip4(vm2CA, addr("10.0.0.99"), 17, ports(1, 2)))
	c.from(t, host, 5002, unknown)
	n, ok := parseNotice(c.receive(t, host, 5002, etherIPv4))
	if !ok || n != (notice{from: provider, to: host, ca: addr("10.0.0.99")}) {
		t.Errorf("answered %+v, %v", n, ok)
	}
}

func TestControlMessagesGoOverAnIPv6ProviderNetworkToo(t *testing.T) {
	c := newClassroom(t, 0)
	moved := addr("2001:db8:168::33")
	tenant := learningTenant("Contoso")
	tenant.Records[0].PA = host6
	c.do(t, func() error {
		return c.SetGateway(Gateway{Backend: "backend0", Providers: append(on(provider6), on(provider)...)})
	})
	c.set(t, tenant)
	c.from(t, host6, 5001, ether(hostMAC, vm2MAC, etherIPv4, ip4(vm2CA, addr("10.0.0.99"), 17, ports(1, 2))))
	if n, ok := parseNotice(c.receive(t, host6, 5001, etherIPv6)); !ok || n.redirect || n.to != host6 {
		t.Errorf("answered %+v, %v", n, ok)
	}
	c.from(t, host6, 5001, redirects(host6, moved))
	c.expect(t, Event{Kind: Moved, Tenant: "Contoso", CA: vmCA, VSID: 5001, PA: moved, OldPA: host6})
}

func TestHostsAreToldOfTheGatewaysOwnAddressesWhenTheyMove(t *testing.T) {
	c := newClassroom(t, 0)
	next := mac("60:01:60:01:03:99")
	tenant := learningTenant("Contoso")
	tenant.Interfaces[0].MAC = next
	c.set(t, tenant)
	for range 2 {
		got := c.wire.receive(t, func(frame []byte) bool {
			inner, ok := innerFrame(frame, host, 6001)
			return ok && bytes.HasPrefix(inner[6:], next)
		})
		inner, _ := innerFrame(got, host, 6001)
		if !bytes.Equal(inner, announcement(hardware(next), gatewayCA)) &&
			!bytes.Equal(inner, announcement(hardware(next), gatewayCA6)) {
			t.Errorf("announced %x", inner)
		}
	}
	// A provider address that was not there before: every tenant's hosts are told from it.
	other := addr("192.168.0.12")
	c.do(t, func() error { return c.SetGateway(Gateway{Backend: "backend0", Providers: on(other)}) })
	missing := map[uint32]hardware{6001: hardware(next), 6002: hardware(gatewayMAC)}
	c.wire.receive(t, func(frame []byte) bool {
		for vsid, m := range missing {
			inner, ok := innerFrame(frame, otherHost, vsid)
			if ok && bytes.Equal(inner, announcement(m, gatewayCA)) && bytes.HasPrefix(frame[26:], other.AsSlice()) {
				delete(missing, vsid)
			}
		}
		return len(missing) == 0
	})
	c.set(t, tenant)
	c.teachNothingMore(t)
}
