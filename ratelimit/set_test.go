package ratelimit

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"bulkhead/internal/testenv"
)

func isNoBuffers(err error) bool { return errors.Is(err, unix.ENOBUFS) }
func isRefused(err error) bool   { return errors.Is(err, unix.ECONNREFUSED) }

// What passes is told by the limit's own counter and, as a second judge, by who receives it.
func TestALimitThatStandsBeforeItsLinkIsUpHoldsFromTheFirstPacket(t *testing.T) {
	for _, d := range []Direction{Tx, Rx} {
		t.Run(string(d), func(t *testing.T) {
			n := newNetwork(t)
			n.set(t, Limit{Link: "IfCe1", TxKbps: 5120, RxKbps: 5120})
			n.up(t)
			start := time.Now()
			from, to := n.flow(t, d)
			send(t, from, 1) // and ARP, which is not to hold up what follows
			receive(t, to, 1)
			const packets = 400
			send(t, from, packets)
			var s Stat
			testenv.Eventually(t, "every packet passed or was dropped", func() bool {
				s = n.stat(t, d)
				return s.BacklogPackets == 0 && s.Packets+s.Drops > packets
			})
			most := 5120e3 / 8 * (time.Since(start) + burstTime).Seconds()
			if float64(s.Bytes) > most {
				t.Errorf("%d octets passed, more than %.0f", s.Bytes, most)
			}
			if s.Drops == 0 || s.Kbps != 5120 {
				t.Errorf("a flood of %d packets at once: %+v", packets, s)
			}
			receive(t, to, int(s.Bytes/frame)-1) // the rest is ARP
			drops, err := Drops(n.compartment)
			must(t, err)
			for _, drop := range drops {
				if drop.Reason == string(d)+"-limit" && drop.Packets != s.Drops {
					t.Errorf("%d packets were dropped, %+v tells", s.Drops, drop)
				}
			}
		})
	}
}

func TestALimitThatChangesKeepsItsQueue(t *testing.T) {
	for _, d := range []Direction{Tx, Rx} {
		t.Run(string(d), func(t *testing.T) {
			n, to := backlogged(t, d)
			before := n.indexes(t)
			n.set(t, Limit{Link: "IfCe1", TxKbps: 100_000, RxKbps: 100_000})
			receive(t, to, 10)
			if s := n.stat(t, d); s.Drops > 0 || s.Kbps != 100_000 {
				t.Errorf("after the change: %+v", s)
			}
			if diff := cmp.Diff(before, n.indexes(t)); diff != "" {
				t.Errorf("links were made anew:\n%s", diff)
			}
		})
	}
}

func TestALimitThatGoesLetsItsQueueOutAndLeavesNothing(t *testing.T) {
	for _, d := range []Direction{Tx, Rx} {
		t.Run(string(d), func(t *testing.T) {
			n, to := backlogged(t, d)
			n.set(t, Limit{Link: "IfCe1"})
			receive(t, to, 10)
			n.holdsNothing(t)
			from, to := n.flow(t, d)
			send(t, from, 100)
			receive(t, to, 100)
		})
	}
}

// backlogged is a network whose link is so slow that of ten packets that were sent most wait, and their receiver.
func backlogged(t *testing.T, d Direction) (*network, *net.UDPConn) {
	t.Helper()
	n := newNetwork(t)
	n.set(t, Limit{Link: "IfCe1", TxKbps: 100_000, RxKbps: 100_000})
	n.up(t)
	from, to := n.flow(t, d)
	send(t, from, 1) // and whoever has to be asked by ARP has been
	receive(t, to, 1)
	n.set(t, Limit{Link: "IfCe1", TxKbps: 100, RxKbps: 100})
	send(t, from, 10)
	testenv.Eventually(t, "packets wait", func() bool { return n.stat(t, d).BacklogPackets > 4 })
	return n, to
}

func TestAFullQueueOfOneLinkHoldsUpNoOther(t *testing.T) {
	for _, d := range []Direction{Tx, Rx} {
		t.Run(string(d), func(t *testing.T) {
			n, _ := backlogged(t, d)
			own, peer := netip.MustParseAddr("10.0.254.3"), netip.MustParseAddr("10.2.0.1")
			n.addLink(t, "IfCe2", own, peer)
			n.set(t, Limit{Link: "IfCe1", TxKbps: 1, RxKbps: 1}, Limit{Link: "IfCe2", TxKbps: 5120, RxKbps: 5120})
			must(t, n.h.LinkSetUp(linkOf(t, n.h, "IfCe2")))
			from, to := n.flowBetween(t, d, own, peer)
			send(t, from, 20)
			receive(t, to, 20)
			if s := n.stat(t, d); s.BacklogPackets == 0 {
				t.Errorf("the full queue was empty first: %+v", s)
			}
		})
	}
}

func (n *network) indexes(t *testing.T) map[string]int {
	t.Helper()
	links, err := n.h.LinkList()
	must(t, err)
	indexes := make(map[string]int)
	for _, l := range links {
		indexes[l.Attrs().Name] = l.Attrs().Index
	}
	return indexes
}

func (n *network) holdsNothing(t *testing.T) {
	t.Helper()
	s, err := read(n.h)
	must(t, err)
	for _, p := range s.ports {
		if p.tx != nil || p.rx != nil || p.redirects {
			t.Errorf("left at %s: %+v", p.name, p)
		}
	}
	if len(s.strays) > 0 {
		t.Errorf("left: %v", s.strays)
	}
}

func TestTheSameLimitsAgainChangeNothing(t *testing.T) {
	n := newNetwork(t)
	limits := []Limit{{Link: "IfCe1", TxKbps: 1024, RxKbps: 40_000_000}, {Link: "lo", TxKbps: 1}}
	n.set(t, limits...)
	have, err := read(n.h)
	must(t, err)
	todo, err := plan(have, limits)
	if len(todo) > 0 || err != nil {
		t.Errorf("to be done again: %+v, %v", todo, err)
	}
}

func TestWhatAPredecessorLeftOverIsSwept(t *testing.T) {
	n := newNetwork(t)
	n.set(t, Limit{Link: "IfCe1", TxKbps: 5120, RxKbps: 5120})
	must(t, n.h.LinkDel(linkOf(t, n.h, "IfCe1")))
	n.addLink(t, "IfCe1", inside, outside)
	n.set(t, Limit{Link: "IfCe1", RxKbps: 5120})
	s, err := read(n.h)
	must(t, err)
	if len(s.strays) > 0 || s.ports["IfCe1"].rx == nil {
		t.Errorf("after the link was made anew: %+v", s)
	}
	n.set(t)
	n.holdsNothing(t)
}

// A crash may leave any beginning of the steps.
func TestALimitIsCompletedFromWhereverItWasLeft(t *testing.T) {
	want := []Limit{{Link: "IfCe1", TxKbps: 5120, RxKbps: 5120}}
	for done := range 6 {
		n := newNetwork(t)
		have, err := read(n.h)
		must(t, err)
		todo, err := plan(have, want)
		must(t, err)
		a := act{ctx: t.Context(), h: n.h, raw: &raw{ns: n.compartment}}
		defer a.raw.close()
		for _, s := range todo[:min(done, len(todo))] {
			must(t, a.do(s))
		}
		n.set(t, want...)
		n.up(t)
		from, to := n.flow(t, Rx)
		send(t, from, 3)
		receive(t, to, 3)
		if s := n.stat(t, Rx); s.Bytes < 3*frame {
			t.Errorf("after %d steps: %+v", done, s)
		}
		n.set(t)
		n.holdsNothing(t)
	}
}

func TestOneLinkThatIsNotThereKeepsNoOtherFromItsLimit(t *testing.T) {
	n := newNetwork(t)
	err := Set(t.Context(), n.compartment, []Limit{
		{Link: "IfCe9", TxKbps: 1}, {Link: "IfCe1", TxKbps: 5120}, {Link: "IfCe1", TxKbps: 1},
	})
	if err == nil || !strings.Contains(err.Error(), "limit of link IfCe9: there is no such link") ||
		!strings.Contains(err.Error(), "limit of link IfCe1: it is declared twice") {
		t.Errorf("Set: %v", err)
	}
	if s := n.stat(t, Tx); s.Kbps != 5120 {
		t.Errorf("the other link's limit: %+v", s)
	}
}

func TestBucketsOfAllRatesAreWhatTheKernelTakes(t *testing.T) {
	n := newNetwork(t)
	for _, kbps := range []uint64{1, 64, 1024, 5120, 1e6, 100e6, 1e9} {
		n.set(t, Limit{Link: "IfCe1", TxKbps: kbps})
		if s := n.stat(t, Tx); s.Kbps != kbps {
			t.Errorf("%d kbit/s became %d", kbps, s.Kbps)
		}
	}
}
