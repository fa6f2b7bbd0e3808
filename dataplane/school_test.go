package dataplane

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	otherHost = addr("192.168.0.33")
	vm2MAC    = mac("60:00:60:00:01:02")
	vm2CA     = addr("10.0.0.11")
	subnet1   = netip.MustParsePrefix("10.0.0.0/24")
	subnet6   = netip.MustParsePrefix("fd00::/64")
)

// school is a learner on top of a policy of maps: tenants 1 and 2 are alike in all but their VSIDs, 5001 and 5002.
type school struct {
	l        *learner
	now      time.Time
	records  map[uint32]map[netip.Addr]Record
	l2only   map[vsidMAC]netip.Addr
	events   []Event
	sent     []letter
	rejected int
	fails    error
}

func newSchool() *school {
	s := &school{
		now: time.Unix(1000, 0),
		records: map[uint32]map[netip.Addr]Record{
			1: {vmCA: {CA: vmCA, VSID: 5001, MAC: vmMAC, PA: host}}, 2: {vmCA: {CA: vmCA, VSID: 5002, MAC: vmMAC, PA: host}},
		},
		l2only: map[vsidMAC]netip.Addr{
			{5001, hardware(vm2MAC)}: host, {5001, hardware(hostMAC)}: otherHost,
			{5002, hardware(vm2MAC)}: host, {5002, hardware(hostMAC)}: otherHost,
		},
	}
	s.l = newLearner(s, 5*time.Minute)
	return s
}

func (s *school) lookup(tenant uint32, ca netip.Addr) (known, bool) {
	r, ok := s.records[tenant][ca]
	return known{Record: r, local: provider}, ok
}

func (s *school) machine(_, vsid uint32, m hardware) (machine, bool) {
	pa, ok := s.l2only[vsidMAC{vsid, m}]
	return machine{path: path{local: provider, pa: pa}, mac: m}, ok
}

func (s *school) machines(tenant, vsid uint32) []machine {
	var all []machine
	for _, m := range []net.HardwareAddr{vm2MAC, hostMAC} {
		if one, ok := s.machine(tenant, vsid, hardware(m)); ok {
			all = append(all, one)
		}
	}
	return all
}

func (s *school) subnet(tenant uint32, ca netip.Addr) (uint32, bool) {
	if subnet1.Contains(ca) || subnet6.Contains(ca) {
		return 5000 + tenant, true
	}
	return 0, false
}

func (s *school) nextHop(_ uint32, ca netip.Addr) (netip.Addr, bool) {
	return vm2CA, ca == addr("10.9.0.1")
}
func (s *school) isOwn(_, _ uint32, ca netip.Addr) bool { return ca == addr("10.0.0.2") }
func (s *school) ownProvider(pa netip.Addr) bool        { return pa == provider }
func (s *school) refused(uint32)                        { s.rejected++ }
func (s *school) tell(_ uint32, e Event)                { s.events = append(s.events, e) }
func (s *school) send(p path, vsid uint32, f []byte) {
	s.sent = append(s.sent, letter{path: p, vsid: vsid, frame: f})
}
func (s *school) speaker(_, _ uint32, ca netip.Addr) (speaker, bool) {
	return speaker{mac: hardware(gatewayMAC), ca: addr("0.0.0.0")}, ca.Is4()
}

func (s *school) write(tenant uint32, r Record) error {
	if s.fails == nil {
		s.records[tenant][r.CA] = r
	}
	return s.fails
}

func (s *school) erase(tenant uint32, ca netip.Addr) error {
	delete(s.records[tenant], ca)
	return s.fails
}

func (s *school) move(tenant uint32, ca, pa netip.Addr) error {
	r := s.records[tenant][ca]
	r.PA, r.Moved, r.Stale = pa, true, false
	return s.write(tenant, r)
}

func (s *school) mark(tenant uint32, ca netip.Addr, stale bool) error {
	r := s.records[tenant][ca]
	r.Stale = stale
	return s.write(tenant, r)
}

// hears is the message that a machine has an address, from a provider address to Contoso's virtual subnet.
func (s *school) hears(m net.HardwareAddr, ca, from netip.Addr) {
	s.l.hear(s.now, 1, 5001, from, heard{ca: ca, mac: hardware(m)})
}

// expect checks what the learner told, by kind, and sent, by destination, since the last time.
func (s *school) expect(t *testing.T, events []Event, sent ...netip.Addr) {
	t.Helper()
	if diff := cmp.Diff(events, s.events, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(Event{}, "Reason")); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	var to []netip.Addr
	for _, l := range s.sent {
		to = append(to, l.pa)
	}
	if diff := cmp.Diff(sent, to, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	s.events, s.sent = nil, nil
}
