package gateway

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/bgp"
	"bulkhead/internal/testenv"
)

func TestASpeakerThatHangsIsShownSoBesideTheOthers(t *testing.T) {
	d := newMachine(t).open(t)
	must(t, d.takeFolder(t.Context(), folder(t, contoso.yaml()+bgpYAML, woodgrove.yaml()+bgpYAML)))
	hung := d.speaks(t, "Contoso", "Woodgrove")["Contoso"]
	testenv.Suspend(t, hung)
	defer func() { must(t, syscall.Kill(hung, syscall.SIGCONT)) }()

	var all sync.WaitGroup
	ask := func(view func()) { all.Go(view) }
	ask(func() {
		rows, err := d.BGP(t.Context(), BGPQuery{})
		if err != nil || len(rows) != 2 || rows[0].State != "away" || rows[1].State != "running" {
			t.Errorf("speakers are %+v, %v", rows, err)
		}
	})
	ask(func() {
		rows, err := d.BGPPeers(t.Context(), BGPQuery{})
		if err != nil || len(rows) != 4 || rows[0].State != unknown || rows[3].State != bgp.Stopped {
			t.Errorf("peers are %+v, %v", rows, err)
		}
	})
	ask(func() {
		rows, err := d.BGPRoutes(t.Context(), BGPQuery{})
		if err != nil || len(rows) != 4 || rows[0].State != unknown || !strings.Contains(rows[0].Why, "does not answer") {
			t.Errorf("routes are %+v, %v", rows, err)
		}
	})
	ask(func() {
		rows, err := d.BGPAdvertised(t.Context(), BGPQuery{})
		if err != nil || len(rows) != 1 || !strings.Contains(rows[0].Error, "does not answer") {
			t.Errorf("advertised is %+v, %v", rows, err)
		}
	})
	ask(func() {
		rows, err := d.BGPRoutes(t.Context(), BGPQuery{Tenant: "Contoso"})
		if err == nil || strings.Count(err.Error(), "Contoso") != 1 {
			t.Errorf("routes of the one that hangs are %+v, %v", rows, err)
		}
	})
	all.Wait()
}

func TestAPeerIsAskedForWhereItIs(t *testing.T) {
	d := newMachine(t).open(t)
	must(t, d.takeFolder(t.Context(), folder(t, contoso.yaml()+strings.ReplaceAll(bgpYAML, "VM", "Own"), woodgrove.yaml()+bgpYAML)))
	d.speaks(t, "Contoso", "Woodgrove")
	peer := func(tenant, name string) BGPQuery {
		return BGPQuery{Tenant: tenant, RouteQuery: bgp.RouteQuery{Peer: name}}
	}
	if rows, err := d.BGPPeers(t.Context(), peer("", "Own")); err != nil || len(rows) != 1 || rows[0].Tenant != "Contoso" {
		t.Errorf("the peer is %+v, %v", rows, err)
	}
	if rows, err := d.BGPRoutes(t.Context(), peer("", "Own")); err != nil || rows == nil || len(rows) != 0 {
		t.Errorf("its routes are %+v, %v", rows, err)
	}
	for _, tenant := range []string{"", "Woodgrove"} {
		for what, ask := range map[string]func() error{
			"peers":      func() error { _, err := d.BGPPeers(t.Context(), peer(tenant, "Nobody")); return err },
			"routes":     func() error { _, err := d.BGPRoutes(t.Context(), peer(tenant, "Nobody")); return err },
			"advertised": func() error { _, err := d.BGPAdvertised(t.Context(), peer(tenant, "Nobody")); return err },
		} {
			if err := ask(); err == nil || !strings.Contains(err.Error(), `no`) || !strings.Contains(err.Error(), `"Nobody"`) {
				t.Errorf("%s of a peer that nobody has: %v", what, err)
			}
		}
	}
	if err := d.ResetBGPPeer(t.Context(), "Woodgrove", "Own", false); err == nil || strings.Count(err.Error(), "Woodgrove") != 1 {
		t.Errorf("reset of a peer of another tenant: %v", err)
	}
}

func TestARunFolderWithoutRoomForSpeakersIsToldOnceAndHurtsTheirTenantAlone(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	full := filepath.Join(m.runDir, "bgp")
	must(t, os.Mkdir(full, 0o700))
	must(t, unix.Mount("tmpfs", full, "tmpfs", 0, "nr_inodes=1"))
	err := d.takeFolder(t.Context(), folder(t, contoso.yaml()+bgpYAML, woodgrove.yaml()))
	if err == nil || strings.Count(err.Error(), "tenant Contoso") != 1 || strings.Contains(err.Error(), "Woodgrove") {
		t.Errorf("the error is %v", err)
	}
	rows, err := d.Compartments(t.Context())
	must(t, err)
	if i := slices.IndexFunc(rows, func(r CompartmentRow) bool { return r.Tenant == "Contoso" }); i < 0 || !strings.Contains(rows[i].Error, "BGP") {
		t.Errorf("compartments are %+v", rows)
	}
	must(t, unix.Unmount(full, 0))
	d.speaks(t, "Contoso")
}

func TestRoutesFollowTheTunnelsWhileASpeakerTakesItsTime(t *testing.T) {
	d := newMachine(t).open(t)
	must(t, d.takeFolder(t.Context(), folder(t, contoso.yaml()+bgpYAML)))
	hung := d.speaks(t, "Contoso")["Contoso"]
	testenv.Suspend(t, hung)
	done := make(chan error, 1)
	changes := parse(t, "bgp-peer VM stopped")
	go func() { done <- d.Change(t.Context(), "Contoso", changes) }()
	plan, err := d.inForce()
	must(t, err)
	tenant := plan.tenant("Contoso")
	testenv.Eventually(t, "the speaker is waited for", func() bool {
		if tenant.speaking.TryLock() {
			tenant.speaking.Unlock()
			return false
		}
		return true
	})
	must(t, d.follower("Contoso").follow(t.Context()))
	if d.loop("Contoso").Status().Busy || len(done) > 0 {
		t.Error("the speaker was not waited for any more, so this shows nothing")
	}
	must(t, syscall.Kill(hung, syscall.SIGCONT))
	must(t, <-done)
}
