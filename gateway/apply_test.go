package gateway

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/vishvananda/netlink"

	"bulkhead/configs"
	"bulkhead/internal/testenv"
	"bulkhead/internal/watch"
)

func rdidOf(n tenant) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("12345678-1000-2000-3000-%012d", n.rdid))
}

func TestTenantsAlikeInEverythingStandSideBySide(t *testing.T) {
	d := newMachine(t).open(t)
	d.apply(t, contoso, woodgrove)
	d.wantApplied(t, contoso, woodgrove)
}

func TestRestartedDaemonAdoptsWhatStandsAndWritesNothing(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	d.apply(t, contoso, woodgrove)
	c, w := d.compartment(t, "Contoso"), d.compartment(t, "Woodgrove")
	cfg := declare(t, contoso, woodgrove)
	d.stop()
	watch.Quiet(t, func() {
		again := m.open(t)
		rows, err := again.Compartments(t.Context())
		must(t, err)
		if len(rows) != 2 || rows[0].State != "adopted" {
			t.Errorf("before the declaration is taken up: %+v", rows)
		}
		must(t, again.take(t.Context(), cfg))
		again.wantApplied(t, contoso, woodgrove)
		again.stop()
	}, m.def, c, w)
}

func TestChangeToOneTenantTouchesThatTenantOnly(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	d.apply(t, contoso)
	c := d.compartment(t, "Contoso")
	before, err := d.state(t.Context(), "Contoso")
	must(t, err)
	watch.Quiet(t, func() {
		changed := woodgrove
		changed.public, changed.link = "131.107.10.19", "IfWi1"
		d.apply(t, contoso, woodgrove)
		d.apply(t, contoso, changed)
		d.wantApplied(t, contoso, changed)
		d.apply(t, contoso)
	}, c)
	after, err := d.state(t.Context(), "Contoso")
	must(t, err)
	for i := range before.Links {
		if before.Links[i].Index != after.Links[i].Index || before.Links[i].Peer != after.Links[i].Peer {
			t.Errorf("link %+v became %+v", before.Links[i], after.Links[i])
		}
	}
	d.wantApplied(t, contoso)
}

func TestWhatNobodyDeclaresAnyMoreIsSweptAtTheStart(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	d.apply(t, contoso, woodgrove)
	d.stop()
	d = m.open(t)
	d.apply(t, contoso)
	d.wantApplied(t, contoso)
	if left := doorEnds(t); len(left) != 2 {
		t.Errorf("the Default compartment has %v, want Contoso's two", left)
	}
}

// doorEnds names the ends of compartments' links in the Default compartment.
func doorEnds(t *testing.T) []string {
	t.Helper()
	links, err := netlink.LinkList()
	must(t, err)
	var names []string
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "bh") {
			names = append(names, l.Attrs().Name)
		}
	}
	return names
}

func TestTenantsMaySwapVSIDAndPublicAddressInOneApply(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	d.apply(t, contoso, woodgrove)
	c, w := contoso, woodgrove
	c.vsid, w.vsid, c.public, w.public = w.vsid, c.vsid, w.public, c.public
	d.apply(t, c, w)
	d.wantApplied(t, c, w)
	d.stop()
	// The same for a daemon that remembers nothing.
	d = m.open(t)
	d.apply(t, contoso, woodgrove)
	d.wantApplied(t, contoso, woodgrove)
}

func TestVSIDAndPublicAddressMoveToATenantThatIsNew(t *testing.T) {
	d := newMachine(t).open(t)
	d.apply(t, contoso)
	left, heir := contoso, woodgrove
	left.vsid, left.public = 6009, "131.107.10.19"
	heir.vsid, heir.public = contoso.vsid, contoso.public
	d.apply(t, left, heir)
	d.wantApplied(t, left, heir)
}

func TestTenantMayBeRenamedOrGetAnotherRDID(t *testing.T) {
	d := newMachine(t).open(t)
	d.apply(t, contoso, woodgrove)
	renamed, other := contoso, woodgrove
	renamed.name = "Adatum"
	other.rdid = 7
	d.apply(t, renamed, other)
	d.wantApplied(t, renamed, other)
	if left := doorEnds(t); len(left) != 4 {
		t.Errorf("the Default compartment has %v, want four", left)
	}
	renamed.name, other.name = other.name, renamed.name // each goes on under the other's name
	d.apply(t, other, renamed)
	d.wantApplied(t, other, renamed)
}

func TestFailingTenantIsShownTriedAgainAndHoldsUpNoOther(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "bhi6002"
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	t.Cleanup(func() { m.removeLink(t, "bhi6002") })
	err := d.take(t.Context(), declare(t, contoso, woodgrove))
	if err == nil || !strings.Contains(err.Error(), "tenant Woodgrove: ") || !strings.Contains(err.Error(), "bhi6002") ||
		strings.Contains(err.Error(), "Contoso") {
		t.Fatalf("error %v, want one that names Woodgrove and the link in its way", err)
	}
	rows, err := d.Compartments(t.Context())
	must(t, err)
	if rows[0].State != "applied" || rows[1].State != "failing" || !strings.Contains(rows[1].Error, "bhi6002") {
		t.Errorf("rows %+v, want Contoso applied and Woodgrove failing", rows)
	}
	m.removeLink(t, "bhi6002")
	testenv.Eventually(t, "Woodgrove is applied", func() bool {
		rows, err := d.Compartments(t.Context())
		must(t, err)
		return rows[1].State == "applied"
	})
	d.wantApplied(t, contoso, woodgrove)
}

func TestDeclarationThatTheMachineCannotCarryChangesNothing(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	d.apply(t, contoso)
	c := d.compartment(t, "Contoso")
	elsewhere := strings.Replace(gatewayYAML, "interface: backend0", "interface: backend7", 1)
	cfg := declareOn(t, elsewhere, woodgrove)
	watch.Quiet(t, func() {
		err := d.take(t.Context(), cfg)
		var unable *DefaultError
		if !errors.As(err, &unable) || !strings.Contains(err.Error(), "backend7") {
			t.Errorf("error %v, want a DefaultError that names the NIC", err)
		}
	}, m.def, c)
	d.wantApplied(t, contoso)
}

func TestNothingLeaksWhileTenantsComeAndGo(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	d.apply(t, contoso)
	round := func() {
		d.apply(t, contoso, woodgrove)
		d.apply(t, contoso)
		_, err := d.Interfaces(t.Context())
		must(t, err)
	}
	round()
	files, routines := openFiles(t), runtime.NumGoroutine()
	for range 10 {
		round()
	}
	testenv.Eventually(t, "goroutines and files are as few as before", func() bool {
		return openFiles(t) <= files && runtime.NumGoroutine() <= routines
	})
	d.wantApplied(t, contoso)
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func TestShowGoesOnWhileDeclarationsAreApplied(t *testing.T) {
	d := newMachine(t).open(t)
	d.apply(t, contoso)
	full, part := declare(t, contoso, woodgrove), declare(t, contoso)
	var appliers sync.WaitGroup
	done := make(chan struct{})
	for _, cfg := range []*configs.Config{full, part} {
		appliers.Go(func() {
			for range 3 {
				if err := d.take(t.Context(), cfg); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() {
		appliers.Wait()
		close(done)
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		for name, show := range map[string]func() error{
			"compartments": func() error { _, err := d.Compartments(t.Context()); return err },
			"interfaces":   func() error { _, err := d.Interfaces(t.Context()); return err },
			"nat":          func() error { _, err := d.NAT(t.Context()); return err },
			"records":      func() error { _, err := d.LookupRecords(t.Context()); return err },
			"drops":        func() error { _, err := d.Drops(t.Context()); return err },
		} {
			if err := show(); err != nil {
				t.Errorf("show %s: %v", name, err)
			}
		}
	}
	must(t, d.take(t.Context(), full))
	d.wantApplied(t, contoso, woodgrove)
}

func TestApplyAfterCloseIsRefused(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	cfg := declare(t, contoso)
	d.stop()
	if err := d.take(t.Context(), cfg); !errors.Is(err, errClosed) {
		t.Errorf("error %v, want that the daemon is stopping", err)
	}
}
