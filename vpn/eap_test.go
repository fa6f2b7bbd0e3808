package vpn

import (
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func eapInterface(change ...func(*Interface)) Interface {
	i := Interface{
		Name: "IfCe1", IfID: 100, LocalAddress: netip.MustParseAddr("131.107.10.10"), Method: EAP, Initiate: Never,
	}
	for _, f := range change {
		f(&i)
	}
	return i.withDefaults()
}

// charon prefers the narrower prefix, and an address that two prefixes of a tier covered would be no worse; one that none
// covered would pass the catcher by.
func TestTiersOfEAPCoverEveryAddressOnceEachMoreNarrowly(t *testing.T) {
	for n, tier := range [][]string{answeringAddrs, catcherAddrs} {
		bits := n + 1
		for _, addr := range []string{
			"0.0.0.1", "59.10.10.10", "127.255.255.255", "128.0.0.1", "191.1.1.1", "192.0.2.1", "255.255.255.254",
			"::1", "2001:db8::1", "7fff::1", "8000::1", "fd00::1", "fe80::1",
		} {
			var covering []string
			for _, p := range tier {
				if prefix := netip.MustParsePrefix(p); prefix.Contains(netip.MustParseAddr(addr)) && prefix.Bits() == bits {
					covering = append(covering, p)
				}
			}
			if len(covering) != 1 {
				t.Errorf("%s: %v of %v", addr, covering, tier)
			}
		}
	}
}

func TestAnEAPInterfaceThatCharonWouldMisunderstandIsRefused(t *testing.T) {
	for want, change := range map[string]func(*Interface){
		"it must be a name":   func(i *Interface) { i.UserName = "*@contoso.example" },
		"%any":                func(i *Interface) { i.UserName = "%any" },
		"10.0.0.1":            func(i *Interface) { i.UserName = "10.0.0.1" },
		"kind of an identity": func(i *Interface) { i.UserName = "email:ny" },
		"no user name to dia": func(i *Interface) { i.Initiate, i.PeerHost = Always, "ny.example" },
		"no certificate auth": func(i *Interface) { i.DialUserName, i.PeerHost = "fabrikam", "ny.example" },
	} {
		if err := eapInterface(change).check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	if err := eapInterface(func(i *Interface) { i.UserName = `FABRIKAM\ny` }).check(); err != nil {
		t.Error(err)
	}
}

func TestOneUserOpensOneInterfaceAndTheSameAccountThereIsRefused(t *testing.T) {
	dials := func(user, site string) Interface {
		return eapInterface(func(i *Interface) { i.UserName, i.DialUserName, i.RemoteID = site+user, user, "fqdn:"+site })
	}
	for name, c := range map[string]struct {
		a, b Interface
		want bool
	}{
		"the same user in another case": {
			eapInterface(), eapInterface(func(i *Interface) { i.Name, i.UserName = "IfWe1", "IFCE1" }), true,
		},
		"another user":                  {eapInterface(), eapInterface(func(i *Interface) { i.UserName = "ny" }), false},
		"the same account":              {dials("fabrikam", "ny.example"), dials("fabrikam", "NY.example"), false},
		"the same name at another site": {dials("fabrikam", "ny.example"), dials("fabrikam", "sfo.example"), false},
	} {
		if name == "the same account" {
			c.b.UserName, c.want = "other", true
		}
		if c.a.who().clashes(c.b.who()) != c.want || c.b.who().clashes(c.a.who()) != c.want {
			t.Errorf("%s: want %v", name, c.want)
		}
	}
}

func TestAnEAPTunnelIsKnownByItsUserOrByWhomWeDialled(t *testing.T) {
	i := eapInterface(func(i *Interface) { i.DialUserName, i.RemoteID = "fabrikam", "192.0.2.1" })
	answered := ikeSA{ifIDIn: 100, ifIDOut: 100, user: "ifce1", peerID: "10.9.9.9", localID: "gw.example"}
	dialled := ikeSA{ifIDIn: 100, ifIDOut: 100, initiator: true, peerID: "192.0.2.1", localID: "fabrikam"}
	for name, c := range map[string]struct {
		sa     ikeSA
		change func(*ikeSA)
		want   bool
	}{
		"answered":                {answered, func(*ikeSA) {}, true},
		"answered another user":   {answered, func(sa *ikeSA) { sa.user = "IfWe1" }, false},
		"answered without a user": {answered, func(sa *ikeSA) { sa.user = "" }, false},
		"dialled":                 {dialled, func(*ikeSA) {}, true},
		"dialled another site":    {dialled, func(sa *ikeSA) { sa.peerID = "192.0.2.2" }, false},
		"of another if_id":        {dialled, func(sa *ikeSA) { sa.ifIDIn = 7 }, false},
	} {
		c.change(&c.sa)
		if c.sa.fits(i) != c.want {
			t.Errorf("%s: want %v", name, c.want)
		}
	}
}

// A successful login passes the catcher and other interfaces, about which charon complains.
func TestWhatOneConnectionMissedExplainsNothingOnceTheNextOneIsTried(t *testing.T) {
	m := idleManager(t, eapInterface())
	w := m.newWatcher()
	say := func(line string) { w.logLine(arguments("msg", line, "ikesa-uniqueid", "5"), time.Now()) }
	say("RADIUS authentication of 'IfCe1' successful")
	say("constraint check failed: group membership to '__never__' required")
	say("selected peer config 'eap-catcher' unacceptable: non-matching authentication done")
	say("switching to peer config 'T/IfCe1/answer'")
	if reason, ok := w.reasons["5"]; ok {
		t.Errorf("remembered %q", reason.reason)
	}
}

func TestTheGateHasTheProposalsOfAllEAPInterfaces(t *testing.T) {
	proposals := func(list ...string) func(*Interface) { return func(i *Interface) { i.IKEProposals = list } }
	m := idleManager(t,
		eapInterface(proposals("a", "b")),
		eapInterface(proposals("b", "c"), func(i *Interface) { i.Name, i.IfID, i.UserName = "IfCe2", 101, "" }),
		eapInterface(proposals("d"), func(i *Interface) { i.Name, i.IfID, i.UserName, i.Disabled = "IfCe3", 102, "", true }),
	)
	if got := m.eapProposals(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Error(got)
	}
}

func TestEAPMessagesToCharonAreAsTheGoldensSay(t *testing.T) {
	own := &identity{leaf: &x509.Certificate{Raw: []byte("the gateway's certificate")}, revocation: RevocationStrict}
	dials := func(password string) complete {
		return complete{own: own, Interface: eapInterface(func(i *Interface) {
			i.PeerAddress, i.RemoteID = netip.MustParseAddr("59.10.10.10"), "fqdn:ny.example"
			i.DialUserName, i.DialPassword, i.Authorities = "fabrikam", Secret(password), [][]byte{[]byte("an authority")}
			i.Initiate = OnDemand
		})}
	}
	gate, err := eapGate(own, []string{"aes256-sha256-modp2048"})
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{
		"eap-gate":          "load-conn " + gate[0].msg.String() + "load-conn " + gate[1].msg.String(),
		"eap-answered":      told(t, "Contoso/IfCe1", complete{Interface: eapInterface(), own: own}),
		"eap-with-password": told(t, "Contoso/IfCe1", dials("hush")),
		"eap-with-tls":      told(t, "Contoso/IfCe1", dials("")),
	} {
		path := filepath.Join("testdata", "message-"+name+".golden")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("not as %s says; run with -update and look at the difference:\n%s", path, got)
		}
	}
}

func TestTheGateOfAnEarlierDaemonStaysUntilAllItsTenantsWereSet(t *testing.T) {
	f := newFake(t)
	for _, name := range []string{eapCatcher, eapRefuser, connName("Contoso", "IfCe1") + answering} {
		f.conns[name] = newMessage().set(name, newMessage().set("remote_addrs", catcherAddrs)).msg
	}
	m, _ := resolving(t, f, newNameServer(t))
	mustSet(t, m, "Woodgrove", iface("IfWe1", 1))
	if did := f.did(); slices.Contains(did, "unload-conn "+eapCatcher) {
		t.Errorf("charon was told %q", did)
	}
	mustSet(t, m, "Contoso")
	if did := f.did(); !slices.Contains(did, "unload-conn "+eapCatcher) {
		t.Errorf("the gate stays, though nobody has EAP: charon was told %q", did)
	}
}

// charon's log may be read before the event that it explains, or after it.
func TestAnImpostorThatEndsAtTheGateIsRefusedWithTheFirstReasonInEitherOrder(t *testing.T) {
	for _, logFirst := range []bool{true, false} {
		m := idleManager(t, eapInterface())
		var told []Event
		m.reporter.onEvent = func(e Event) { told = append(told, e) }
		w := m.newWatcher()
		log := func() {
			for _, line := range []string{
				"constraint check failed: peer not authenticated by CA 'CN=Fabrikam CA'",
				"selected peer config 'T/IfCe2' unacceptable: constraint checking failed",
				"switching to peer config 'eap-catcher'",
			} {
				w.logLine(arguments("msg", line, "ikesa-uniqueid", "5"), time.Now())
			}
		}
		if logFirst {
			log()
		}
		w.refusedAtGate(arguments("uniqueid", "5", "remote-host", "59.10.10.51", "remote-id", "CN=IfCe2"), time.Now())
		if !logFirst {
			log()
		}
		if len(told) != 1 || !strings.Contains(told[0].Reason, "by none of the authorities") {
			t.Errorf("with the log first %v: told %+v", logFirst, told)
		}
	}
}
