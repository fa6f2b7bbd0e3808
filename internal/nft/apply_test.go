package nft_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
	"bulkhead/internal/testenv"
)

// counting is a table that counts what the namespace sends to the prefixes.
func counting(hook *nftables.ChainHook, to ...netip.Prefix) nft.Table {
	return nft.Table{
		Name: "test", Counters: []string{"seen"},
		Sets: []nft.Set{nft.IPv4.Ranges("watched", nft.Cover(to, nil))},
		Chains: []nft.Chain{
			{Name: "count", Rules: []nft.Rule{nft.Join(nft.IPv4.DestinationIn("watched"), nft.Count("seen"))}},
			{
				Name: "hooked", Type: nftables.ChainTypeFilter, Hook: hook,
				Rules: []nft.Rule{nft.Join(nft.Jump("count"))},
			},
		},
	}
}

func TestApplyReplacesATableAndKeepsItsCounters(t *testing.T) {
	ns := withLoopback(t)
	one := netip.MustParsePrefix("127.0.0.1/32")
	two := netip.MustParsePrefix("127.0.0.2/32")
	apply(t, ns, counting(nftables.ChainHookOutput, one), true)
	send(t, ns, "127.0.0.1", "127.0.0.2")
	wantSeen(t, ns, 1)
	apply(t, ns, counting(nftables.ChainHookOutput, one), false)
	wantSeen(t, ns, 1)

	apply(t, ns, counting(nftables.ChainHookOutput, one, two), true)
	wantSeen(t, ns, 1)
	send(t, ns, "127.0.0.1", "127.0.0.2")
	wantSeen(t, ns, 3)

	apply(t, ns, counting(nftables.ChainHookPostrouting, two), true)
	send(t, ns, "127.0.0.1", "127.0.0.2")
	wantSeen(t, ns, 4)
}

func TestApplyDropsWhatIsNoLongerDeclared(t *testing.T) {
	ns := withLoopback(t)
	big := counting(nftables.ChainHookOutput, netip.MustParsePrefix("127.0.0.1/32"))
	big.Counters = append(big.Counters, "other")
	big.Sets = append(big.Sets, nft.Names("links", []string{"lo", "eth0", "lo"}))
	big.Chains = append(big.Chains, nft.Chain{Name: "more", Rules: []nft.Rule{
		nft.Join(nft.FromAny("links"), nft.DropAs("other")),
	}})
	apply(t, ns, big, true)
	apply(t, ns, counting(nftables.ChainHookOutput, netip.MustParsePrefix("127.0.0.1/32")), true)
	counters, err := nft.Counters(ns, "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, there := counters["other"]; there || len(counters) != 1 {
		t.Errorf("counters are %v, want only seen", counters)
	}
	conn, err := nftables.New(nftables.WithNetNSFd(ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chains {
		if c.Name == "more" {
			t.Error("chain more still stands")
		}
	}
	if removed, err := nft.Remove(ns, "test"); err != nil || !removed {
		t.Fatalf("Remove: %v, %v", removed, err)
	}
	if removed, err := nft.Remove(ns, "test"); err != nil || removed {
		t.Fatalf("second Remove: %v, %v", removed, err)
	}
	if counters, err := nft.Counters(ns, "test"); err != nil || len(counters) != 0 {
		t.Errorf("counters after Remove: %v, %v", counters, err)
	}
}

func TestApplyHoldsManyElements(t *testing.T) {
	ns := withLoopback(t)
	var many []netip.Prefix
	for i := range 20_000 {
		// Every other address, so that no two ranges join.
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 15), byte(i >> 7), byte(i << 1)}), 32))
	}
	last := netip.MustParsePrefix("127.0.0.1/32")
	apply(t, ns, counting(nftables.ChainHookOutput, append(many, last)...), true)
	send(t, ns, "127.0.0.1")
	wantSeen(t, ns, 1)
	apply(t, ns, counting(nftables.ChainHookOutput, append(many, last)...), false)
}

func TestApplyRefusesALookupWithoutSetAndLeavesTheTableAlone(t *testing.T) {
	ns := withLoopback(t)
	good := counting(nftables.ChainHookOutput, netip.MustParsePrefix("127.0.0.1/32"))
	apply(t, ns, good, true)
	bad := good
	bad.Sets = nil
	if _, err := nft.Apply(ns, bad); err == nil || !strings.Contains(err.Error(), `no set "watched"`) {
		t.Fatalf("Apply: %v, want it to name the missing set", err)
	}
	missing := good
	missing.Counters = nil
	if _, err := nft.Apply(ns, missing); err == nil {
		t.Fatal("Apply took a rule that refers to no counter")
	}
	send(t, ns, "127.0.0.1")
	wantSeen(t, ns, 1)
}

func apply(t *testing.T, ns *netns.Namespace, table nft.Table, wantChange bool) {
	t.Helper()
	changed, err := nft.Apply(ns, table)
	if err != nil {
		t.Fatal(err)
	}
	if changed != wantChange {
		t.Errorf("changed is %v, want %v", changed, wantChange)
	}
}

func wantSeen(t *testing.T, ns *netns.Namespace, packets uint64) {
	t.Helper()
	counters, err := nft.Counters(ns, "test")
	if err != nil {
		t.Fatal(err)
	}
	// 20 octets of IPv4, 8 of UDP, 4 of payload.
	if got, want := counters["seen"], (nft.Counter{Packets: packets, Bytes: packets * 32}); got != want {
		t.Errorf("counter is %+v, want %+v", got, want)
	}
}

func withLoopback(t *testing.T) *netns.Namespace {
	t.Helper()
	ns := testenv.Namespace(t)
	h, err := ns.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	return ns
}

// send sends one datagram to each of the addresses, at a port where a socket takes it, so that no ICMP error follows.
func send(t *testing.T, ns *netns.Namespace, to ...string) {
	t.Helper()
	err := ns.Do(func() error {
		for _, a := range to {
			sink, err := net.ListenPacket("udp4", a+":0")
			if err != nil {
				return err
			}
			defer sink.Close()
			c, err := net.DialTimeout("udp4", sink.LocalAddr().String(), time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Write([]byte("ping")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
