package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

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

func TestAnnouncementsLetQuestionsGoFirst(t *testing.T) {
	s := newSchool()
	p := s.l.pupil(1)
	for range 10 * letters {
		p.news = append(p.news, letter{path: path{pa: otherHost}, vsid: 5001})
	}
	s.l.post(s.now, p)
	s.sent = nil
	s.l.want(s.now, 1, vm2CA)
	asked := len(p.outbox)
	s.l.tick(s.now.Add(time.Second))
	if asked == 0 || len(p.outbox) != 0 || len(p.news) == 0 {
		t.Errorf("%d questions asked, %d still wait, before %d announcements", asked, len(p.outbox), len(p.news))
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
