package trigger_test

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
	"bulkhead/internal/testenv"
	"bulkhead/trigger"
)

// senders are who may want a tunnel: a host behind the gateway, and the compartment itself (its BGP, for instance).
func (n network) senders() map[string]*netns.Namespace {
	return map[string]*netns.Namespace{"forwarded": n.vm, "own": n.gw}
}

func TestThePacketThatDialledIsHeldAndDelivered(t *testing.T) {
	for _, to := range []netip.Addr{nyAddr, nyAddr6} {
		n := newNetwork(t)
		tr, asked := opened(t, n, trigger.Options{})
		got := listen(t, n.ny, to)
		addresses(t, n.gw, "lo", "10.9.9.9/32", "fd00:9::9/128")
		for name, from := range n.senders() {
			t.Run(name+" to "+to.String(), func(t *testing.T) {
				must(t, tr.Hold("IfCe1"))
				c := socket(t, from, to)
				send(t, c, "first")
				wantAsked(t, asked, "IfCe1")
				send(t, c, "second")
				select {
				case g := <-got:
					t.Fatalf("%q passed though no tunnel is up", g)
				default:
				}
				must(t, tr.Release("IfCe1"))
				wantGot(t, got, "first", "second")
				send(t, c, "third")
				wantGot(t, got, "third")
			})
		}
		for _, reason := range []string{"site-unreachable", "too-many-held", "held-too-long"} {
			if d := dropped(t, n, reason); d != 0 {
				t.Errorf("%d packets were dropped as %s", d, reason)
			}
		}
	}
}

func TestAConnectionWaitsForTheDialOnly(t *testing.T) {
	n := newNetwork(t)
	tr, asked := opened(t, n, trigger.Options{})
	at := netip.AddrPortFrom(nyAddr, 80)
	serve(t, n.ny, at)
	syns(t, n.ny)
	outcome := connect(t, n.vm, at)
	wantAsked(t, asked, "IfCe1")
	must(t, tr.Release("IfCe1"))
	if err := <-outcome; err != nil {
		t.Fatal(err)
	}
	counters, err := nft.Counters(n.ny, "syns")
	must(t, err)
	if got := counters["seen"].Packets; got != 1 {
		t.Errorf("it took %d SYNs, want the first one only", got)
	}
}

// syns counts the TCP packets to port 80 that ask for a connection.
func syns(t *testing.T, ns *netns.Namespace) {
	t.Helper()
	_, err := nft.Apply(ns, nft.Table{
		Name: "syns", Counters: []string{"seen"}, Sets: []nft.Set{nft.Protocols("tcp", unix.IPPROTO_TCP)},
		Chains: []nft.Chain{{
			Name: "in", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookInput,
			Rules: []nft.Rule{nft.Join(nft.ProtocolIn("tcp"), nft.State(nft.New), nft.Count("seen"))},
		}},
	})
	must(t, err)
}

func TestAConnectionToAnUnreachableSiteEndsAsSoonAsThatIsKnown(t *testing.T) {
	for _, to := range []netip.Addr{nyAddr, nyAddr6} {
		n := newNetwork(t)
		tr, asked := opened(t, n, trigger.Options{})
		addresses(t, n.gw, "lo", "10.9.9.9/32", "fd00:9::9/128")
		for name, from := range n.senders() {
			t.Run(name+" to "+to.String(), func(t *testing.T) {
				must(t, tr.Hold("IfCe1"))
				outcome := connect(t, from, netip.AddrPortFrom(to, 80))
				wantAsked(t, asked, "IfCe1")
				must(t, tr.Refuse("IfCe1"))
				if err := <-outcome; !errors.Is(err, unix.EHOSTUNREACH) {
					t.Fatalf("the held connection ends with %v, want host unreachable", err)
				}
			})
		}
	}
}

func TestAllHeldPacketsOfAConnectionAreDeliveredThoughItIsTracked(t *testing.T) {
	n := newNetwork(t)
	_, err := nft.Apply(n.gw, nft.Table{Name: "track", Counters: []string{"invalid"}, Chains: []nft.Chain{{
		Name: "in", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookForward,
		Rules: []nft.Rule{nft.Join(nft.State(nft.Invalid), nft.DropAs("invalid"))},
	}}})
	must(t, err)
	tr, asked := opened(t, n, trigger.Options{})
	got := listen(t, n.ny, nyAddr)
	c := socket(t, n.vm, nyAddr)
	send(t, c, "1", "2", "3")
	wantAsked(t, asked, "IfCe1")
	must(t, tr.Release("IfCe1"))
	wantGot(t, got, "1", "2", "3")
}

func TestAnUnreachableSiteIsSaidSoAndAskedForAgain(t *testing.T) {
	for _, to := range []netip.Addr{nyAddr, nyAddr6} {
		n := newNetwork(t)
		tr, asked := opened(t, n, trigger.Options{})
		addresses(t, n.gw, "lo", "10.9.9.9/32", "fd00:9::9/128")
		must(t, tr.Refuse("IfCe1"))
		sent := uint64(0)
		for name, from := range n.senders() {
			t.Run(name+" to "+to.String(), func(t *testing.T) {
				c := attentive(t, from, to)
				for range 20 {
					_, _ = c.Write([]byte("who is there")) // the compartment's own is told at once that it may not
					sent++
					if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.EHOSTUNREACH) {
						t.Fatalf("the sender is told %v, want host unreachable", err)
					}
				}
				if got := len(asked); got > 10 {
					t.Errorf("20 packets in a row ask %d times", got)
				}
				testenv.Eventually(t, "packets ask again", func() bool {
					_, _ = c.Write([]byte("who is there"))
					sent++
					_, err := c.Read(make([]byte, 1))
					return errors.Is(err, unix.EHOSTUNREACH) && len(asked) > 0
				})
				wantAsked(t, asked, "IfCe1")
			})
		}
		if got := dropped(t, n, "site-unreachable"); got != sent {
			t.Errorf("%d packets count as refused, want %d", got, sent)
		}
	}
}

// attentive is a socket that is told all ICMP errors, by its next read.
func attentive(t *testing.T, ns *netns.Namespace, to netip.Addr) net.Conn {
	t.Helper()
	c := socket(t, ns, to)
	raw, err := c.(*net.UDPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		if to.Is4() {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		} else {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		}
	}))
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c
}

func TestAHeldTunnelKeepsNobodyElseWaiting(t *testing.T) {
	n := newNetwork(t)
	tr, asked := opened(t, n, trigger.Options{PerLink: 3})
	must(t, tr.Release("IfCe2"))
	ny, sf := listen(t, n.ny, nyAddr), listen(t, n.sf, sfAddr)
	toNY, toSF := socket(t, n.vm, nyAddr), socket(t, n.vm, sfAddr)
	send(t, toNY, "1", "2", "3")
	wantAsked(t, asked, "IfCe1")
	for i := range 1000 {
		send(t, toNY, "flood"+strconv.Itoa(i))
	}
	send(t, toSF, "hello")
	wantGot(t, sf, "hello")
	testenv.Eventually(t, "all that are too many are counted", func() bool { return dropped(t, n, "too-many-held") == 1000 })
	must(t, tr.Release("IfCe1"))
	wantGot(t, ny, "1", "2", "3")
	send(t, toNY, "4")
	wantGot(t, ny, "4")
}

func TestTheWholeCompartmentHoldsNoMoreThanTheTotal(t *testing.T) {
	n := newNetwork(t)
	tr, asked := opened(t, n, trigger.Options{Total: 2})
	ny, sf := listen(t, n.ny, nyAddr), listen(t, n.sf, sfAddr)
	toNY, toSF := socket(t, n.vm, nyAddr), socket(t, n.vm, sfAddr)
	send(t, toNY, "1")
	wantAsked(t, asked, "IfCe1")
	send(t, toSF, "1")
	wantAsked(t, asked, "IfCe2")
	send(t, toSF, "2")
	testenv.Eventually(t, "the third is counted", func() bool { return dropped(t, n, "too-many-held") == 1 })
	must(t, tr.Release("IfCe1"))
	must(t, tr.Release("IfCe2"))
	wantGot(t, ny, "1")
	wantGot(t, sf, "1")
}

func TestWhatNobodyDecidesOnIsDroppedInTheEnd(t *testing.T) {
	n := newNetwork(t)
	_, asked := opened(t, n, trigger.Options{Patience: 50 * time.Millisecond})
	c := socket(t, n.vm, nyAddr)
	for i := range uint64(2) {
		send(t, c, "nobody cares")
		testenv.Eventually(t, "the packet is dropped", func() bool { return dropped(t, n, "held-too-long") == i+1 })
	}
	wantAsked(t, asked, "IfCe1")
}

func TestChangesOfOtherLinksLoseNothing(t *testing.T) {
	n := newNetwork(t)
	tr, asked := opened(t, n, trigger.Options{})
	got := listen(t, n.ny, nyAddr)
	c := socket(t, n.vm, nyAddr)
	send(t, c, "1")
	wantAsked(t, asked, "IfCe1")
	must(t, tr.Set([]string{"IfCe1", "IfCe2", "IfCe3"}))
	must(t, tr.Refuse("IfCe3"))
	must(t, tr.Set([]string{"IfCe1"}))
	send(t, c, "2")
	must(t, tr.Release("IfCe1"))
	wantGot(t, got, "1", "2")
	if err := tr.Hold("IfCe2"); err == nil {
		t.Error("a link that is not declared can be held")
	}
}

func TestChangesOfStateUnderLoadLoseNothing(t *testing.T) {
	n := newNetwork(t)
	tr, _ := opened(t, n, trigger.Options{PerLink: 5000, Total: 5000})
	got := listen(t, n.ny, nyAddr)
	c := socket(t, n.vm, nyAddr)
	sent := make(chan int)
	go func() {
		defer close(sent)
		for i := range 4000 {
			_, _ = c.Write([]byte(strconv.Itoa(i)))
			if i%100 == 0 {
				sent <- i
			}
		}
	}()
	for i := range sent {
		var err error
		if i%200 == 0 {
			err = tr.Hold("IfCe1")
		} else {
			err = tr.Release("IfCe1")
		}
		must(t, err)
	}
	must(t, tr.Release("IfCe1"))
	t.Cleanup(func() {
		if t.Failed() {
			all, err := trigger.Drops(n.gw)
			t.Logf("dropped by the trigger: %v (%v)", all, err)
		}
	})
	seen := map[string]bool{}
	testenv.Eventually(t, "all 4000 arrive", func() bool {
		for len(got) > 0 {
			text := <-got
			if seen[text] {
				t.Errorf("%s arrived twice", text)
			}
			seen[text] = true
		}
		return len(seen) == 4000
	})
}

func TestALinkNoLongerDeclaredPasses(t *testing.T) {
	n := newNetwork(t)
	tr, asked := opened(t, n, trigger.Options{})
	got := listen(t, n.ny, nyAddr)
	c := socket(t, n.vm, nyAddr)
	send(t, c, "1")
	wantAsked(t, asked, "IfCe1")
	must(t, tr.Set([]string{"IfCe2"}))
	send(t, c, "2")
	wantGot(t, got, "2")
	if d := dropped(t, n, "held-too-long"); d != 1 {
		t.Errorf("%d packets count as held too long, want the held one", d)
	}
}

func TestAFragmentedDatagramIsDeliveredWhole(t *testing.T) {
	n := newNetwork(t)
	tr, asked := opened(t, n, trigger.Options{})
	got := listen(t, n.ny, nyAddr)
	big := strings.Repeat("x", 9000)
	send(t, socket(t, n.vm, nyAddr), big)
	wantAsked(t, asked, "IfCe1")
	must(t, tr.Release("IfCe1"))
	wantGot(t, got, big)
}

func TestWhatAFilterDropsDialsNothing(t *testing.T) {
	n := newNetwork(t)
	_, asked := opened(t, n, trigger.Options{})
	rules := []nft.Rule{nft.Join(nft.To("IfCe1"), nft.DropAs("dropped"))}
	filter := nft.Table{Name: "filter", Counters: []string{"dropped"}}
	for name, hook := range map[string]*nftables.ChainHook{
		"forwarded": nftables.ChainHookForward, "own": nftables.ChainHookOutput,
	} {
		filter.Chains = append(filter.Chains, nft.Chain{
			Name: name, Type: nftables.ChainTypeFilter, Hook: hook, Priority: *nftables.ChainPriorityFilter - 20, Rules: rules,
		})
	}
	_, err := nft.Apply(n.gw, filter)
	must(t, err)
	send(t, socket(t, n.vm, nyAddr), "filtered")
	_, _ = socket(t, n.gw, nyAddr).Write([]byte("filtered")) // it is told that it may not
	testenv.Eventually(t, "the filter drops both", func() bool {
		c, err := nft.Counters(n.gw, "filter")
		must(t, err)
		return c["dropped"].Packets == 2
	})
	send(t, socket(t, n.vm, sfAddr), "let through") // the queue keeps the order
	wantAsked(t, asked, "IfCe2")
}

func TestALinkMadeAnewIsHeldAgain(t *testing.T) {
	n := newNetwork(t)
	tr, asked := opened(t, n, trigger.Options{})
	send(t, socket(t, n.vm, nyAddr), "lost with its link")
	wantAsked(t, asked, "IfCe1")
	h := handle(t, n.gw)
	must(t, h.LinkDel(get(t, h, "IfCe1")))
	pair(t, n.gw, "IfCe1", n.ny, "wan")
	settle(t, n.gw, []string{"IfCe1"})
	settle(t, n.ny, []string{"wan"})
	addresses(t, n.ny, "wan", "10.1.0.10/24")
	route(t, n.ny, "0.0.0.0/0", "wan", "")
	route(t, n.gw, "10.1.0.0/24", "IfCe1", "")
	must(t, tr.Hold("IfCe1"))
	got := listen(t, n.ny, nyAddr)
	send(t, socket(t, n.vm, nyAddr), "held")
	testenv.Eventually(t, "the new link asks", func() bool { return len(asked) > 0 })
	must(t, tr.Release("IfCe1"))
	wantGot(t, got, "held")
}

func TestClosedTriggersSayNo(t *testing.T) {
	n := newNetwork(t)
	tr, _ := opened(t, n, trigger.Options{})
	must(t, tr.Close())
	for name, err := range map[string]error{
		"Set": tr.Set(nil), "Hold": tr.Hold("IfCe1"), "Release": tr.Release("IfCe1"), "Refuse": tr.Refuse("IfCe1"),
	} {
		if err == nil {
			t.Errorf("%s works on a closed trigger", name)
		}
	}
}
