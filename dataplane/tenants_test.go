package dataplane

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/vishvananda/netlink"

	"bulkhead/internal/netns"
)

// snapshot is everything that the kernel's maps hold, but the counters.
type snapshot struct {
	Tenants    map[doorsTenantId]doorsTenant
	Vsids      map[uint32]doorsVsid
	Ports      map[uint32]doorsPort
	Interfaces map[doorsVsidAddress]doorsInterface
	Hosts      map[uint32]doorsHost
	Providers  map[doorsTenantAddress]uint32
	Records    map[doorsTenantAddress]doorsRecord
	L2only     map[doorsVsidMac]doorsL2only
	StandIns   map[doorsAddress]doorsStandIn
	Rewrites   map[doorsTenantAddress]doorsStandIn
	Routes     map[doorsRouteKey]doorsRoute
	Owners     map[doorsOwnerKey]doorsOwner
}

func dump[K comparable, V any](t testing.TB, m *ebpf.Map) map[K]V {
	t.Helper()
	all := make(map[K]V)
	if err := each(m, func(k K, v V) { all[k] = v }); err != nil {
		t.Fatal(err)
	}
	return all
}

func (d *doors) snapshot(t testing.TB) snapshot {
	t.Helper()
	m := &d.objects.doorsMaps
	hosts := dump[uint32, doorsHost](t, m.Hosts)
	maps.DeleteFunc(hosts, func(_ uint32, h doorsHost) bool { return h == doorsHost{} })
	return snapshot{
		dump[doorsTenantId, doorsTenant](t, m.Tenants), dump[uint32, doorsVsid](t, m.Vsids),
		dump[uint32, doorsPort](t, m.Ports), dump[doorsVsidAddress, doorsInterface](t, m.Interfaces), hosts,
		dump[doorsTenantAddress, uint32](t, m.Providers), dump[doorsTenantAddress, doorsRecord](t, m.Records),
		dump[doorsVsidMac, doorsL2only](t, m.L2only),
		dump[doorsAddress, doorsStandIn](t, m.StandIns), dump[doorsTenantAddress, doorsStandIn](t, m.Rewrites),
		dump[doorsRouteKey, doorsRoute](t, m.Routes),
		dump[doorsOwnerKey, doorsOwner](t, m.Owners),
	}
}

func same(t *testing.T, want, got snapshot) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		t.Errorf("maps (-want +got):\n%s", cmp.Diff(want, got, cmp.Exporter(func(reflect.Type) bool { return true })))
	}
}

// readOnly swaps every map for a handle that refuses to write; restore puts them back.
func (d *doors) readOnly(t testing.TB) (restore func()) {
	t.Helper()
	var undo []func()
	for _, m := range []**ebpf.Map{
		&d.vsids.kernel, &d.ports.kernel, &d.interfaces.kernel, &d.records.kernel, &d.owners.kernel,
		&d.local.kernel, &d.hosts.kernel, &d.hosts.providers, &d.l2only.kernel,
		&d.standIns.kernel, &d.records.rewrites, &d.routes.kernel, &d.records.declared.kernel, &d.objects.Tenants,
	} {
		original := *m
		info, err := original.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		pin := filepath.Join(d.mapsDir(), info.Name)
		reader, err := ebpf.LoadPinnedMap(pin, &ebpf.LoadPinOptions{ReadOnly: true})
		if err != nil {
			t.Fatalf("map %d: %v", id, err)
		}
		*m = reader
		undo = append(undo, func() { *m = original; _ = reader.Close() })
	}
	return func() {
		for _, fn := range undo {
			fn()
		}
	}
}

func TestSetTenantWritesNothingWhenNothingChanged(t *testing.T) {
	d := fabrikamDoors(t)
	restore := d.readOnly(t)
	d.set(t, contoso(), woodgrove())
	d.do(t, func() error { return d.SetGateway(fabrikam()) })
	changed := contoso()
	changed.Records[0].PA = addr("192.168.0.33")
	if err := d.ns.Do(func() error { return d.SetTenant(changed) }); err == nil {
		t.Error("a change could be written to maps that are open for reading only: this test proves nothing")
	}
	restore()
	d.set(t, changed)
}

func TestSetTenantMakesExactlyWhatIsDeclaredAndLeavesTheOtherTenantAlone(t *testing.T) {
	d := fabrikamDoors(t)
	first := d.snapshot(t)
	changed := woodgrove()
	changed.Name = "Woodgrove2"
	changed.Records = changed.Records[1:2]
	changed.Records[0].PA = addr("192.168.0.44")
	changed.Interfaces[0].Addresses = []netip.Addr{addr("10.0.254.3")}
	changed.External.Owned = []Ports{{Address: unownedNAT}, {Address: sharedNAT, First: 10500, Last: 10501}}
	d.set(t, changed)
	records, err := d.Records(woodgroveID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(changed.Records, records, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	names, err := d.Tenants()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[uuid.UUID]string{contosoID: "Contoso", woodgroveID: "Woodgrove2"}, names); diff != "" {
		t.Errorf("tenants (-want +got):\n%s", diff)
	}
	now := d.snapshot(t)
	id, _ := d.id(contosoID)
	for k, v := range first.Records {
		if k.Tenant == id && now.Records[k] != v {
			t.Errorf("Contoso's record %v changed to %v", v, now.Records[k])
		}
	}
	for k, v := range first.Owners {
		if v.Tenant == id && now.Owners[k] != v {
			t.Errorf("Contoso's claim %v changed to %v", v, now.Owners[k])
		}
	}
	for _, prefix := range []struct {
		address netip.Addr
		flags   doorsOwnerFlags
	}{
		{woodNAT, 0}, // back to the pool's prefix, which is shorter
		{unownedNAT, doorsOwnerFlagsOWNER_TENANT},
		{sharedNAT, doorsOwnerFlagsOWNER_SHARED},
	} {
		if got := now.Owners[doorsOwnerKey{Prefixlen: 128, Ip: toAddress(prefix.address)}].Flags; got != prefix.flags {
			t.Errorf("owner flags of %v: %d, want %d", prefix.address, got, prefix.flags)
		}
	}
	d.set(t, woodgrove())
	same(t, first, d.snapshot(t))
}

func TestRemoveTenantLeavesNothingOfItBehind(t *testing.T) {
	d := fabrikamDoors(t)
	if err := d.RemoveTenant(woodgroveID); err != nil {
		t.Fatal(err)
	}
	without := d.snapshot(t)
	d.set(t, woodgrove())
	spoofed := fromCompartment(ip4(contosoNAT, internet, 6, ports(1, 80)))
	d.run(t, d.objects.Door2Tenant, "bhx2", spoofed)
	d.run(t, d.objects.Door2Tenant, "bhx1", fromCompartment(ip4(woodNAT, internet, 6, ports(1, 80))))
	if err := d.RemoveTenant(woodgroveID); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveTenant(woodgroveID); err != nil {
		t.Errorf("removing a tenant that is gone: %v", err)
	}
	same(t, without, d.snapshot(t))
	// Its link drops all that still comes, rather than let Default have it.
	d.check(t, d.objects.Door2Tenant, "door2", "bhx2", []packetCase{
		{name: "after removal", frame: spoofed, verdict: verdictDrop, reason: "unknown-link"},
	})
	if _, ok := d.attached[pinName(doorsProgDoor2Tenant, d.ifindex(t, "bhx2"))]; !ok {
		t.Error("the removed tenant's link has no program on it any more")
	}
	all, err := d.Drops()
	if err != nil {
		t.Fatal(err)
	}
	for _, drop := range all {
		if drop.Tenant == "Woodgrove" {
			t.Errorf("a counter is left: %+v", drop)
		}
	}
	if records, err := d.Records(woodgroveID); err != nil || len(records) > 0 {
		t.Errorf("records %v, %v", records, err)
	}
}

func (d *doors) ifindex(t testing.TB, name string) int {
	t.Helper()
	ifindex, _, err := d.link(name)
	if err != nil {
		t.Fatal(err)
	}
	return int(ifindex)
}

// recreate deletes a veth and makes one of the same name, with another ifindex.
func recreate(t testing.TB, ns *netns.Namespace, name string) {
	t.Helper()
	h := handle(t, ns)
	l, err := h.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.LinkDel(l); err != nil {
		t.Fatal(err)
	}
	// Takes the number that is free now, where the kernel hands that out again.
	addVeth(t, ns, "filler", nil, nil, "fillerp", nil)
	addVeth(t, ns, name, nil, nil, name+"p", nil)
}

func TestSetTenantFollowsARecreatedLink(t *testing.T) {
	d := fabrikamDoors(t)
	before, oldInternal, oldExternal := d.snapshot(t), d.ifindex(t, "bhi6001"), d.ifindex(t, "bhx1")
	recreate(t, d.ns, "bhi6001")
	d.set(t, contoso())
	now, internal := d.snapshot(t), d.ifindex(t, "bhi6001")
	if internal == oldInternal {
		t.Fatal("the link was not recreated")
	}
	want := before.Vsids[6001]
	want.Ifindex = uint32(internal)
	if now.Vsids[6001] != want {
		t.Errorf("VSID 6001: %+v, want %+v", now.Vsids[6001], want)
	}
	if _, ok := now.Ports[uint32(oldInternal)]; ok {
		t.Error("the entry of the link that is gone is left")
	}
	pins, err := os.ReadDir(d.linksDir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range pins {
		names = append(names, p.Name())
	}
	wantPins := []string{
		pinName("door1_tenant", internal), pinName("door1_tenant", d.ifindex(t, "bhi6002")),
		pinName("door1_wire", d.ifindex(t, "backend0")), pinName("door2_tenant", oldExternal),
		pinName("door2_tenant", d.ifindex(t, "bhx2")), pinName("door2_wire", d.ifindex(t, "If2")),
	}
	slices.Sort(names)
	slices.Sort(wantPins)
	if diff := cmp.Diff(wantPins, names); diff != "" {
		t.Errorf("pinned attachments (-want +got):\n%s", diff)
	}
}

func TestSetTenantDoesTheRestWhenALinkIsMissing(t *testing.T) {
	d := fabrikamDoors(t)
	h := handle(t, d.ns)
	gone := netlink.LinkAttrs{Name: "bhi6001", Index: d.ifindex(t, "bhi6001")}
	if err := h.LinkDel(&netlink.Veth{LinkAttrs: gone}); err != nil {
		t.Fatal(err)
	}
	changed := contoso()
	changed.Records = changed.Records[:1]
	err := d.ns.Do(func() error { return d.SetTenant(changed) })
	if err == nil || !strings.Contains(err.Error(), "tenant Contoso: find link bhi6001") {
		t.Errorf("error %v", err)
	}
	if records, err := d.Records(contosoID); err != nil || len(records) != 1 {
		t.Errorf("records %v, %v", records, err)
	}
	if d.snapshot(t).Vsids[6001].Ifindex != 0 {
		t.Error("the virtual subnet still leads to the link that is gone")
	}
}

func TestSetTenantChangesNothingWhenItClaimsWhatAnotherHas(t *testing.T) {
	d := fabrikamDoors(t)
	before := d.snapshot(t)
	for name, c := range map[string]struct {
		change func(*Tenant)
		err    string
	}{
		"VSID":          {func(w *Tenant) { w.Interfaces[0].VSID = 6001 }, "VSID 6001 belongs to tenant Contoso"},
		"whole address": {func(w *Tenant) { w.External.Owned[0].Address = contosoNAT }, "131.107.10.12, or ports of it,"},
		"whole of a shared address": {
			func(w *Tenant) { w.External.Owned = []Ports{{Address: sharedNAT}} }, "131.107.10.14, or ports of it, belong to",
		},
		"ports of a whole address": {
			func(w *Tenant) { w.External.Owned = []Ports{{Address: contosoNAT, First: 1, Last: 2}} }, "belong to tenant Contoso",
		},
		"ports that overlap": {
			func(w *Tenant) { w.External.Owned = []Ports{{Address: sharedNAT, First: 9999, Last: 10000}} },
			"belong to tenant Contoso",
		},
		"ports within ports": {
			func(w *Tenant) { w.External.Owned = []Ports{{Address: sharedNAT, First: 9500, Last: 9501}} },
			"belong to tenant Contoso",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := woodgrove()
			c.change(&w)
			err := d.ns.Do(func() error { return d.SetTenant(w) })
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want one with %q", err, c.err)
			}
			same(t, before, d.snapshot(t))
		})
	}
}

func TestSetTenantRefusesALinkThatAnotherHas(t *testing.T) {
	d := fabrikamDoors(t)
	for link, want := range map[string]string{"bhi6001": "belongs to tenant Contoso", "backend0": "is the gateway's own"} {
		w := woodgrove()
		w.Interfaces[0].Link = link
		if err := d.ns.Do(func() error { return d.SetTenant(w) }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("link %s: error %v, want one with %q", link, err, want)
		}
	}
}
