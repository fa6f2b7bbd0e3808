package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
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

func TestLearnerMakesADynamicRecordOfWhatAnL2OnlyRecordVouchesFor(t *testing.T) {
	s := newSchool()
	s.hears(vm2MAC, vm2CA, host)
	s.expect(t, []Event{{Kind: Learned, CA: vm2CA, VSID: 5001, MAC: vm2MAC, PA: host}})
	want := Record{Type: Dynamic, CA: vm2CA, VSID: 5001, MAC: vm2MAC, PA: host}
	if diff := cmp.Diff(want, s.records[1][vm2CA], cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	if len(s.records[2]) != 1 {
		t.Error("the tenant alike learned too")
	}
	s.hears(vm2MAC, vm2CA, host)
	s.expect(t, nil)
}

func TestLearnerRefusesWhatPolicyDoesNotVouchFor(t *testing.T) {
	for _, c := range []struct {
		name string
		mac  net.HardwareAddr
		ca   netip.Addr
		pa   netip.Addr
	}{
		{"a MAC address without an L2Only record", mac("60:00:60:00:01:99"), vm2CA, host},
		{"another provider address", vm2MAC, vm2CA, otherHost},
		{"a declared record's address", vm2MAC, vmCA, host},
		{"an address of another virtual subnet", vm2MAC, addr("10.0.1.11"), host},
		{"the gateway's own address", vm2MAC, addr("10.0.0.2"), host},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSchool()
			s.hears(c.mac, c.ca, c.pa)
			s.expect(t, []Event{{Kind: Refused, CA: c.ca, VSID: 5001, MAC: c.mac, PA: c.pa}})
			if len(s.records[1]) != 1 || s.rejected != 1 {
				t.Errorf("%d records, %d refusals counted", len(s.records[1]), s.rejected)
			}
		})
	}
	s := newSchool()
	s.fails = errors.New("no route")
	s.hears(vm2MAC, vm2CA, host)
	s.expect(t, []Event{{Kind: Refused, CA: vm2CA, VSID: 5001, MAC: vm2MAC, PA: host}})
}

func TestLearnerTellsOnlyOfTheFirstOfManyRefusalsAndCountsAll(t *testing.T) {
	s := newSchool()
	for range 1000 {
		s.hears(vm2MAC, vmCA, otherHost)
	}
	if len(s.events) != refusalBurst || s.rejected != 1000 {
		t.Errorf("told of %d, counted %d", len(s.events), s.rejected)
	}
}

func TestAMachineCannotHaveAddressesWithoutNumber(t *testing.T) {
	s := newSchool()
	for i := range 200 {
		s.hears(vm2MAC, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 20)}), host)
	}
	if learned := len(s.records[1]) - 1; learned != addressesPerMachine {
		t.Errorf("learned %d addresses of one machine", learned)
	}
	s.now = s.now.Add(4 * time.Minute)
	for range 10 {
		s.l.tick(s.now)
		s.now = s.now.Add(time.Minute)
	}
	if len(s.records[1]) != 1 || len(s.l.pupil(1).machines) != 0 || len(s.l.ages) != 0 {
		t.Errorf("%d records, %d machines and %d ages are left", len(s.records[1]), len(s.l.pupil(1).machines), len(s.l.ages))
	}
}

func TestAnAddressChangesHandsOnceASecondAtMost(t *testing.T) {
	s := newSchool()
	s.hears(vm2MAC, vm2CA, host)
	s.hears(hostMAC, vm2CA, otherHost)
	s.expect(t, []Event{
		{Kind: Learned, CA: vm2CA, VSID: 5001, MAC: vm2MAC, PA: host},
		{Kind: Refused, CA: vm2CA, VSID: 5001, MAC: hostMAC, PA: otherHost},
	})
	s.now = s.now.Add(handover)
	s.hears(hostMAC, vm2CA, otherHost)
	s.expect(t, []Event{{Kind: Moved, CA: vm2CA, VSID: 5001, MAC: hostMAC, PA: otherHost, OldPA: host}})
}

func TestASilentRecordIsAskedAfterAndThenGoes(t *testing.T) {
	s := newSchool()
	s.hears(vm2MAC, vm2CA, host)
	s.events = nil
	next := s.l.tick(s.now)
	if want := s.now.Add(225 * time.Second); !next.Equal(want) {
		t.Fatalf("the first question is due at %v, want %v", next, want)
	}
	start := s.now
	for range lastQuestions {
		s.now = next
		next = s.l.tick(s.now)
		s.expect(t, nil, host)
	}
	if !next.Equal(start.Add(5 * time.Minute)) {
		t.Errorf("the record goes at %v", next)
	}
	if got := s.l.tick(next); !got.IsZero() {
		t.Errorf("something is due at %v", got)
	}
	s.expect(t, []Event{{Kind: Aged, CA: vm2CA, VSID: 5001, MAC: vm2MAC, PA: host}})
	if _, ok := s.records[1][vm2CA]; ok {
		t.Error("the record is still there")
	}
}

func TestARecordThatAnswersStays(t *testing.T) {
	s := newSchool()
	s.hears(vm2MAC, vm2CA, host)
	s.events = nil
	for range 20 {
		s.now = s.l.tick(s.now)
		s.l.tick(s.now)
		s.expect(t, nil, host)
		s.hears(vm2MAC, vm2CA, host)
	}
}

func TestARecordThatOthersChangedIsLeftAlone(t *testing.T) {
	s := newSchool()
	s.hears(vm2MAC, vm2CA, host)
	s.events = nil
	s.records[1][vm2CA] = Record{CA: vm2CA, VSID: 5001, MAC: vm2MAC, PA: otherHost}
	s.now = s.now.Add(time.Hour)
	if next := s.l.tick(s.now); !next.IsZero() {
		t.Errorf("something is due at %v", next)
	}
	s.expect(t, nil)
}

func TestAdoptedRecordsAreAskedAfterAtDifferentTimesWithinTheirAge(t *testing.T) {
	s := newSchool()
	times := make(map[time.Time]bool)
	for i := range 200 {
		ca := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 20)})
		s.l.adopt(s.now, 1, Record{Type: Dynamic, CA: ca, VSID: 5001, MAC: vm2MAC, PA: host})
	}
	for _, a := range s.l.ages {
		times[a.due] = true
		if a.due.Before(s.now.Add(time.Minute)) || a.due.After(s.now.Add(4*time.Minute)) {
			t.Errorf("due at %v", a.due)
		}
	}
	if len(times) < 100 {
		t.Errorf("200 records are due at %d times", len(times))
	}
}

func TestAnUnknownAddressIsAskedForByUnicastOfEveryMachineThatMayHaveIt(t *testing.T) {
	s := newSchool()
	s.l.want(s.now, 1, vm2CA)
	if len(s.sent) != 2 {
		t.Fatalf("%d questions", len(s.sent))
	}
	for i, to := range []net.HardwareAddr{vm2MAC, hostMAC} {
		want := ether(to, gatewayMAC, etherARP, arp(1, gatewayMAC, addr("0.0.0.0"), noMAC, vm2CA))
		if diff := cmp.Diff(want, s.sent[i].frame); diff != "" || s.sent[i].vsid != 5001 {
			t.Errorf("VSID %d, frame (-want +got):\n%s", s.sent[i].vsid, diff)
		}
	}
	s.expect(t, nil, host, otherHost)
	s.l.want(s.now, 1, vm2CA)
	s.expect(t, nil)
	s.now = s.now.Add(firstWish)
	s.l.want(s.now, 1, vm2CA)
	s.expect(t, nil, host, otherHost)
	s.now = s.now.Add(firstWish)
	s.l.want(s.now, 1, vm2CA)
	s.expect(t, nil)
	for _, ca := range []netip.Addr{vmCA, addr("10.0.1.1"), addr("10.0.0.2")} {
		s.l.want(s.now, 1, ca)
	}
	s.expect(t, nil)
	s.now = s.now.Add(time.Minute)
	s.l.want(s.now, 1, addr("10.9.0.1")) // whose next hop is vm2CA
	s.expect(t, nil, host, otherHost)
}

func TestAScanForUnknownAddressesCostsABoundedNumberOfQuestions(t *testing.T) {
	s := newSchool()
	for i := range 60000 {
		ca := make([]byte, 16)
		copy(ca, addr("fd00::").AsSlice())
		binary.BigEndian.PutUint16(ca[14:], uint16(i))
		s.l.want(s.now, 1, netip.AddrFrom16([16]byte(ca)))
	}
	for i := range 250 {
		s.l.want(s.now, 1, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 3)}))
	}
	if len(s.sent) > questionBurst || len(s.l.pupil(1).outbox) > letters || len(s.l.pupil(1).wishes) > wishesPerTenant {
		t.Errorf("%d sent, %d to be sent, %d wishes", len(s.sent), len(s.l.pupil(1).outbox), len(s.l.pupil(1).wishes))
	}
	sent := len(s.sent)
	if next := s.l.tick(s.now); next.Sub(s.now) > time.Second {
		t.Errorf("the rest is due at %v", next)
	}
	s.l.tick(s.now.Add(time.Second))
	if more := len(s.sent) - sent; more > questionRate {
		t.Errorf("%d sent within a second", more)
	}
}

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

func TestLearnedRecordsFollowTheirL2OnlyRecord(t *testing.T) {
	m := vsidMAC{5001, hardware(vm2MAC)}
	for _, moved := range []bool{false, true} {
		s := newSchool()
		s.hears(vm2MAC, vm2CA, host)
		if moved {
			s.l.notice(s.now, 1, 5001, host, notice{redirect: true, from: host, to: addr("192.168.0.44"), ca: vm2CA})
		}
		s.l.revise(s.now, 1, m)
		s.l.tick(s.now)
		old := s.records[1][vm2CA].PA
		s.l2only[m] = otherHost
		s.events = nil
		s.l.revise(s.now, 1, m)
		s.l.tick(s.now)
		s.expect(t, []Event{{Kind: Moved, CA: vm2CA, VSID: 5001, MAC: vm2MAC, PA: otherHost, OldPA: old}})
		if r := s.records[1][vm2CA]; r.PA != otherHost || r.Moved {
			t.Errorf("record %+v", r)
		}
		delete(s.l2only, m)
		s.l.revise(s.now, 1, m)
		s.l.tick(s.now)
		s.expect(t, []Event{{Kind: Aged, CA: vm2CA, VSID: 5001, MAC: vm2MAC, PA: otherHost}})
		if _, ok := s.records[1][vm2CA]; ok {
			t.Error("the record is still there")
		}
	}
}

func TestAdoptedRecordsThatPolicyNoLongerVouchesForGoAtOnce(t *testing.T) {
	s := newSchool()
	for i, m := range []net.HardwareAddr{vm2MAC, hostMAC, gatewayMAC} {
		r := Record{Type: Dynamic, CA: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 20)}), VSID: 5001, MAC: m, PA: host}
		s.records[1][r.CA] = r
		s.l.adopt(s.now, 1, r)
	}
	s.l.tick(s.now)
	slices.SortFunc(s.events, func(a, b Event) int { return a.CA.Compare(b.CA) })
	s.expect(t, []Event{
		{Kind: Moved, CA: addr("10.0.0.21"), VSID: 5001, MAC: hostMAC, PA: otherHost, OldPA: host},
		{Kind: Aged, CA: addr("10.0.0.22"), VSID: 5001, MAC: gatewayMAC, PA: host},
	})
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

func TestATenantThatIsForgottenLeavesNothingToTheNextOfItsNumber(t *testing.T) {
	s := newSchool()
	for i := range 10 {
		s.hears(vm2MAC, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 20)}), host)
	}
	s.l.hear(s.now, 2, 5002, host, heard{ca: vm2CA, mac: hardware(vm2MAC)})
	s.l.forget(1)
	s.l.forget(3)
	if len(s.l.ages) != 1 || s.l.ages[0].tenant != 2 || len(s.l.pupils) != 1 {
		t.Errorf("ages %v, pupils %v", fmt.Sprint(s.l.ages), s.l.pupils)
	}
}
