package gateway

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"bulkhead/configs"
	"bulkhead/internal/testenv"
	"bulkhead/internal/watch"
)

// record is the statement of a lookup record. Of its MAC address the last two bytes are given.
func record(ca string, vsid int, mac, pa string) string {
	return fmt.Sprintf("lookup-record %s vsid %d mac 60:00:60:00:%s pa %s", ca, vsid, mac, pa)
}

func parse(t testing.TB, statements ...string) []configs.Change {
	t.Helper()
	changes := make([]configs.Change, len(statements))
	for i, s := range statements {
		c, err := configs.ParseChange(s)
		must(t, err)
		changes[i] = c
	}
	return changes
}

func (d *daemon) change(t testing.TB, name string, statements ...string) {
	t.Helper()
	must(t, d.Change(t.Context(), name, parse(t, statements...)))
}

// wantRecords checks the records that door 1 has of all tenants, each as "CA VSID PA TYPE RULE".
func (d *daemon) wantRecords(t *testing.T, want ...string) {
	t.Helper()
	rows, err := d.LookupRecords(t.Context())
	must(t, err)
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprint(r.CustomerAddress, r.VSID, " ", r.ProviderAddress, " ", r.Type, " ", r.Rule))
	}
	if !slices.Equal(got, want) {
		t.Errorf("door 1 has records\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (d *daemon) routesOf(t *testing.T, tenant string) string {
	t.Helper()
	state, err := d.state(t.Context(), tenant)
	must(t, err)
	return fmt.Sprint(state.Routes)
}

func TestChangesComeInForceAndOutliveTheDaemon(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	dir := folder(t, contoso.yaml(), woodgrove.yaml())
	must(t, d.takeFolder(t.Context(), dir))
	d.change(t, "Contoso",
		record("10.0.0.11", 5001, "01:02", "192.168.0.33"),
		record("10.0.0.10", 5001, "01:01", "192.168.0.44"),
		"lookup-record l2only vsid 5001 mac 60:00:60:00:01:03 pa 192.168.0.33",
		"customer-route 172.16.0.0/16 vsid 5001 next-hop 10.0.0.10",
		record("10.0.0.12", 5001, "01:04", "192.168.0.33"))
	d.change(t, "Contoso", "no lookup-record 10.0.0.12")
	d.change(t, "Woodgrove", "no lookup-record 10.0.0.10")
	check := func() {
		t.Helper()
		d.wantRecords(t, "0.0.0.0 5001 192.168.0.33 L2Only encap", "10.0.0.10 5001 192.168.0.44 Static encap",
			"10.0.0.11 5001 192.168.0.33 Static encap")
		if routes := d.routesOf(t, "Contoso"); !strings.Contains(routes, "172.16.0.0/16") {
			t.Errorf("the compartment has no route to what lies behind a VM: %s", routes)
		}
		rows, err := d.CustomerRoutes(t.Context())
		must(t, err)
		if len(rows) != 1 || rows[0].NextHop != "10.0.0.10" || rows[0].Tenant != "Contoso" {
			t.Errorf("customer routes %+v", rows)
		}
	}
	check()
	c, w := d.compartment(t, "Contoso"), d.compartment(t, "Woodgrove")
	d.stop()
	watch.Quiet(t, func() {
		d = m.open(t)
		must(t, d.takeFolder(t.Context(), dir))
		check()
	}, m.def, c, w)
	d.change(t, "Contoso", "no customer-route 172.16.0.0/16 vsid 5001 next-hop 10.0.0.10")
	if routes := d.routesOf(t, "Contoso"); strings.Contains(routes, "172.16.0.0/16") {
		t.Errorf("the route behind the VM stays: %s", routes)
	}
}

func TestRefusedChangeTellsTheReasonAndChangesNothing(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	dir := folder(t, contoso.yaml(), woodgrove.yaml())
	must(t, d.takeFolder(t.Context(), dir))
	d.change(t, "Contoso", record("10.0.0.11", 5001, "01:02", "192.168.0.33"))
	good := record("10.0.0.20", 5001, "02:00", "192.168.0.33")
	before := files(t, dir)
	for name, test := range map[string]struct {
		to, statement string
		want          []string
	}{
		"undeclared VSID":  {"Contoso", record("10.0.0.21", 5009, "02:01", "192.168.0.33"), []string{"5009"}},
		"another's VSID":   {"Contoso", record("10.0.0.21", 5002, "02:01", "192.168.0.33"), []string{"5002"}},
		"outside":          {"Contoso", record("10.0.9.21", 5001, "02:01", "192.168.0.33"), []string{"10.0.9.21", "10.0.0.0/24"}},
		"no way to the PA": {"Contoso", record("10.0.0.21", 5001, "02:01", "192.168.9.33"), []string{"192.168.9.33"}},
		"MAC taken":        {"Contoso", record("10.0.0.21", 5001, "01:02", "192.168.0.33"), []string{"60:00:60:00:01:02"}},
		"MAC taken within": {"Contoso", record("10.0.0.21", 5001, "02:00", "192.168.0.33"), []string{"60:00:60:00:02:00"}},
		"next hop outside": {
			"Contoso", "customer-route 172.16.0.0/16 vsid 5001 next-hop 10.0.254.9", []string{"10.0.254.9"},
		},
		"not a tenant's": {"Contoso", "provider-route 192.168.50.0/24 next-hop 192.168.0.1", []string{"provider-route"}},
	} {
		err := d.Change(t.Context(), test.to, parse(t, good, test.statement))
		var kept *KeptError
		if err == nil || errors.As(err, &kept) {
			t.Errorf("%s: error %v, want a refusal", name, err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not name %q", name, err, want)
			}
		}
	}
	if err := d.Change(t.Context(), "Tailspin", parse(t, good)); err == nil || !strings.Contains(err.Error(), "Tailspin") {
		t.Errorf("a tenant that is not declared: error %v", err)
	}
	if after := files(t, dir); after != before {
		t.Errorf("the folder was\n%s\nand is\n%s", before, after)
	}
	d.wantRecords(t, "10.0.0.10 5001 192.168.0.22 Static encap", "10.0.0.11 5001 192.168.0.33 Static encap",
		"10.0.0.10 5002 192.168.0.22 Static encap")
	d.change(t, "Contoso", good) // it was not taken for one that is there
}

// files are the names and contents of a folder's files.
func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var all strings.Builder
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		fmt.Fprintf(&all, "%s:\n%s\n", e.Name(), text)
	}
	return all.String()
}

func TestChangeThatCannotBeWrittenDownChangesNothing(t *testing.T) {
	d := newMachine(t).open(t)
	dir := folder(t, contoso.yaml())
	must(t, d.takeFolder(t.Context(), dir))
	away := dir + ".away"
	must(t, os.Rename(dir, away))
	change := parse(t, record("10.0.0.11", 5001, "01:02", "192.168.0.33"), "no lookup-record 10.0.0.10")
	if err := d.Change(t.Context(), "Contoso", change); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v, want one that names the folder", err)
	}
	d.wantRecords(t, "10.0.0.10 5001 192.168.0.22 Static encap")
	must(t, os.Rename(away, dir))
	must(t, d.Change(t.Context(), "Contoso", change))
	d.wantRecords(t, "10.0.0.11 5001 192.168.0.33 Static encap")
}

func TestPlanThatIsAppliedAgainRevertsNoChange(t *testing.T) {
	d := newMachine(t).open(t)
	dir := folder(t, contoso.yaml())
	must(t, d.takeFolder(t.Context(), dir))
	d.change(t, "Contoso", record("10.0.0.10", 5001, "01:01", "192.168.0.44"),
		"customer-route 172.16.0.0/16 vsid 5001 next-hop 10.0.0.10")
	plan, err := d.inForce()
	must(t, err)
	must(t, d.Gateway.change(t.Context(), "Contoso", plan.tenant("Contoso")))
	d.wantRecords(t, "10.0.0.10 5001 192.168.0.44 Static encap")
	if routes := d.routesOf(t, "Contoso"); !strings.Contains(routes, "172.16.0.0/16") {
		t.Errorf("the route behind the VM is gone: %s", routes)
	}
}

func TestChangeOfATenantThatFailsIsKeptAndCarriedOutWithTheRest(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "bhi6001"
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	t.Cleanup(func() { m.removeLink(t, "bhi6001") })
	if err := d.takeFolder(t.Context(), folder(t, contoso.yaml())); err == nil {
		t.Fatal("a tenant whose link's name is taken was applied")
	}
	err := d.Change(t.Context(), "Contoso", parse(t, record("10.0.0.10", 5001, "01:01", "192.168.0.44")))
	var kept *KeptError
	if !errors.As(err, &kept) || !strings.Contains(err.Error(), "bhi6001") {
		t.Errorf("error %v, want a KeptError that tells what is in the way", err)
	}
	m.removeLink(t, "bhi6001")
	testenv.Eventually(t, "the tenant is applied", func() bool {
		rows, err := d.Compartments(t.Context())
		must(t, err)
		return rows[0].State == "applied"
	})
	d.wantRecords(t, "10.0.0.10 5001 192.168.0.44 Static encap")
}

func TestChangeThatWasWrittenDownButNotCarriedOutIsHealedAtTheStart(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	dir := folder(t, contoso.yaml())
	must(t, d.takeFolder(t.Context(), dir))
	d.stop() // killed between the file and the kernel:
	must(t, configs.AppendChanges(dir, "Contoso", parse(t, "no lookup-record 10.0.0.10",
		record("10.0.0.11", 5001, "01:02", "192.168.0.33"))))
	d = m.open(t)
	have, err := d.doors.Records(rdidOf(contoso))
	must(t, err)
	if len(have) != 1 || have[0].CA.String() != "10.0.0.10" {
		t.Fatalf("before the start the kernel has %+v", have)
	}
	must(t, d.takeFolder(t.Context(), dir))
	d.wantRecords(t, "10.0.0.11 5001 192.168.0.33 Static encap")
}

func TestProviderNetworkChangesWhileTheGatewayRuns(t *testing.T) {
	d := newMachine(t).open(t)
	dir := folder(t, contoso.yaml())
	must(t, d.takeFolder(t.Context(), dir))
	far := record("10.0.0.11", 5001, "01:02", "192.168.50.33")
	if err := d.Change(t.Context(), "Contoso", parse(t, far)); err == nil {
		t.Error("a record whose provider address has no route was taken")
	}
	d.change(t, "GW", "provider-route 192.168.50.0/24 next-hop 192.168.0.1")
	d.change(t, "Contoso", far)
	err := d.Change(t.Context(), "GW", parse(t, "no provider-route 192.168.50.0/24 next-hop 192.168.0.1"))
	if err == nil || !strings.Contains(err.Error(), "192.168.50.33") {
		t.Errorf("error %v, want that a record goes by the route", err)
	}
	routes, err := d.ProviderRoutes(t.Context())
	must(t, err)
	if len(routes) != 1 || routes[0].NextHop.String() != "192.168.0.1" {
		t.Errorf("provider routes %+v", routes)
	}
	mtu := func() int {
		t.Helper()
		rows, err := d.Interfaces(t.Context())
		must(t, err)
		return rows[0].MTU
	}
	if mtu() != 1558 {
		t.Errorf("MTU %d, want 1600 less what NVGRE over IPv4 adds", mtu())
	}
	d.change(t, "GW", "provider-address 2001:db8:f::11/64")
	if mtu() != 1538 {
		t.Errorf("MTU %d, want 1600 less what NVGRE over IPv6 adds", mtu())
	}
	addresses, err := d.ProviderAddresses(t.Context())
	must(t, err)
	if len(addresses) != 2 || addresses[1].Address.String() != "2001:db8:f::11/64" || addresses[1].Link != "backend0" {
		t.Errorf("provider addresses %+v", addresses)
	}
	must(t, d.takeFolder(t.Context(), dir))
	d.change(t, "GW", "no provider-address 2001:db8:f::11/64")
	if mtu() != 1558 {
		t.Errorf("MTU %d once the IPv6 address is gone", mtu())
	}
}

func TestProviderNetworkThatTheMachineCannotHaveIsRefused(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	dir := folder(t, contoso.yaml())
	must(t, d.takeFolder(t.Context(), dir))
	before := files(t, dir)
	refused := func(statement, want string) {
		t.Helper()
		err := d.Change(t.Context(), "GW", parse(t, statement))
		var kept *KeptError
		if err == nil || errors.As(err, &kept) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want a refusal that names %s", err, want)
		}
		if after := files(t, dir); after != before {
			t.Errorf("the folder was\n%s\nand is\n%s", before, after)
		}
		rows, err := d.ProviderAddresses(t.Context())
		must(t, err)
		if len(rows) != 1 {
			t.Errorf("provider addresses %+v", rows)
		}
	}
	link, err := netlink.LinkByName("backend0")
	must(t, err)
	must(t, netlink.LinkSetName(link, "away0"))
	refused("provider-address 2001:db8:f::11/64", "backend0")
	must(t, netlink.LinkSetName(link, "backend0"))

	away := dir + ".away"
	must(t, os.Rename(dir, away))
	must(t, os.WriteFile(dir, nil, 0o600))
	err = d.Change(t.Context(), "GW", parse(t, "provider-address 192.168.7.11/24"))
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v, want one that names the folder", err)
	}
	must(t, os.Remove(dir))
	must(t, os.Rename(away, dir))
	addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
	must(t, err)
	if len(addresses) != 1 || addresses[0].IP.String() != "192.168.0.11" {
		t.Errorf("backend0 has %v", addresses)
	}
	d.change(t, "GW", "provider-address 2001:db8:f::11/64") // nothing of it is there
}

func TestChangesWhileDeclarationsAreAppliedAreAllInForceInTheEnd(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	dir := folder(t, contoso.yaml(), woodgrove.yaml())
	must(t, d.takeFolder(t.Context(), dir))
	const each = 40
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			tenant, vsid := contoso, 5001
			if worker%2 == 1 {
				tenant, vsid = woodgrove, 5002
			}
			for i := range each {
				s := record(fmt.Sprint("10.0.0.", 100+worker*each/2+i/2), vsid,
					fmt.Sprintf("%02x:%02x", 16+worker, i/2), "192.168.0.33")
				if i%2 == 1 {
					s = strings.Replace(s, "192.168.0.33", "192.168.0.44", 1)
				}
				if err := d.Change(t.Context(), tenant.name, parse(t, s)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for range 5 {
			if err := d.takeFolder(t.Context(), dir); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	check := func() {
		t.Helper()
		rows, err := d.LookupRecords(t.Context())
		must(t, err)
		moved := 0
		for _, r := range rows {
			if r.ProviderAddress.String() == "192.168.0.44" {
				moved++
			}
		}
		if len(rows) != 2+2*each || moved != 2*each {
			t.Errorf("%d records, %d of them changed last, want %d and %d", len(rows), moved, 2+2*each, 2*each)
		}
	}
	check()
	d.stop()
	d = m.open(t)
	must(t, d.takeFolder(t.Context(), dir))
	check()
}
