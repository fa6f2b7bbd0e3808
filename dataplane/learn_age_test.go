package dataplane

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

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
