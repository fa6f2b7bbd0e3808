package ratelimit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulkhead/internal/testenv"
)

func eachWay(t *testing.T, run func(t *testing.T, n *network, d Direction, family string)) {
	t.Helper()
	for _, d := range []Direction{Tx, Rx} {
		for family := range families {
			t.Run(string(d)+" "+family, func(t *testing.T) {
				n := newNetwork(t)
				n.set(t, Limit{Link: "IfCe1", TxKbps: 100_000, RxKbps: 100_000})
				n.up(t)
				n.addIPv6(t)
				run(t, n, d, family)
			})
		}
	}
}

func TestNetworkControlOvertakesDataThatWaits(t *testing.T) { eachWay(t, overtakes) }

// overtakes lets data wait already when control comes.
func overtakes(t *testing.T, n *network, d Direction, family string) {
	t.Helper()
	c := n.receiver(t, d, family)
	data, bfd := n.sender(t, d, family, 0, 9), n.sender(t, d, family, 0, bfdPort)
	six, seven := n.sender(t, d, family, cs6, 9), n.sender(t, d, family, cs7, 9)
	say(t, data, 'd')
	arrivals(t, c, 1)
	n.set(t, Limit{Link: "IfCe1", TxKbps: 10, RxKbps: 10})
	for range 10 {
		say(t, data, 'd')
	}
	testenv.Eventually(t, "data waits", func() bool { return n.stat(t, d).BacklogPackets >= 6 })
	say(t, six, '6')
	say(t, seven, '7')
	say(t, bfd, 'b')
	testenv.Eventually(t, "control waits", func() bool { return n.stat(t, d).BacklogPackets >= 9 })
	n.set(t, Limit{Link: "IfCe1", TxKbps: 100_000, RxKbps: 100_000})
	got := arrivals(t, c, 13)
	// What went before, and what was next for the tokens, cannot be overtaken.
	first := 0
	for first < len(got) && got[first] == 'd' {
		first++
	}
	if first > 5 || got[first:] != "b67ddddddddddd"[:13-first] {
		t.Errorf("packets arrived as %s", got)
	}
}

func TestAFloodLosesNoNetworkControl(t *testing.T) {
	eachWay(t, func(t *testing.T, n *network, d Direction, family string) {
		n.set(t, Limit{Link: "IfCe1", TxKbps: 1000, RxKbps: 1000})
		data, control := n.sender(t, d, family, 0, 9), n.sender(t, d, family, cs6, 10)
		bfd, c := n.sender(t, d, family, 0, bfdPort), n.receiver(t, d, family)
		seen := map[byte]int{}
		for range 20 {
			for range 50 {
				say(t, data, 'd')
			}
			say(t, control, 'c')
			say(t, bfd, 'b')
			// The one that is last of what is sent is not the last to arrive.
			for want := seen['b'] + 1; seen['b'] < want || seen['c'] < want; {
				seen[arrivals(t, c, 1)[0]]++
			}
		}
		if s := n.stat(t, d); s.Drops < 500 || seen['d'] > 500 {
			t.Errorf("the flood passed: %+v, %v", s, seen)
		}
	})
}

// Whoever calls everything control gets no more than the limit.
func TestALimitHoldsWhateverPacketsAreCalled(t *testing.T) {
	for name, as := range map[string]struct{ class, port int }{"CS6": {cs6, 9}, "CS7": {cs7, 9}, "BFD": {0, bfdPort}} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, n *network, d Direction, family string) {
				c := n.sender(t, d, family, as.class, as.port)
				n.set(t, Limit{Link: "IfCe1", TxKbps: 5120, RxKbps: 5120})
				before, start := n.stat(t, d), time.Now()
				const packets = 400
				for range packets {
					say(t, c, 'c')
				}
				var s Stat
				testenv.Eventually(t, "every packet passed or was dropped", func() bool {
					s = n.stat(t, d)
					return s.BacklogPackets == 0 && s.Packets+s.Drops >= packets
				})
				most := 5120e3 / 8 * (time.Since(start) + burstTime).Seconds()
				if passed := s.Bytes - before.Bytes; float64(passed) > most || s.Drops == 0 {
					t.Errorf("%d octets passed, at most %.0f may: %+v", passed, most, s)
				}
			})
		})
	}
}

// A bucket of the version before has one queue, which goes; the bucket stays, and limits all the time.
func TestABucketOfTheVersionBeforeGetsItsLanesWhereItStands(t *testing.T) {
	for _, d := range []Direction{Tx, Rx} {
		t.Run(string(d), func(t *testing.T) {
			n := newNetwork(t)
			want := []Limit{{Link: "IfCe1", TxKbps: 1000, RxKbps: 1000}}
			have, err := read(n.h)
			must(t, err)
			steps, err := plan(have, want)
			must(t, err)
			a := act{ctx: t.Context(), h: n.h}
			for _, s := range steps {
				switch s.do {
				case shape:
					must(t, n.h.QdiscReplace(s.bucket.qdisc(s.index)))
				case shapeRx:
					must(t, n.h.QdiscReplace(s.bucket.qdisc(linkOf(t, n.h, s.device).Attrs().Index)))
				default:
					must(t, a.do(s))
				}
			}
			n.up(t)
			from, to := n.flow(t, d)
			send(t, from, 500)
			receive(t, to, 10)
			before, links := n.stat(t, d), n.indexes(t)
			n.set(t, want...)
			send(t, from, 100)
			receive(t, to, 10)
			if s := n.stat(t, d); s.Packets <= before.Packets || s.Drops <= before.Drops {
				t.Errorf("the counters began anew: %+v, then %+v", before, s)
			}
			if diff := cmp.Diff(links, n.indexes(t)); diff != "" {
				t.Errorf("links were made anew:\n%s", diff)
			}
			have, err = read(n.h)
			must(t, err)
			if steps, err = plan(have, want); len(steps) > 0 || err != nil {
				t.Errorf("to be done again: %+v, %v", steps, err)
			}
		})
	}
}
