package dataplane

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"bulkhead/internal/testenv"
)

// linkIDs are the kernel's numbers of the attachments, by pin, with those of their programs.
func (d *doors) linkIDs(t testing.TB) (links map[string]link.ID, programs map[string]ebpf.ProgramID) {
	t.Helper()
	links, programs = make(map[string]link.ID), make(map[string]ebpf.ProgramID)
	for pin, a := range d.attached {
		info, err := a.link.Info()
		if err != nil {
			t.Fatal(err)
		}
		links[pin], programs[pin] = info.ID, info.Program
	}
	return links, programs
}

func (d *doors) reopen(t testing.TB) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d.open(t)
}

func TestReopenAdoptsEverythingAndReplacesTheProgramsInPlace(t *testing.T) {
	d := fabrikamDoors(t)
	before := d.snapshot(t)
	links, programs := d.linkIDs(t)
	d.run(t, d.objects.Door2Tenant, "bhx1", fromCompartment(ip4(vmCA, internet, 6, ports(1, 80))))
	d.reopen(t)
	same(t, before, d.snapshot(t))
	linksNow, programsNow := d.linkIDs(t)
	if diff := cmp.Diff(links, linksNow); diff != "" || len(links) != 6 {
		t.Errorf("attachments (-before +after):\n%s", diff)
	}
	for pin, id := range programs {
		if programsNow[pin] == id {
			t.Errorf("attachment %s still runs the program of the process before", pin)
		}
	}
	if dropped, _ := d.dropped(t, nil); len(dropped) != 1 || dropped[0].Reason != "source-not-owned" {
		t.Errorf("drop counters did not survive: %v", dropped)
	}
	restore := d.readOnly(t)
	defer restore()
	d.set(t, contoso(), woodgrove())
	d.do(t, func() error { return d.SetGateway(fabrikam()) })
}

func TestReopenSweepsAttachmentsOfLinksThatAreGone(t *testing.T) {
	d := fabrikamDoors(t)
	gone := pinName(doorsProgDoor1Tenant, d.ifindex(t, "bhi6001"))
	old := uint32(d.ifindex(t, "bhi6001"))
	recreate(t, d.ns, "bhi6001")
	d.reopen(t)
	if _, ok := d.snapshot(t).Ports[old]; ok {
		t.Error("the entry of the link that is gone is left")
	}
	if _, err := os.Stat(filepath.Join(d.linksDir(), gone)); !os.IsNotExist(err) {
		t.Errorf("pin %s: %v", gone, err)
	}
	if len(d.attached) != 5 {
		t.Errorf("attached: %v", slices.Collect(maps.Keys(d.attached)))
	}
}

func TestOpenMakesMapsAnewWhenTheyAreOfAnotherVersion(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, d *doors){
		"layout": func(t *testing.T, d *doors) {
			if err := d.objects.Gateway.Put(uint32(0), doorsGateway{Layout: 99}); err != nil {
				t.Fatal(err)
			}
		},
		"sizes": func(t *testing.T, d *doors) {
			pin := filepath.Join(d.mapsDir(), doorsMapRecords)
			if err := os.Remove(pin); err != nil {
				t.Fatal(err)
			}
			other, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Close() }()
			if err := other.Pin(pin); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := fabrikamDoors(t)
			before := d.snapshot(t)
			spoil(t, d)
			d.reopen(t)
			if names, err := d.Tenants(); err != nil || len(names) > 0 {
				t.Errorf("tenants %v, %v", names, err)
			}
			d.do(t, func() error { return d.SetGateway(fabrikam()) })
			d.set(t, contoso(), woodgrove())
			same(t, before, d.snapshot(t))
			d.reopen(t)
			same(t, before, d.snapshot(t))
		})
	}
}

func TestDestroyLeavesNothingAttachedPinnedOrMounted(t *testing.T) {
	ns := testenv.Namespace(t)
	addVeth(t, ns, "backend0", backendMAC, nil, "wire0", nil)
	d := &doors{ns: ns, dir: filepath.Join(t.TempDir(), "bpf")}
	d.open(t)
	d.do(t, func() error { return d.SetGateway(Gateway{Backend: "backend0"}) })
	ifindex := d.ifindex(t, "backend0")
	if n := d.attachedTo(t, ifindex); n != 1 {
		t.Fatalf("%d programs on the link before", n)
	}
	if err := d.Destroy(); err != nil {
		t.Fatal(err)
	}
	if n := d.attachedTo(t, ifindex); n != 0 {
		t.Errorf("%d programs on the link after", n)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil || uint32(st.Type) == unix.BPF_FS_MAGIC {
		t.Errorf("the BPF file system is still there (%v)", err)
	}
}

// attachedTo counts the programs on a link's ingress.
func (d *doors) attachedTo(t testing.TB, ifindex int) (n int) {
	t.Helper()
	d.do(t, func() error {
		result, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			n = len(result.Programs)
		}
		return err
	})
	return n
}

func TestSetGatewayMovesTheDoorWhenTheLinkIsAnother(t *testing.T) {
	d := fabrikamDoors(t)
	addVeth(t, d.ns, "backend1", nil, nil, "wire2", nil)
	g := fabrikam()
	g.Backend = "backend1"
	d.do(t, func() error { return d.SetGateway(g) })
	before, after := d.attachedTo(t, d.ifindex(t, "backend0")), d.attachedTo(t, d.ifindex(t, "backend1"))
	if before != 0 || after != 1 {
		t.Errorf("%d programs on the old link, %d on the new", before, after)
	}
	// One NIC for both networks carries both doors.
	g.External = "backend1"
	d.do(t, func() error { return d.SetGateway(g) })
	if n := d.attachedTo(t, d.ifindex(t, "backend1")); n != 2 {
		t.Errorf("%d programs on the link of both networks", n)
	}
}
