package vpn

import (
	"flag"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/strongswan/govici/vici"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestCheckRefusesWhatWouldLetAStrangerIn(t *testing.T) {
	for want, change := range map[string]func(*Interface){
		"must not be empty":     func(i *Interface) { i.Name = "" },
		`contain "/"`:           func(i *Interface) { i.Name = "a/b" },
		"if_id 0":               func(i *Interface) { i.IfID = 0 },
		"one family":            func(i *Interface) { i.LocalAddress = ip6 },
		"two addresses":         func(i *Interface) { i.PeerAddress = unspecified },
		`"%any" has a wildcard`: func(i *Interface) { i.RemoteID = "%any" },
		`"*@x" has a wildcard`:  func(i *Interface) { i.RemoteID = "*@x" },
		`"0.0.0.0/0" has a`:     func(i *Interface) { i.RemoteID = "0.0.0.0/0" },
		`"::/0" has a`:          func(i *Interface) { i.RemoteID = "::/0" },
		`"0.0.0.0-9.0.0.0" has`: func(i *Interface) { i.RemoteID = "0.0.0.0-9.0.0.0" },
		`"0.0.0.0" has a`:       func(i *Interface) { i.LocalID = "0.0.0.0" },
		`"ipv6:::" has a`:       func(i *Interface) { i.RemoteID = "ipv6:::" },
		`begins with "dns:"`:    func(i *Interface) { i.RemoteID = "DNS:ny.example" },
		`begins with "{"`:       func(i *Interface) { i.RemoteID = "{2}:ny.example" },
		`begins with "@@"`:      func(i *Interface) { i.RemoteID = "@@ny@example" },
		"is in hexadecimal":     func(i *Interface) { i.RemoteID = "fqdn:#6e79" },
		"no address behind":     func(i *Interface) { i.RemoteID = "ipv4:ny" },
		"key is empty":          func(i *Interface) { i.PSK = nil },
		"1s or more":            func(i *Interface) { i.DPD = time.Millisecond },
		`initiate "sometimes"`:  func(i *Interface) { i.Initiate = "sometimes" },
	} {
		i := iface("IfCe1", 1)
		if err := i.check(); err != nil {
			t.Fatal(err)
		}
		change(&i)
		if err := i.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

var (
	ip6         = netip.MustParseAddr("2001:db8::1")
	unspecified = netip.IPv4Unspecified()
)

func TestSameIDComparesAsCharonDoes(t *testing.T) {
	for _, c := range []struct {
		a, b        string
		same, other bool
	}{
		{"59.10.10.10", "59.10.10.10", true, false},
		{"59.10.10.10", "59.10.10.100", false, true},
		{"::ffff:59.10.10.10", "59.10.10.10", true, false},
		{"2001:db8::1", "2001:DB8:0::1", true, false},
		{"NY.example", "ny.example", true, false},
		{"@ny.example", "fqdn:ny.example", true, false},
		{"ny.example", "sfo.example", false, true},
		{"CN=NY, O=Contoso", "cn=ny,o = contoso", true, false},
		{"CN=NY", "CN=SFO", false, false},
		{"CN==NY", "CN = NY", true, false},
		{"CN NY, O=Contoso", "/CN=NY/O=Contoso", true, false},
		{"emailAddress=ny@contoso.example", "E=ny@contoso.example", true, false},
		{"ipv4:59.10.10.10", "59.10.10.10", true, false},
		{"keyid:01", "1", false, false},
	} {
		if got := sameID(c.a, c.b); got != c.same {
			t.Errorf("sameID(%q, %q) = %v", c.a, c.b, got)
		}
		if got := otherID(c.a, c.b); got != c.other {
			t.Errorf("otherID(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

func TestPlanComparesWhatCharonHasWithWhatIsWanted(t *testing.T) {
	a, b := complete{Interface: iface("a", 1)}, complete{Interface: iface("b", 2)}
	view := func(i complete) connection {
		return connection{localAddrs: []string{i.LocalAddress.String()}, remotes: []string{i.PeerAddress.String()},
			localID: i.LocalID, remoteID: i.RemoteID}
	}
	has := func(i complete) loaded {
		return loaded{conns: []string{i.Name}, secrets: []string{i.Name}, known: true, iface: i}
	}
	for name, c := range map[string]struct {
		have map[string]loaded
		want map[string]complete
		plan []step
	}{
		"nothing":  {},
		"new":      {nil, map[string]complete{"a": a}, []step{{name: "a", iface: a, stale: staleNone}}},
		"as it is": {map[string]loaded{"a": has(a)}, map[string]complete{"a": a}, nil},
		"gone, then new": {map[string]loaded{"b": has(b)}, map[string]complete{"a": a},
			[]step{{name: "b", remove: true, stale: staleAll}, {name: "a", iface: a}}},
		"other key": {map[string]loaded{"a": has(complete{Interface: iface("a", 1, func(i *Interface) { i.PSK = Secret("x") })})},
			map[string]complete{"a": a}, []step{{name: "a", iface: a, stale: staleNone}}},
		"other peer": {map[string]loaded{"a": has(b)}, map[string]complete{"a": a},
			[]step{{name: "a", iface: a, stale: staleAll}}},
		"an earlier daemon's": {map[string]loaded{"a": {conns: []string{"a"}, secrets: []string{"a"}, view: view(a)}},
			map[string]complete{"a": a}, []step{{name: "a", iface: a, stale: staleMismatch}}},
		"an earlier daemon's, other peer": {map[string]loaded{"a": {conns: []string{"a"}, view: view(b)}},
			map[string]complete{"a": a}, []step{{name: "a", iface: a, stale: staleAll}}},
		"half loaded": {map[string]loaded{"a": {secrets: []string{"a"}}}, map[string]complete{"a": a},
			[]step{{name: "a", iface: a, stale: staleMismatch}}},
	} {
		got := plan(c.have, c.want)
		opts := []cmp.Option{cmp.AllowUnexported(step{}, complete{}), cmpopts.EquateComparable(a.LocalAddress)}
		if diff := cmp.Diff(c.plan, got, opts...); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAListedSAIsReadWhole(t *testing.T) {
	i := iface("IfCe1", 101)
	sas := parseSAs([]*vici.Message{saMessage("Contoso/IfCe1", "7", i).msg, vici.NewMessage()})
	want := ikeSA{
		name: "Contoso/IfCe1", id: "7", state: ikeEstablished, local: "131.107.10.10:4500", peer: "59.10.0.101:4500",
		localID: "131.107.10.10", peerID: "59.10.0.101", initiator: true, initiatorSPI: "000000000000007",
		ifIDIn: 101, ifIDOut: 101, algorithms: "AES_CBC-256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048",
		established: 4 * time.Second,
		children: []childSA{{
			id: "17", state: childInstalled, spiIn: "c33b42d1", spiOut: "c32f40d1", algorithms: "AES_GCM_16-256",
			bytesIn: 84, bytesOut: 168, packetsIn: 1, packetsOut: 2, installed: 4 * time.Second, rekeyIn: 3448 * time.Second,
		}},
	}
	if diff := cmp.Diff([]ikeSA{want}, sas, cmp.AllowUnexported(ikeSA{}, childSA{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLinesOfCharonsLogBecomeReasons(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"tried 1 shared key for '131.107.10.10' - '59.10.10.10', but MAC mismatched",
			"wrong pre-shared key: the peer that claims to be 59.10.10.10 was refused"},
		{"tried 2 shared keys for 'a' - 'b', but MAC mismatched",
			"wrong pre-shared key: the peer that claims to be b was refused"},
		{"received AUTHENTICATION_FAILED notify error",
			"the peer refused our identity or pre-shared key (AUTHENTICATION_FAILED)"},
		{"parsed INFORMATIONAL request 2 [ N(AUTH_FAILED) ]",
			"the peer refused our identity or pre-shared key (AUTHENTICATION_FAILED)"},
		{"subject certificate invalid (valid from Nov 21 06:07:43 2026 to Nov 21 07:07:43 2026)",
			"the peer's certificate is not valid now: it is valid from Nov 21 06:07:43 2026 to Nov 21 07:07:43 2026"},
		{"certificate was revoked on Nov 21 08:07:43 UTC 2026, reason: unspecified",
			"the peer's certificate was revoked on Nov 21 08:07:43 UTC 2026 (unspecified)"},
		{`no issuer certificate found for "O=Contoso, CN=NY"`, "no authority is known that vouches for O=Contoso, CN=NY"},
		{"constraint check failed: RULE_CRL_VALIDATION is FAILED, but requires at least GOOD",
			"whether the peer's certificate was revoked is not known, and revocation is strict"},
		{"constraint check failed: peer not authenticated by CA 'CN=Fabrikam root'",
			"the peer's certificate is by none of the authorities that vouch for this interface, such as CN=Fabrikam root"},
		{"received NO_PROPOSAL_CHOSEN notify error",
			"the peer refused: NO_PROPOSAL_CHOSEN"},
		{"received TS_UNACCEPTABLE notify, no CHILD_SA built",
			"the peer refused the ESP SA: TS_UNACCEPTABLE"},
		{"deleting CHILD_SA after 600 seconds of inactivity",
			"idle for 600 s"},
		{"deleting IKE_SA after 600 seconds of CHILD_SA inactivity",
			"idle for 600 s"},
		{"giving up after 5 retransmits",
			noAnswer},
		{"received DELETE for IKE_SA Contoso/IfCe1[3]",
			"closed by the peer"},
		{"deleting IKE_SA Contoso/IfCe1[3] between 1.2.3.4[a]...5.6.7.8[b]",
			"closed by the gateway"},
		{"IKE_SA Contoso/IfCe1[3] established between 1.2.3.4[a]...5.6.7.8[b]",
			""},
		{"received packet: from 59.10.10.10[500] to 131.107.10.10[500] (924 bytes)",
			""},
	} {
		if telling(c.line) != (c.want != "" || strings.HasPrefix(c.line, "received ")) {
			t.Errorf("telling(%q) = %v", c.line, telling(c.line))
		}
		if got := explain(c.line); got != c.want {
			t.Errorf("explain(%q) = %q, want %q", c.line, got, c.want)
		}
	}
	if slices.Contains(slices.Concat(begins, alsoRead), "") {
		t.Error("a pattern has no beginning of its own: every line of the log is read for it")
	}
	for _, line := range []string{
		"RADIUS authentication of 'IfCe1' successful", "RADIUS authentication of 'IfCe1' failed",
		"RADIUS Access-Request timed out after 4 attempts", "sending RADIUS message failed: Network is unreachable", "switching to peer config 'Contoso/IfCe1'",
		"parsed INFORMATIONAL request 2 [ N(AUTH_FAILED) ]", "constraint check failed: identity 'CN=x' required",
		"  self-signed certificate \"CN=x\" is not trusted",
	} {
		if !telling(line) {
			t.Errorf("%q is passed over", line)
		}
	}
	who := map[string]string{}
	for _, c := range []struct{ line, peer, reason string }{
		{"no IKE config found for 131.107.10.10...59.10.10.66, sending NO_PROPOSAL_CHOSEN",
			"59.10.10.66", "no interface expects a peer at this address"},
		{"looking for peer configs matching 131.107.10.10[%any]...59.10.10.10[CN=x, O=y]", "", ""},
		{"no matching peer config found", "59.10.10.10", "no interface expects the identity CN=x, O=y at this address"},
		{"looking for peer configs matching 131.107.10.10[gw.example]...59.10.10.10[NY]", "", ""},
		{"no matching peer config found", "59.10.10.10",
			"no interface expects the identity NY at this address, or to be asked for as gw.example"},
		{"59.10.10.10 is initiating an IKE_SA", "", ""},
		{"received proposals: IKE:3DES_CBC/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024", "", ""},
		{"received proposals unacceptable", "59.10.10.10",
			"no IKE proposal in common: it offers IKE:3DES_CBC/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024"},
	} {
		peer, reason, ok := stranger(c.line, who, "4")
		if !telling(c.line) {
			t.Errorf("%q is passed over", c.line)
		}
		if peer != c.peer || reason != c.reason || ok != (c.reason != "") {
			t.Errorf("stranger(%q) = %q, %q, %v", c.line, peer, reason, ok)
		}
	}
}

func TestOfDuplicateSAsTheNewestStays(t *testing.T) {
	sa := func(id, spi string, ours bool, age time.Duration, children ...childSA) ikeSA {
		return ikeSA{id: id, state: ikeEstablished, initiatorSPI: spi, initiator: ours, established: age, children: children}
	}
	child := childSA{id: "1", state: childInstalled, spiIn: "b", spiOut: "c", installed: time.Minute}
	younger := childSA{id: "2", state: childInstalled, spiIn: "d", spiOut: "e", installed: 2 * time.Second}
	twin := childSA{id: "3", state: childInstalled, spiIn: "f", spiOut: "a", installed: time.Minute}
	rekeyed := childSA{id: "4", state: "REKEYED", spiIn: "g", spiOut: "h", installed: time.Hour}
	for name, c := range map[string]struct {
		sas            []ikeSA
		ikes, children []string
		wait           time.Duration
	}{
		"one": {
			sas: []ikeSA{sa("1", "a", true, time.Hour, child)},
		},
		"rekeying": {sas: []ikeSA{sa("1", "a", true, time.Hour, child, rekeyed), {id: "2", state: "REKEYED"}}},
		"the peer dialled anew": {
			sas:  []ikeSA{sa("1", "a", true, time.Hour, child), sa("2", "b", false, time.Second, child)},
			ikes: []string{"1"},
		},
		"one end dialled twice": {
			sas:  []ikeSA{sa("9", "a", true, time.Second, child), sa("10", "b", true, time.Second, child)},
			ikes: []string{"9"},
		},
		"both dialled just now": {
			sas:  []ikeSA{sa("1", "a", true, 3*time.Second, child), sa("2", "b", false, time.Second, child)},
			wait: settled - time.Second,
		},
		"both dialled long since": {
			sas:  []ikeSA{sa("1", "b", true, time.Hour, child), sa("2", "a", false, time.Hour+time.Second, child)},
			ikes: []string{"1"},
		},
		"one without children": {
			sas:  []ikeSA{sa("1", "a", true, time.Hour), sa("2", "b", true, time.Second, child)},
			ikes: []string{"1"},
		},
		"one not done yet": {
			sas: []ikeSA{sa("1", "a", true, time.Hour, child), sa("2", "b", false, time.Second)},
		},
		"nothing carries": {
			sas: []ikeSA{sa("1", "a", true, time.Hour), sa("2", "b", true, time.Minute)},
		},
		"a younger child": {
			sas:      []ikeSA{sa("1", "a", true, time.Hour, child, younger)},
			children: []string{"1"},
		},
		"two children at once": {
			sas:      []ikeSA{sa("1", "a", true, time.Hour, child, twin)},
			children: []string{"1"},
		},
	} {
		ikes, children, wait := duplicates(c.sas)
		if !slices.Equal(ikes, c.ikes) || !slices.Equal(children, c.children) || wait != c.wait {
			t.Errorf("%s: duplicates = %q, %q, %v, want %q, %q, %v", name, ikes, children, wait, c.ikes, c.children, c.wait)
		}
	}
}

func TestDiallingBacksOffAndGivesUpRestoring(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var d dialing
	if d.due(OnDemand, now) || !d.due(Always, now) {
		t.Fatal("only a tunnel that is always up is dialled by itself")
	}
	d.lost(now, true)
	for n := range restoreAttempts {
		if !d.due(Never, now) {
			t.Fatalf("attempt %d is not due", n+1)
		}
		d.started(now)
		if d.due(Never, now.Add(time.Minute)) {
			t.Fatal("dialled twice at once")
		}
		d.ended(now, false)
		if d.due(Never, now) {
			t.Fatal("no pause after a failure")
		}
		now = now.Add(backoffMost)
	}
	if d.due(Never, now) {
		t.Error("a peer that stays away is dialled for ever, although nobody declared so")
	}
	// A tunnel that an operator closed stays down, also when charon goes.
	d = dialing{held: true, downAt: now}
	d.lost(now, false)
	if d.due(Always, now) {
		t.Error("a closed tunnel is dialled")
	}
	if low, high := backoff(0, 0.999), backoff(100, 0); low <= 0 || high != backoffMost {
		t.Errorf("pauses between %v and %v", low, high)
	}
}

func TestFloodsOfRefusalsAreThinnedOut(t *testing.T) {
	l, now := newLimiter(), time.Unix(1_000_000, 0)
	var passed int
	for range 1000 {
		if ok, _ := l.allow(now); ok {
			passed++
		}
	}
	ok, suppressed := l.allow(now.Add(time.Second))
	if passed != refusalBurst || !ok || suppressed != 1000-refusalBurst {
		t.Errorf("%d passed, then %v with %d suppressed", passed, ok, suppressed)
	}
}

// FuzzEvents feeds the watcher what charon, or somebody in its place, may send: nothing may bring the daemon down.
func FuzzEvents(f *testing.F) {
	i := iface("IfCe1", 1)
	for _, m := range []*vici.Message{
		saMessage("T/IfCe1", "1", i).msg,
		saMessage("T/IfCe1", "1", i).set("up", "yes").msg,
		arguments("msg", "received DELETE for IKE_SA T/IfCe1[1]", "ikesa-uniqueid", "1", "ikesa-name", "T/IfCe1"),
		arguments("msg", "no IKE config found for 1.2.3.4...5.6.7.8, sending NO_PROPOSAL_CHOSEN"),
		newMessage().set("T/IfCe1", newMessage().set("old", saMessage("a", "1", i)).set("new", saMessage("a", "2", i))).msg,
	} {
		f.Add(encodeMessage(m))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMessage(data)
		if err != nil {
			return
		}
		manager := New(Options{Log: slog.New(slog.DiscardHandler)})
		if err := manager.declare("T", []Interface{i}); err != nil {
			t.Fatal(err)
		}
		w := manager.newWatcher()
		for _, name := range append(subscriptions, logSubscription) {
			w.handle(vici.Event{Name: name, Message: m, Timestamp: time.Unix(1_000_000, 0)})
		}
		sas := parseSAs([]*vici.Message{m})
		duplicates(sas)
		parseConns([]*vici.Message{m})
		if tun := manager.tunnels["T/IfCe1"]; tun == nil || !tun.declared {
			t.Error("an event undeclared an interface")
		}
	})
}

// charon takes what follows "ipv4:" for the octets of the address.
func TestCharonIsToldAddressesWithoutTheirKind(t *testing.T) {
	i := Interface{LocalID: "ipv6:2001:db8::1", RemoteID: "IPv4:59.10.10.10"}.withDefaults()
	if i.LocalID != "2001:db8::1" || i.RemoteID != "59.10.10.10" {
		t.Errorf("charon is told %q and %q", i.LocalID, i.RemoteID)
	}
}

func TestATenantsFailuresHideNoOtherTenants(t *testing.T) {
	var log strings.Builder
	r := newReporter(Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 1000 {
		r.report(Event{Tenant: "Woodgrove", Interface: "IfWe1", Kind: Failed, Reason: "no", Time: time.Unix(1, 0)})
	}
	r.report(Event{Tenant: "Contoso", Interface: "IfCe1", Kind: Failed, Reason: "no", Time: time.Unix(1, 0)})
	if got := strings.Count(log.String(), "tenant=Woodgrove"); got != refusalBurst {
		t.Errorf("%d lines about Woodgrove, want %d", got, refusalBurst)
	}
	if !strings.Contains(log.String(), "tenant=Contoso") {
		t.Error("no line about Contoso")
	}
}
