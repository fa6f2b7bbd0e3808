package vpn

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// idleManager has interfaces declared and loaded, and no charon.
func idleManager(t *testing.T, want ...Interface) *Manager {
	t.Helper()
	m := New(Options{Log: slog.New(slog.DiscardHandler)})
	if err := m.declare("T", want); err != nil {
		t.Fatal(err)
	}
	for _, i := range want {
		m.usable["T/"+i.Name] = true
	}
	return m
}

func initiated(by Initiate) func(*Interface) { return func(i *Interface) { i.Initiate = by } }

func TestAPacketDialsWhatMayBeDialledAndOnce(t *testing.T) {
	now := time.Now()
	disabled := func(i *Interface) { i.Initiate, i.Disabled = OnDemand, true }
	m := idleManager(t, iface("Demand", 1, initiated(OnDemand)), iface("Never", 2), iface("Disabled", 3, disabled),
		iface("Up", 4, initiated(OnDemand)), iface("Held", 5, initiated(Always)), iface("Closed", 6, initiated(OnDemand)))
	m.tunnels["T/Up"].children["1"] = child{}
	m.tunnels["T/Held"].dial.hold()
	m.tunnels["T/Closed"].dial.hold()
	if due := m.dueDials(nil, now); len(due) != 0 {
		t.Errorf("before any packet, %q are dialled", due)
	}
	for range 3 {
		for name := range m.States("T") {
			m.Dial("T", name)
		}
		m.Dial("T", "IfNone")
	}
	if due := m.dueDials(nil, now); !slices.Equal(due, []string{"T/Closed", "T/Demand"}) {
		t.Errorf("packets dial %q", due)
	}
	want := map[string]State{"Demand": Connecting, "Never": Disconnected, "Disabled": Disconnected, "Up": Connected,
		"Held": Disconnected, "Closed": Connecting}
	if diff := cmp.Diff(want, m.States("T")); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	m.Dial("T", "Demand")
	if due := m.dueDials(nil, now.Add(time.Second)); len(due) != 0 {
		t.Errorf("%q are dialled twice at once", due)
	}
}

func TestADialThatComesToNoEndIsGivenUp(t *testing.T) {
	now := time.Now()
	m := idleManager(t, iface("IfCe1", 1, initiated(OnDemand)))
	m.Dial("T", "IfCe1")
	m.dueDials(nil, now)
	m.dueDials(nil, now.Add(dialPatience))
	if state := m.States("T")["IfCe1"]; state != Unreachable || len(m.found) != 1 || m.found[0].Kind != Failed {
		t.Errorf("the tunnel is %s, and told was %+v", state, m.found)
	}
}

func TestDeadPeersKeepNobodyWaiting(t *testing.T) {
	now := time.Now()
	var all []Interface
	for n := range 300 {
		all = append(all, iface(fmt.Sprintf("If%03d", n), n+1, initiated(Always)))
	}
	m := idleManager(t, all...)
	for n := range 280 {
		m.tunnels[fmt.Sprintf("T/If%03d", n)].dial.attempts = 5
	}
	m.tunnels["T/If100"].dial.asked = true
	due := m.dueDials(nil, now)
	again := 0
	for _, name := range due {
		if d := m.tunnels[name].dial; d.class == dialAgain {
			again++
		}
	}
	if len(due) != dialsAtOnce[dialAgain]+20+1 || again != dialsAtOnce[dialAgain] || !slices.Contains(due, "T/If100") {
		t.Errorf("%d are dialled, %d of them dead", len(due), again)
	}
	// Those that wait get their turn before the same ones get another.
	for _, name := range due {
		m.tunnels[name].didNotComeUp("dead", true, now)
	}
	for _, name := range m.dueDials(nil, now.Add(backoffMost)) {
		if slices.Contains(due, name) {
			t.Fatalf("%s is dialled again before others are at all", name)
		}
	}
}

// dialled runs a Manager against a fake with one interface, and returns what waits for the next dial.
func dialled(t *testing.T, i Interface) (*fakeCharon, *Manager, *recorder, func()) {
	t.Helper()
	f := newFake(t)
	f.start()
	m, r, _ := runManager(t, f)
	<-m.Ready()
	mustSet(t, m, "T", i)
	return f, m, r, func() {
		t.Helper()
		soon(t, "a dial", func() bool { return slices.Contains(f.did(), "initiate T/"+i.Name) })
	}
}

// fails tells the end of a dial as charon does when the peer does not answer: by its log alone.
func (f *fakeCharon) fails(id string, i Interface) {
	for _, line := range []string{"giving up after 4 retransmits", "establishing IKE_SA failed, peer not responding"} {
		f.raise("log", arguments("msg", line, "ikesa-uniqueid", id, "ikesa-name", "T/"+i.Name))
	}
}

// comesUp makes an SA and tells of it.
func (f *fakeCharon) comesUp(id string, i Interface) {
	f.establish("T/"+i.Name, id, i)
	f.raise("ike-updown", saMessage("T/"+i.Name, id, i).set("up", "yes").msg)
	f.raise("child-updown", saMessage("T/"+i.Name, id, i).set("up", "yes").msg)
}

func TestConnectWaitsForTheOutcome(t *testing.T) {
	i := iface("IfCe1", 1)
	f, m, r, dial := dialled(t, i)
	outcome := make(chan error, 1)
	connect := func() { outcome <- m.Connect(t.Context(), "T", "IfCe1") }
	go connect()
	dial()
	f.fails("1", i)
	if err := <-outcome; err == nil || !strings.Contains(err.Error(), "interface IfCe1: "+noAnswer) {
		t.Errorf("Connect said %v", err)
	}
	if state := m.States("T")["IfCe1"]; state != Unreachable {
		t.Errorf("the tunnel is %s", state)
	}
	go connect()
	dial()
	f.comesUp("2", i)
	if err := <-outcome; err != nil {
		t.Error(err)
	}
	if err := m.Connect(t.Context(), "T", "IfCe1"); err != nil {
		t.Errorf("of a tunnel that is up: %v", err)
	}
	if diff := cmp.Diff([]string{"T/IfCe1 failed", "T/IfCe1 unreachable", "T/IfCe1 up"}, r.kinds()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	tunnels, err := m.Tunnels(t.Context())
	if err != nil || tunnels[0].LastError != noAnswer || tunnels[0].LastErrorAt.IsZero() {
		t.Errorf("what failed last is forgotten: %+v, %v", tunnels, err)
	}
}

func TestConnectSaysWhyItCannot(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	i := iface("IfCe1", 1)
	_, m, _, _ := dialled(t, i)
	mustSet(t, m, "U", iface("Off", 2, func(i *Interface) { i.Disabled = true }))
	for iface, want := range map[string]string{
		"T/IfCe1": "still being dialled", "T/IfCe9": ErrUnknown.Error(), "U/Off": "disabled",
	} {
		tenant, name, _ := splitName(iface)
		if err := m.Connect(ctx, tenant, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: no %q in: %v", iface, want, err)
		}
	}
}

func TestAnUnreachableSiteIsDialledUntilItReturns(t *testing.T) {
	i := iface("IfCe1", 1, initiated(OnDemand))
	f, m, r, dial := dialled(t, i)
	m.Dial("T", "IfCe1")
	for id := range 2 {
		dial()
		f.fails(fmt.Sprint(id+1), i)
	}
	dial()
	if state := m.States("T")["IfCe1"]; state != Unreachable {
		t.Errorf("while it is dialled again, the tunnel is %s", state)
	}
	f.comesUp("3", i)
	want := []string{"T/IfCe1 failed", "T/IfCe1 unreachable", "T/IfCe1 failed", "T/IfCe1 up"}
	soon(t, "its return", func() bool { return slices.Equal(want, r.kinds()) })
}

func TestADeadPeerIsDialledAgainAndOneThatClosedIsNot(t *testing.T) {
	for line, want := range map[string]State{
		"giving up after 4 retransmits": Unreachable, "received DELETE for IKE_SA T/IfCe1[1]": Disconnected,
		"deleting CHILD_SA after 60 seconds of inactivity": Disconnected,
	} {
		i := iface("IfCe1", 1, initiated(OnDemand))
		f, m, r, _ := dialled(t, i)
		f.comesUp("1", i)
		soon(t, "the tunnel", func() bool { return slices.Contains(r.kinds(), "T/IfCe1 up") })
		f.raise("log", arguments("msg", line, "ikesa-uniqueid", "1", "ikesa-name", "T/IfCe1"))
		f.raise("ike-updown", saMessage("T/IfCe1", "1", i).msg)
		soon(t, "its end", func() bool { return slices.Contains(r.kinds(), "T/IfCe1 down") })
		soon(t, line+" to make it "+string(want), func() bool { return m.States("T")["IfCe1"] == want })
		if want == Unreachable {
			soon(t, "a dial", func() bool { return slices.Contains(f.did(), "initiate T/IfCe1") })
		}
	}
}

func TestDisconnectEndsADialWithoutCallingItAFailure(t *testing.T) {
	i := iface("IfCe1", 1, initiated(Always))
	f, m, r, dial := dialled(t, i)
	dial()
	f.mu.Lock()
	f.sas["7"] = newMessage().set("T/IfCe1",
		newMessage().set("uniqueid", "7").set("state", ikeConnecting).set("initiator", "yes")).msg
	f.mu.Unlock()
	outcome := make(chan error, 1)
	go func() { outcome <- m.Connect(t.Context(), "T", "IfCe1") }()
	soon(t, "somebody to wait", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.tunnels["T/IfCe1"].waiting) == 1
	})
	if err := m.Disconnect(t.Context(), "T", "IfCe1"); err != nil {
		t.Fatal(err)
	}
	if err := <-outcome; err == nil || !strings.Contains(err.Error(), errEnded.Error()) {
		t.Errorf("who waited for the dial was told %v", err)
	}
	// An attempt of the peer's that fails after it shows that the one before was seen.
	f.raise("ike-updown", newMessage().set("T/IfCe1", newMessage().set("uniqueid", "8").set("initiator", "no")).msg)
	soon(t, "the events", func() bool { return len(r.kinds()) > 0 })
	if state := m.States("T")["IfCe1"]; state != Disconnected || slices.Contains(r.kinds(), "T/IfCe1 unreachable") {
		t.Errorf("the tunnel is %s, told was %q", state, r.kinds())
	}
	if !slices.Contains(f.did(), "terminate 7") {
		t.Error("the dial goes on")
	}
	// A reset lets it be dialled again.
	go func() { outcome <- m.Reset(t.Context(), "T", "IfCe1") }()
	dial()
	f.comesUp("9", i)
	if err := <-outcome; err != nil {
		t.Error(err)
	}
}
