//go:build !vm

// Bookkeeping that no kernel does differently: not repeated in the VM.

package dataplane

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func (d *doors) allRecords(t testing.TB, rdid uuid.UUID) []Record {
	t.Helper()
	records, err := d.Records(rdid)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func sameRecords(t testing.TB, want, got []Record) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestARecordIsSetReplacedAndDeletedWithoutTouchingAnother(t *testing.T) {
	d := fabrikamDoors(t)
	before := d.snapshot(t)
	record := Record{Type: GatewayWildcard, CA: addr("10.0.0.77"), VSID: 5001, MAC: farMAC, PA: addr("192.168.0.77")}
	if err := d.SetRecord(contosoID, record); err != nil {
		t.Fatal(err)
	}
	frame := ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, record.CA, 17, ports(1, 2)))
	d.check(t, d.objects.Door1Tenant, "door1", "bhi6001", []packetCase{
		{name: "a new record", frame: frame, verdict: verdictRedirect},
		{name: "the other tenant has none", link: "bhi6002", frame: frame, verdict: verdictDrop, tenant: "Woodgrove",
			reason: "no-record"},
	})
	from := func(pa netip.Addr) []byte {
		return nvgre(pa, 6001, ether(gatewayMAC, vmMAC, etherIPv4, ip4(vmCA, gatewayCA, 17, ports(1, 2))))
	}
	d.check(t, d.objects.Door1Wire, "door1", "backend0", []packetCase{
		{name: "its host is listed", frame: from(record.PA), verdict: verdictRedirect},
	})
	moved := record
	moved.Type, moved.PA, moved.VSID = Static, addr("192.168.0.78"), 6001
	if err := d.SetRecord(contosoID, moved); err != nil {
		t.Fatal(err)
	}
	all := d.allRecords(t, contosoID)
	sameRecords(t, []Record{contoso().Records[0], moved}, all[:2])
	d.check(t, d.objects.Door1Wire, "door1", "backend0", []packetCase{
		{name: "the host before is not listed any more", frame: from(record.PA), verdict: verdictDrop, tenant: "Contoso",
			reason: "unlisted-provider"},
		{name: "the host of now", frame: from(moved.PA), verdict: verdictRedirect},
	})
	for range 2 {
		if err := d.DeleteRecord(contosoID, Record{CA: record.CA}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.DeleteRecord(uuid.New(), record); err != nil {
		t.Errorf("deleting a record of a tenant that the doors do not know: %v", err)
	}
	d.set(t, contoso()) // hosts that nobody names go with the next declaration
	same(t, before, d.snapshot(t))
}

func TestARecordThatIsWrongIsRefusedWithTheReason(t *testing.T) {
	d := fabrikamDoors(t)
	before := d.snapshot(t)
	good := Record{CA: vmCA, VSID: 5001, MAC: vmMAC, PA: host}
	for want, change := range map[string]func(*Record){
		"VSID 5002 is none of the tenant's":     func(r *Record) { r.VSID = 5002 },
		"VSID 7 is not within 4096 to 16777214": func(r *Record) { r.VSID = 7 },
		"a Dynamic record is learned":           func(r *Record) { r.Type = Dynamic },
		"there is no type RecordType(9)":        func(r *Record) { r.Type = 9 },
		"is not a unicast MAC address":          func(r *Record) { r.MAC = broadcast },
		"has no route":                          func(r *Record) { r.PA = host6 },
		"L2Only record for 60:00:60:00:01:01":   func(r *Record) { r.Type = L2Only },
	} {
		r := good
		change(&r)
		if err := d.SetRecord(contosoID, r); err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "tenant Contoso") {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	err := d.SetRecord(uuid.New(), good)
	if err == nil || !strings.Contains(err.Error(), "no tenant with the routing domain") {
		t.Errorf("an unknown tenant: error %v", err)
	}
	same(t, before, d.snapshot(t))
}

func TestL2OnlyRecordsAreListedAndTurnLearningOn(t *testing.T) {
	d := fabrikamDoors(t)
	before := d.snapshot(t)
	machine := Record{Type: L2Only, VSID: 5001, MAC: farMAC, PA: farHost}
	set := func() {
		t.Helper()
		if err := d.SetRecord(contosoID, machine); err != nil {
			t.Fatal(err)
		}
	}
	learning := func() (subnet, link bool) {
		s := d.snapshot(t)
		return s.Vsids[5001].Flags&uint16(doorsVsidFlagsVSID_LEARN) != 0,
			s.Ports[uint32(d.ifindex(t, "bhi6001"))].Flags&uint16(doorsPortFlagsPORT_LEARN) != 0
	}
	set()
	set()
	sameRecords(t, []Record{machine}, d.allRecords(t, contosoID)[:1])
	if subnet, link := learning(); !subnet || !link {
		t.Errorf("learning in the subnet %v, for the link %v", subnet, link)
	}
	d.reopen(t)
	d.do(t, func() error { return d.SetGateway(fabrikam()) })
	declared := contoso()
	declared.Records = append(declared.Records, machine)
	restore := d.readOnly(t)
	d.set(t, declared)
	restore()
	// In the subnet of the interface, on the same machine, it is a record of its own.
	own := machine
	own.VSID = 6001
	if err := d.SetRecord(contosoID, own); err != nil {
		t.Fatal(err)
	}
	for _, r := range []Record{own, machine, machine} {
		if err := d.DeleteRecord(contosoID, r); err != nil {
			t.Fatal(err)
		}
	}
	if subnet, link := learning(); subnet || link {
		t.Errorf("learning without L2Only records in the subnet %v, for the link %v", subnet, link)
	}
	d.set(t, contoso())
	same(t, before, d.snapshot(t))
}

func TestADeclaredRecordKeepsWhatWasFoundOutAboutItUntilItsDeclarationChanges(t *testing.T) {
	d := fabrikamDoors(t)
	c := contoso()
	id, _ := d.id(contosoID)
	key := doorsTenantAddress{Tenant: id, Ip: toAddress(vmCA)}
	move := func() {
		t.Helper()
		d.mu.Lock()
		defer d.mu.Unlock()
		index, err := d.hosts.intern(hostKey{pa: farHost})
		if err == nil {
			err = d.records.move(key, index)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := c.Records[0]
	want.PA, want.Moved = farHost, true
	move()
	d.set(t, c)
	d.reopen(t)
	d.do(t, func() error { return d.SetGateway(fabrikam()) })
	d.set(t, c)
	if err := d.SetRecord(contosoID, c.Records[0]); err != nil {
		t.Fatal(err)
	}
	sameRecords(t, []Record{want}, d.allRecords(t, contosoID)[:1])
	// The declaration says something else: that counts, and the declaration before does not come back with it.
	c.Records[0].PA = addr("192.168.0.44")
	d.set(t, c)
	sameRecords(t, c.Records[:1], d.allRecords(t, contosoID)[:1])
	c.Records[0].PA = farHost
	d.set(t, c)
	sameRecords(t, c.Records[:1], d.allRecords(t, contosoID)[:1])
	if left := dump[doorsTenantAddress, uint32](t, d.objects.Declared); len(left) != 0 {
		t.Errorf("remembered still: %v", left)
	}
}

func TestADeclarationThatFollowsAMoveIsADeclarationOfItsOwn(t *testing.T) {
	d := fabrikamDoors(t)
	before := d.snapshot(t)
	c := contoso()
	id, _ := d.id(contosoID)
	d.mu.Lock()
	index, err := d.hosts.intern(hostKey{pa: farHost})
	if err == nil {
		err = d.records.move(doorsTenantAddress{Tenant: id, Ip: toAddress(vmCA)}, index)
	}
	d.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	// Policy says by now what the former host said before, and then that the machine is back.
	for _, pa := range []netip.Addr{farHost, host} {
		c.Records[0].PA = pa
		d.set(t, c)
		sameRecords(t, c.Records[:1], d.allRecords(t, contosoID)[:1])
	}
	same(t, before, d.snapshot(t))
}

func TestHostsThatNobodyNamesAnyMoreLeaveRoomForOthers(t *testing.T) {
	d := fabrikamDoors(t)
	g := fabrikam()
	g.Providers[0].Address = netip.PrefixFrom(provider, 8)
	d.do(t, func() error { return d.SetGateway(g) })
	r := Record{CA: addr("10.0.0.77"), VSID: 5001, MAC: farMAC}
	places := d.objects.Hosts.MaxEntries()
	for i := range places + 10 {
		r.PA = netip.AddrFrom4([4]byte{192, 1 + byte(i>>16), byte(i >> 8), byte(i)})
		if err := d.SetRecord(contosoID, r); err != nil {
			t.Fatalf("after %d hosts, of which one is in use at a time: %v", i, err)
		}
	}
	sameRecords(t, []Record{contoso().Records[0], r}, d.allRecords(t, contosoID)[:2])
}

func TestARecordThatMovedStaysMovedWhenItsSubnetGetsAnotherProviderAddress(t *testing.T) {
	d := fabrikamDoors(t)
	g := fabrikam()
	g.Providers = append(g.Providers, on(addr("192.168.0.12"))...)
	d.do(t, func() error { return d.SetGateway(g) })
	id, _ := d.id(contosoID)
	d.mu.Lock()
	index, err := d.hosts.intern(hostKey{pa: farHost})
	if err == nil {
		err = d.records.move(doorsTenantAddress{Tenant: id, Ip: toAddress(vmCA)}, index)
	}
	d.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	g.Providers[len(g.Providers)-1].VSIDs = []uint32{5001}
	d.do(t, func() error { return d.SetGateway(g) })
	d.set(t, contoso())
	want := contoso().Records[0]
	want.PA, want.Moved = farHost, true
	sameRecords(t, []Record{want}, d.allRecords(t, contosoID)[:1])
}
