package dataplane

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"bulkhead/internal/testenv"
)

func TestAnUnknownAddressIsLearnedFromTheAnswerOfItsMachine(t *testing.T) {
	c := newClassroom(t, 0)
	c.say(t, "Contoso", vm2CA)
	asked := c.receive(t, host, 5001, etherARP)
	want := ether(vm2MAC, gatewayMAC, etherARP, arp(1, gatewayMAC, addr("0.0.0.0"), noMAC, vm2CA))
	if !bytes.Equal(asked, want) {
		t.Errorf("asked\n%x, want\n%x", asked, want)
	}
	c.from(t, host, 5001, ether(gatewayMAC, vm2MAC, etherARP, arp(2, vm2MAC, vm2CA, gatewayMAC, addr("0.0.0.0"))))
	c.expect(t, Event{Kind: Learned, Tenant: "Contoso", CA: vm2CA, VSID: 5001, PA: host})
	c.say(t, "Contoso", vm2CA)
	if packet := c.receive(t, host, 5001, etherIPv4); !bytes.HasPrefix(packet, vm2MAC) {
		t.Errorf("sent %x", packet)
	}
	if r, ok := c.record(t, learningTenant("Contoso"), vm2CA); !ok || r.Type != Dynamic || !slices.Equal(r.MAC, vm2MAC) {
		t.Errorf("record %+v", r)
	}
	if r, ok := c.record(t, learningTenant("Woodgrove"), vm2CA); ok {
		t.Errorf("the tenant alike has record %+v", r)
	}
}

func TestAnUnknownIPv6AddressIsLearnedFromTheAdvertisementOfItsMachine(t *testing.T) {
	c := newClassroom(t, 0)
	ca := addr("fd00::11")
	c.say(t, "Woodgrove", ca)
	own := linkLocal(hardware(gatewayMAC))
	asked := c.receive(t, host, 5002, etherIPv6)
	want := ether(vm2MAC, gatewayMAC, etherIPv6, solicit(own, ca, ca, sourceOption(gatewayMAC)...))
	if !bytes.Equal(asked, want) {
		t.Errorf("asked\n%x, want\n%x", asked, want)
	}
	c.from(t, host, 5002, ether(gatewayMAC, vm2MAC, etherIPv6, advertise(ca, own, ca, 0x60000000, vm2MAC)))
	c.expect(t, Event{Kind: Learned, Tenant: "Woodgrove", CA: ca, VSID: 5002, PA: host})
	c.say(t, "Woodgrove", ca)
	c.receive(t, host, 5002, etherIPv6)
	if _, ok := c.record(t, learningTenant("Contoso"), ca); ok {
		t.Error("the tenant alike learned too")
	}
}

func TestAQuestionForTheGatewayIsAnsweredAndTeaches(t *testing.T) {
	c := newClassroom(t, 0)
	ca := addr("10.0.254.11")
	c.from(t, host, 6001, ether(broadcast, vm2MAC, etherARP, arp(1, vm2MAC, ca, noMAC, gatewayCA)))
	want := ether(vm2MAC, gatewayMAC, etherARP, arp(2, gatewayMAC, gatewayCA, vm2MAC, ca))
	if got := c.receive(t, host, 6001, etherARP); !bytes.Equal(got, want) {
		t.Errorf("answered\n%x, want\n%x", got, want)
	}
	c.expect(t, Event{Kind: Learned, Tenant: "Contoso", CA: ca, VSID: 6001, PA: host})
	// In its own virtual subnet the gateway asks with its own address.
	c.say(t, "Contoso", addr("10.0.254.12"))
	asked := c.receive(t, host, 6001, etherARP)
	if want := arp(1, gatewayMAC, gatewayCA, noMAC, addr("10.0.254.12")); !bytes.Equal(asked[14:], want) {
		t.Errorf("asked\n%x, want\n%x", asked[14:], want)
	}
}

func TestWhatPolicyDoesNotVouchForIsRefusedAndCounted(t *testing.T) {
	c := newClassroom(t, 0)
	_, before := c.dropped(t, nil)
	c.from(t, otherHost, 5001, ether(broadcast, vm2MAC, etherARP, arp(1, vm2MAC, vm2CA, noMAC, vm2CA)))
	c.expect(t, Event{Kind: Refused, Tenant: "Contoso", CA: vm2CA, VSID: 5001, PA: otherHost})
	c.from(t, host, 5001, ether(broadcast, vm2MAC, etherARP, arp(1, vm2MAC, vmCA, noMAC, vmCA)))
	c.expect(t, Event{Kind: Refused, Tenant: "Contoso", CA: vmCA, VSID: 5001, PA: host})
	grown := c.inbound(t, before)
	if len(grown) != 1 || grown[0].Reason != "refused" || grown[0].Tenant != "Contoso" || grown[0].Packets != 2 {
		t.Errorf("drop counters %v", grown)
	}
	if r, _ := c.record(t, learningTenant("Contoso"), vmCA); !slices.Equal(r.MAC, vmMAC) {
		t.Errorf("record %+v", r)
	}
}

func TestASilentMachineIsAskedAndThenForgotten(t *testing.T) {
	c := newClassroom(t, 400*time.Millisecond)
	c.teach(t)
	for range lastQuestions {
		asked := c.receive(t, host, 5001, etherARP)
		if !bytes.HasPrefix(asked, vm2MAC) || !bytes.HasSuffix(asked, vm2CA.AsSlice()) {
			t.Errorf("asked %x", asked)
		}
	}
	c.expect(t, Event{Kind: Aged, Tenant: "Contoso", CA: vm2CA, VSID: 5001, PA: host})
	if r, ok := c.record(t, learningTenant("Contoso"), vm2CA); ok {
		t.Errorf("record %+v", r)
	}
}

func TestARestartedAgentKeepsWhatWasLearned(t *testing.T) {
	c := newClassroom(t, 0)
	c.teach(t)
	c.stop()
	if err := c.Dataplane.Close(); err != nil {
		t.Fatal(err)
	}
	c.open(t)
	c.start(t, 400*time.Millisecond)
	c.do(t, func() error { return c.SetGateway(Gateway{Backend: "backend0", Providers: on(provider)}) })
	c.set(t, learningTenant("Contoso"), learningTenant("Woodgrove"))
	if r, ok := c.record(t, learningTenant("Contoso"), vm2CA); !ok || r.Type != Dynamic || r.PA != host {
		t.Errorf("record %+v", r)
	}
	c.say(t, "Contoso", vm2CA)
	c.receive(t, host, 5001, etherIPv4)
	c.receive(t, host, 5001, etherARP) // it is asked after, like one that was learned by this agent
}

func TestLearnedRecordsFollowPolicy(t *testing.T) {
	c := newClassroom(t, 0)
	c.teach(t)
	tenant := learningTenant("Contoso")
	moved := Record{Type: L2Only, VSID: 5001, MAC: vm2MAC, PA: otherHost}
	c.do(t, func() error { return c.SetRecord(contosoID, moved) })
	c.expect(t, Event{Kind: Moved, Tenant: "Contoso", CA: vm2CA, VSID: 5001, PA: otherHost, OldPA: host})
	// The machine tells so itself, and what it told before is no longer true.
	c.from(t, otherHost, 5001, ether(broadcast, vm2MAC, etherARP, arp(1, vm2MAC, vm2CA, noMAC, vm2CA)))
	c.from(t, host, 5001, ether(broadcast, vm2MAC, etherARP, arp(1, vm2MAC, vm2CA, noMAC, vm2CA)))
	c.expect(t, Event{Kind: Refused, Tenant: "Contoso", CA: vm2CA, VSID: 5001, PA: host})
	tenant.Records[2] = moved
	c.set(t, tenant)
	if r, _ := c.record(t, tenant, vm2CA); r.PA != otherHost || r.Type != Dynamic {
		t.Errorf("record %+v", r)
	}
	c.do(t, func() error { return c.DeleteRecord(contosoID, moved) })
	c.expect(t, Event{Kind: Aged, Tenant: "Contoso", CA: vm2CA, VSID: 5001, PA: otherHost})
	if r, ok := c.record(t, tenant, vm2CA); ok {
		t.Errorf("record %+v", r)
	}
}

func TestATenantOfTheSameNumberLearnsNothingOfItsPredecessor(t *testing.T) {
	c := newClassroom(t, 0)
	c.teach(t)
	c.do(t, func() error { return c.RemoveTenant(contosoID) })
	c.set(t, learningTenant("Contoso"))
	if r, ok := c.record(t, learningTenant("Contoso"), vm2CA); ok {
		t.Errorf("record %+v", r)
	}
	c.teach(t)
}

func TestAFloodOfMessagesCostsABoundedNumberOfEventsAndLines(t *testing.T) {
	c := newClassroom(t, 0)
	_, before := c.dropped(t, nil)
	const each = 3000
	spoofed := redirectFrame(hardware(backendMAC), hardware(hostMAC), otherHost, addr("192.168.0.44"),
		ether(vmMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, vmCA, 17, ports(1, 2))))
	began := time.Now()
	for i := range each {
		ca := netip.AddrFrom4([4]byte{10, 0, 0, byte(20 + i%200)})
		c.from(t, host, 5001, ether(broadcast, vmMAC, etherARP, arp(1, vmMAC, ca, noMAC, gatewayCA)))
		c.from(t, otherHost, 5001, spoofed)
	}
	c.say(t, "Contoso", vmCA)
	c.receive(t, host, 5001, etherIPv4)
	counted := func(reason string) (packets uint64) {
		for _, d := range c.inbound(t, before) {
			if d.Reason == reason && d.Tenant == "Contoso" {
				packets = d.Packets
			}
		}
		return packets
	}
	testenv.Eventually(t, "every message is refused or one too many", func() bool {
		return counted("refused")+counted("too-many") == 2*each
	})
	seconds := uint64(time.Since(began)/time.Second) + 1
	if told := counted("refused"); told > 2*(100*seconds+51) || told < 100 {
		t.Errorf("the daemon was told of %d messages in %d s", told, seconds)
	}
	if events := len(c.events); float64(events) > refusalBurst+refusalRate*float64(seconds) || events == 0 {
		t.Errorf("%d events in %d s", events, seconds)
	}
	if c.lines.String() != "" {
		t.Errorf("log: %s", c.lines)
	}
	// The tenant alike is not held up.
	c.from(t, host, 5002, ether(broadcast, vm2MAC, etherARP, arp(1, vm2MAC, vm2CA, noMAC, vm2CA)))
	testenv.Eventually(t, "the other tenant learns", func() bool {
		_, ok := c.record(t, learningTenant("Woodgrove"), vm2CA)
		return ok
	})
}

func TestTheExternalRouterAsksAsTheDefaultGateway(t *testing.T) {
	c := newClassroom(t, 0)
	tenant, router := learningTenant("Contoso"), mac("60:01:60:01:03:77")
	tenant.Router = &Router{MAC: router}
	tenant.Routes = []CustomerRoute{{VSID: 5001, Prefix: netip.MustParsePrefix("10.9.0.0/16"), NextHop: vm2CA}}
	c.set(t, tenant)
	// The address itself is in no virtual subnet: what is asked for is the next hop of its customer route.
	h := handle(t, c.inside["Contoso"])
	if err := h.RouteAdd(defaultInto(t, up(t, h, "IfCi1").Attrs().Index)); err != nil {
		t.Fatal(err)
	}
	c.say(t, "Contoso", addr("10.9.1.1"))
	want := ether(vm2MAC, router, etherARP, arp(1, router, addr("10.0.0.1"), noMAC, vm2CA))
	asked := c.receive(t, host, 5001, etherARP)
	for !bytes.HasPrefix(asked, vm2MAC) { // what is announced to everybody comes first
		asked = c.receive(t, host, 5001, etherARP)
	}
	if !bytes.Equal(asked, want) {
		t.Errorf("asked\n%x, want\n%x", asked, want)
	}
	c.from(t, host, 5001, ether(router, vm2MAC, etherARP, arp(2, vm2MAC, vm2CA, router, addr("10.0.0.1"))))
	c.expect(t, Event{Kind: Learned, Tenant: "Contoso", CA: vm2CA, VSID: 5001, PA: host})
	c.say(t, "Contoso", addr("10.9.1.1"))
	if packet := c.receive(t, host, 5001, etherIPv4); !bytes.HasPrefix(packet, vm2MAC) {
		t.Errorf("sent %x", packet)
	}
}

// defaultInto is the IPv4 default route into a link.
func defaultInto(t *testing.T, ifindex int) *netlink.Route {
	t.Helper()
	r := defaultVia(t, ifindex, "10.0.254.1")
	r.Gw, r.Scope = nil, netlink.SCOPE_LINK
	return r
}
