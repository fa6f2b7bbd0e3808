package dataplane

import (
	"net/netip"
	"testing"
)

func TestOnlyTheHostThatARecordNamesRedirectsIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		vsid   uint32
		pa     netip.Addr
		n      notice
		stays  bool
		events []Event
	}{
		{name: "from its host", vsid: 5001, pa: host, n: notice{redirect: true, from: host, to: otherHost, ca: vmCA},
			events: []Event{{Kind: Moved, CA: vmCA, VSID: 5001, MAC: vmMAC, PA: otherHost, OldPA: host}}},
		{name: "from another host", vsid: 5001, pa: otherHost, stays: true,
			n: notice{redirect: true, from: otherHost, to: otherHost, ca: vmCA}},
		{name: "in the name of its host", vsid: 5001, pa: otherHost, stays: true,
			n: notice{redirect: true, from: host, to: otherHost, ca: vmCA}},
		{name: "in another virtual subnet", vsid: 5003, pa: host, stays: true,
			n: notice{redirect: true, from: host, to: otherHost, ca: vmCA}},
		{name: "of an unknown address", vsid: 5001, pa: host, stays: true,
			n: notice{redirect: true, from: host, to: otherHost, ca: vm2CA}},
		{name: "to the same host", vsid: 5001, pa: host, stays: true,
			n: notice{redirect: true, from: host, to: host, ca: vmCA}},
		{name: "to the gateway", vsid: 5001, pa: host, stays: true,
			n: notice{redirect: true, from: host, to: provider, ca: vmCA}},
		{name: "to nowhere", vsid: 5001, pa: host, stays: true,
			n: notice{redirect: true, from: host, to: addr("255.255.255.255"), ca: vmCA}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSchool()
			s.l.notice(s.now, 1, c.vsid, c.pa, c.n)
			r := s.records[1][vmCA]
			if c.stays {
				if r.PA != host || r.Moved || s.rejected != 1 || len(s.events) != 1 || s.events[0].Kind != Refused {
					t.Errorf("record %+v, %d refused, events %+v", r, s.rejected, s.events)
				}
				return
			}
			s.expect(t, c.events)
			if r.PA != otherHost || !r.Moved || s.records[2][vmCA].PA != host {
				t.Errorf("record %+v, the tenant alike has %+v", r, s.records[2][vmCA])
			}
		})
	}
}

func TestALearnedRecordThatMovedStaysWhereItsMachineIsHeard(t *testing.T) {
	s := newSchool()
	s.hears(vm2MAC, vm2CA, host)
	s.l.notice(s.now, 1, 5001, host, notice{redirect: true, from: host, to: otherHost, ca: vm2CA})
	s.events = nil
	s.hears(vm2MAC, vm2CA, otherHost)
	s.expect(t, nil)
	if r := s.records[1][vm2CA]; r.PA != otherHost || r.Type != Dynamic || !r.Moved {
		t.Errorf("record %+v", r)
	}
	s.now = s.l.tick(s.now)
	s.l.tick(s.now)
	s.expect(t, nil, otherHost)
}

func TestUnreachableMarksADeclaredRecordUntilItsHostProvesIt(t *testing.T) {
	s := newSchool()
	n := notice{from: host, to: provider, ca: vmCA}
	for range 3 {
		s.l.notice(s.now, 1, 5001, host, n)
	}
	s.expect(t, []Event{{Kind: Stale, CA: vmCA, VSID: 5001, MAC: vmMAC, PA: host}})
	if r := s.records[1][vmCA]; !r.Stale || r.PA != host || s.records[2][vmCA].Stale {
		t.Errorf("record %+v, the tenant alike has %+v", r, s.records[2][vmCA])
	}
	s.hears(vmMAC, vmCA, host)
	s.expect(t, []Event{{Kind: Learned, CA: vmCA, VSID: 5001, MAC: vmMAC, PA: host}})
	if r := s.records[1][vmCA]; r.Stale {
		t.Errorf("record %+v", r)
	}
}

func TestUnreachableDeletesALearnedRecordAndAsksAnew(t *testing.T) {
	s := newSchool()
	s.hears(vm2MAC, vm2CA, host)
	s.events = nil
	s.l.notice(s.now, 1, 5001, otherHost, notice{from: otherHost, to: provider, ca: vm2CA})
	s.expect(t, []Event{{Kind: Refused, CA: vm2CA, VSID: 5001, PA: otherHost}})
	s.l.notice(s.now, 1, 5001, host, notice{from: host, to: provider, ca: vm2CA})
	s.expect(t, []Event{{Kind: Stale, CA: vm2CA, VSID: 5001, MAC: vm2MAC, PA: host}}, host, otherHost)
	if _, ok := s.records[1][vm2CA]; ok {
		t.Error("the record is still there")
	}
}

func TestTheGatewayDoesNotDenyItsOwnAddress(t *testing.T) {
	s := newSchool()
	frame := ether(vmMAC, hostMAC, etherIPv4, ip4(vm2CA, addr("10.0.0.2"), 17, ports(1, 2)))
	from := path{local: provider, pa: otherHost}
	s.l.misdelivered(s.now, 1, 5001, from, nics{hardware(backendMAC), hardware(hostMAC)}, frame)
	if len(s.sent) != 0 {
		t.Errorf("a frame to its address and an old MAC address of its: sent %+v", s.sent)
	}
}

func TestAMisdeliveredFrameIsAnsweredByWhereItsMachineIs(t *testing.T) {
	from := path{local: provider, pa: otherHost}
	for _, c := range []struct {
		name string
		ca   netip.Addr
		from path
		want notice
	}{
		{"of another host", vmCA, from, notice{redirect: true, from: provider, to: host, ca: vmCA}},
		{"of the sender itself", vmCA, path{local: provider, pa: host}, notice{from: provider, to: host, ca: vmCA}},
		{"unknown", vm2CA, from, notice{from: provider, to: otherHost, ca: vm2CA}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSchool()
			frame := ether(vmMAC, hostMAC, etherIPv4, ip4(vm2CA, c.ca, 17, ports(1, 2)))
			s.l.misdelivered(s.now, 1, 5001, c.from, nics{hardware(backendMAC), hardware(hostMAC)}, frame)
			if len(s.sent) != 1 || s.sent[0].path != c.from || s.sent[0].vsid != 5001 {
				t.Fatalf("sent %+v", s.sent)
			}
			if n, ok := parseNotice(s.sent[0].frame); !ok || n != c.want {
				t.Errorf("sent %+v, %v; want %+v", n, ok, c.want)
			}
			for range 1000 {
				s.l.misdelivered(s.now, 1, 5001, c.from, nics{hardware(backendMAC), hardware(hostMAC)}, frame)
			}
			if len(s.sent) > noticeBurst {
				t.Errorf("sent %d answers at once", len(s.sent))
			}
		})
	}
}
