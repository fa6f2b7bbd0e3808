package vpn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// iface is an interface whose peer's last octet and if_id are n.
func iface(name string, n int, change ...func(*Interface)) Interface {
	i := Interface{
		Name: name, IfID: uint32(n), LocalAddress: netip.MustParseAddr("131.107.10.10"),
		PeerAddress: netip.AddrFrom4([4]byte{59, 10, byte(n >> 8), byte(n)}), PSK: Secret("hush" + strconv.Itoa(n)),
		Initiate: Never,
	}
	for _, f := range change {
		f(&i)
	}
	return i.withDefaults()
}

type recorder struct {
	mu     sync.Mutex
	events []Event
}

func (r *recorder) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// kinds tells the events so far as "Contoso/IfCe1 up".
func (r *recorder) kinds() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		out = append(out, connName(e.Tenant, e.Interface)+" "+string(e.Kind))
	}
	return out
}

// runManager runs a Manager against a fake until the test ends.
func runManager(t *testing.T, f *fakeCharon) (*Manager, *recorder, *bytes.Buffer) {
	t.Helper()
	r, logs := &recorder{}, &bytes.Buffer{}
	m := New(Options{Socket: f.socket, OnEvent: r.add, Log: slog.New(slog.NewTextHandler(logs, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return m, r, logs
}

func mustSet(t *testing.T, m *Manager, tenant string, want ...Interface) {
	t.Helper()
	if err := m.Set(t.Context(), tenant, want); err != nil {
		t.Fatal(err)
	}
}

func TestSetIsRememberedUntilCharonComes(t *testing.T) {
	f := newFake(t)
	m, _, _ := runManager(t, f)
	if err := m.Set(t.Context(), "Contoso", []Interface{iface("IfCe1", 1)}); !errors.Is(err, ErrNotConnected) {
		t.Fatalf("Set without charon returned %v", err)
	}
	if tunnels, err := m.Tunnels(t.Context()); !errors.Is(err, ErrNotConnected) || len(tunnels) != 1 {
		t.Errorf("Tunnels without charon returned %v, %v", tunnels, err)
	}
	f.start()
	<-m.Ready()
	if diff := cmp.Diff([]string{"load-shared Contoso/IfCe1", "load-conn Contoso/IfCe1"}, f.did()); diff != "" {
		t.Errorf("charon was told (-want +got):\n%s", diff)
	}
	mustSet(t, m, "Contoso", iface("IfCe1", 1))
	if did := f.did(); len(did) != 0 {
		t.Errorf("an unchanged Set did %q", did)
	}
}

func TestSetDoesWhatDiffersAndNoMore(t *testing.T) {
	f := newFake(t)
	f.start()
	m, _, _ := runManager(t, f)
	<-m.Ready()
	a, b := iface("IfCe1", 1), iface("IfCe2", 2)
	mustSet(t, m, "Contoso", a, b)
	mustSet(t, m, "Woodgrove", iface("IfCe1", 3))
	f.did()
	f.establish("Contoso/IfCe1", "1", a)
	f.establish("Contoso/IfCe2", "2", b)
	for _, step := range []struct {
		what string
		want []Interface
		did  []string
	}{
		{"another key", []Interface{iface("IfCe1", 1, func(i *Interface) { i.PSK = Secret("other") }), b},
			[]string{"load-shared Contoso/IfCe1", "load-conn Contoso/IfCe1"}},
		{"another if_id", []Interface{iface("IfCe1", 1, func(i *Interface) { i.IfID = 9 }), b},
			[]string{"load-shared Contoso/IfCe1", "load-conn Contoso/IfCe1", "terminate 1"}},
		{"one removed", []Interface{iface("IfCe1", 1, func(i *Interface) { i.IfID = 9 })},
			[]string{"unload-conn Contoso/IfCe2", "unload-shared Contoso/IfCe2", "terminate 2"}},
		{"all removed", nil, []string{"unload-conn Contoso/IfCe1", "unload-shared Contoso/IfCe1"}},
	} {
		mustSet(t, m, "Contoso", step.want...)
		if diff := cmp.Diff(step.did, f.did()); diff != "" {
			t.Errorf("%s: charon was told (-want +got):\n%s", step.what, diff)
		}
	}
	if tenants, err := m.Tenants(t.Context()); err != nil || !slices.Equal(tenants, []string{"Woodgrove"}) {
		t.Errorf("charon has something of %q, %v", tenants, err)
	}
}

func TestOneBadInterfaceDoesNotStopTheOthersNorPrintItsKey(t *testing.T) {
	f := newFake(t)
	f.refuse["load-conn Contoso/B"] = "invalid value for: proposals, config discarded"
	f.start()
	m, _, logs := runManager(t, f)
	<-m.Ready()
	unnamed := iface("", 7)
	twin := iface("D", 8, func(i *Interface) { i.RemoteID = "59.10.0.3" })
	err := m.Set(t.Context(), "Contoso", []Interface{unnamed, iface("A", 1), iface("B", 2), iface("C", 3), twin})
	for _, want := range []string{
		"interface : the name", "interface B: charon refused", "proposals", "clash with those of Contoso/C",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	want := []string{
		"load-shared Contoso/A", "load-conn Contoso/A", "load-shared Contoso/B", "load-conn Contoso/B",
		"load-shared Contoso/C", "load-conn Contoso/C",
	}
	if diff := cmp.Diff(want, f.did()); diff != "" {
		t.Errorf("charon was told (-want +got):\n%s", diff)
	}
	if strings.Contains(fmt.Sprint(err), "hush") || strings.Contains(logs.String(), "hush") {
		t.Error("a key was printed")
	}
	// Once C is gone, D may have its peer's identity: no further declaration is needed for that in another tenant.
	mustSet(t, m, "Woodgrove", iface("E", 20))
	impostor := iface("F", 21, func(i *Interface) { i.RemoteID = "59.10.0.20" })
	if err := m.Set(t.Context(), "Litware", []Interface{impostor}); err == nil {
		t.Error("two tenants' peers have one identity")
	}
	f.did()
	mustSet(t, m, "Woodgrove")
	if did := f.did(); !slices.Contains(did, "load-conn Litware/F") {
		t.Errorf("the interface that waited was not loaded: %q", did)
	}
}

func TestAnEarlierDaemonsPeerIsNoOtherTenantsUntilItsConnectionIsGone(t *testing.T) {
	f := newFake(t)
	old := iface("E", 20)
	f.conns["Woodgrove/E"], _ = connMessage("Woodgrove/E", old)
	f.secrets["Woodgrove/E"], _ = secretMessage("Woodgrove/E", old)
	f.start()
	m, _, _ := runManager(t, f)
	<-m.Ready()
	heir := iface("F", 21, func(i *Interface) { i.RemoteID = old.RemoteID })
	err := m.Set(t.Context(), "Litware", []Interface{heir})
	if err == nil || !strings.Contains(err.Error(), "Woodgrove/E") {
		t.Errorf("a peer's key opens two tenants' tunnels: %v", err)
	}
	if did := f.did(); len(did) != 0 {
		t.Errorf("charon was told %q", did)
	}
	mustSet(t, m, "Woodgrove")
	want := []string{
		"unload-conn Woodgrove/E", "unload-shared Woodgrove/E", "load-shared Litware/F", "load-conn Litware/F",
	}
	if diff := cmp.Diff(want, f.did()); diff != "" {
		t.Errorf("charon was told (-want +got):\n%s", diff)
	}
}

func TestWhatNobodyDeclaresIsFoundAndSwept(t *testing.T) {
	f := newFake(t)
	old := iface("IfOld", 4)
	f.conns["Contoso/IfOld"], _ = connMessage("Contoso/IfOld", old)
	f.secrets["Litware/IfLe1"], _ = secretMessage("Litware/IfLe1", old)
	f.conns["swanctl"], _ = connMessage("swanctl", old)
	f.establish("Woodgrove/IfWe1", "5", old)
	f.start()
	m, _, _ := runManager(t, f)
	<-m.Ready()
	tenants, err := m.Tenants(t.Context())
	if err != nil || !slices.Equal(tenants, []string{"Contoso", "Litware", "Woodgrove"}) {
		t.Fatalf("found %q, %v", tenants, err)
	}
	if did := f.did(); len(did) != 0 {
		t.Errorf("swept before it was told to: %q", did)
	}
	for _, tenant := range tenants {
		mustSet(t, m, tenant)
	}
	want := []string{"unload-conn Contoso/IfOld", "unload-shared Litware/IfLe1", "terminate 5"}
	if diff := cmp.Diff(want, f.did()); diff != "" {
		t.Errorf("charon was told (-want +got):\n%s", diff)
	}
}

func TestANewManagerAdoptsWhatFitsAndEndsWhatDoesNot(t *testing.T) {
	f := newFake(t)
	same, moved := iface("Same", 1), iface("Moved", 2)
	for name, i := range map[string]Interface{"T/Same": same, "T/Moved": moved} {
		f.conns[name], _ = connMessage(name, i)
		f.secrets[name], _ = secretMessage(name, i)
	}
	f.establish("T/Same", "1", same)
	f.establish("T/Moved", "2", moved)
	f.start()
	m, r, _ := runManager(t, f)
	<-m.Ready()
	moved.IfID = 12
	mustSet(t, m, "T", same, moved)
	if did := f.did(); slices.Contains(did, "terminate 1") || !slices.Contains(did, "terminate 2") {
		t.Errorf("charon was told %q", did)
	}
	if kinds := r.kinds(); slices.Contains(kinds, "T/Same up") || !slices.Contains(kinds, "T/Same adopted") {
		t.Errorf("what was told of the adopted tunnel: %q", kinds)
	}
	tunnels, err := m.Tunnels(t.Context())
	if err != nil || len(tunnels) != 2 || tunnels[1].State != Connected || tunnels[0].State == Connected {
		t.Errorf("Tunnels returned %+v, %v", tunnels, err)
	}
}

func TestATunnelThatStoodBeforeTheManagerIsNotSaidToComeUp(t *testing.T) {
	for _, declared := range []string{"before charon is reached", "after"} {
		f := newFake(t)
		i := iface("IfCe1", 1)
		f.establish("T/IfCe1", "1", i)
		m, r, logs := runManager(t, f)
		if declared != "after" {
			if err := m.Set(t.Context(), "T", []Interface{i}); !errors.Is(err, ErrNotConnected) {
				t.Fatal(err)
			}
		}
		f.start()
		<-m.Ready()
		mustSet(t, m, "T", i)
		if diff := cmp.Diff([]string{"T/IfCe1 adopted"}, r.kinds()); diff != "" {
			t.Errorf("declared %s: what was told (-want +got):\n%s", declared, diff)
		}
		if log := logs.String(); !strings.Contains(log, `msg="tunnel is up" event=adopted tenant=T interface=IfCe1`) {
			t.Errorf("declared %s: logged:\n%s", declared, log)
		}
	}
}

func TestATunnelThatCameUpWhileTheSessionWasLostIsSaidToComeUp(t *testing.T) {
	f := newFake(t)
	f.start()
	m, r, _ := runManager(t, f)
	<-m.Ready()
	i := iface("IfCe1", 1)
	mustSet(t, m, "T", i)
	f.stop()
	f.establish("T/IfCe1", "1", i)
	f.start()
	soon(t, "the event", func() bool { return slices.Contains(r.kinds(), "T/IfCe1 up") })
}

func TestNothingIsLostFromALongList(t *testing.T) {
	f := newFake(t)
	var want []Interface
	for n := range 600 {
		i := iface(fmt.Sprintf("If%04d", n), n+1)
		want = append(want, i)
		f.establish("T/"+i.Name, strconv.Itoa(n+1), i)
	}
	f.start()
	m, _, _ := runManager(t, f)
	<-m.Ready()
	mustSet(t, m, "T", want...)
	tunnels, err := m.Tunnels(t.Context())
	if err != nil || len(tunnels) != len(want) {
		t.Fatalf("%d tunnels, %v", len(tunnels), err)
	}
	for _, tun := range tunnels {
		if tun.State != Connected {
			t.Fatalf("the list lost %+v", tun)
		}
	}
}

func TestWhatWasUpIsDialledAgainWhenCharonComesBack(t *testing.T) {
	f := newFake(t)
	f.start()
	m, r, _ := runManager(t, f)
	<-m.Ready()
	up, down := iface("Up", 1), iface("Down", 2)
	mustSet(t, m, "T", up, down)
	event := f.establish("T/Up", "1", up)
	if err := event.Set("up", "yes"); err != nil {
		t.Fatal(err)
	}
	f.raise("child-updown", event)
	soon(t, "the tunnel's coming up", func() bool { return slices.Contains(r.kinds(), "T/Up up") })
	f.stop()
	f.did()
	f.start()
	soon(t, "dialling", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.Contains(f.commands, "initiate T/Up")
	})
	did := f.did()
	if slices.Contains(did, "initiate T/Down") || !slices.Contains(did, "load-conn T/Down") {
		t.Errorf("charon was told %q", did)
	}
	if !slices.Contains(r.kinds(), "T/Up down") {
		t.Errorf("nobody was told that it went down: %q", r.kinds())
	}
}

func TestAnEventBetweenTwoSubscriptionsIsKept(t *testing.T) {
	f := newFake(t)
	i := iface("IfCe1", 1)
	f.eager = saMessage("T/IfCe1", "1", i).set("up", "yes").msg
	m, r, _ := runManager(t, f)
	if err := m.Set(t.Context(), "T", []Interface{i}); !errors.Is(err, ErrNotConnected) {
		t.Fatal(err)
	}
	f.start()
	soon(t, "the event", func() bool { return slices.Contains(r.kinds(), "T/IfCe1 up") })
}

func TestASecretNeverPrints(t *testing.T) {
	i := iface("IfCe1", 1)
	var logs bytes.Buffer
	slog.New(slog.NewJSONHandler(&logs, nil)).Info("x", "psk", i.PSK, "interface", i)
	asJSON, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(i), fmt.Sprintf("%v %+v %#v %s %q %x %d", i, i, i, i.PSK, i.PSK, i.PSK, i.PSK),
		logs.String(), string(asJSON),
	} {
		for _, leak := range []string{"hush", "aHVzaA", "68757368", "104 117"} {
			if strings.Contains(text, leak) {
				t.Errorf("the key shows in %q", text)
			}
		}
	}
}
