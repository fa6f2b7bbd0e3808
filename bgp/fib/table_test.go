package fib

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func TestPlanPutsWhatTakesTheRoutesPlaceFirst(t *testing.T) {
	k := keyOf(netip.MustParsePrefix("10.3.0.0/16"))
	names := map[action]string{put: "put", drop: "drop", refuse: "refuse", admit: "admit"}
	for _, c := range []struct {
		name         string
		entry        entry
		object       uint32
		armed, guard bool
		want         string
	}{
		{"new", entry{}, 7, false, false, "[put external 7 fresh] []"},
		{"new, was withdrawn", entry{}, 7, true, false, "[put external 7 fresh] [admit]"},
		{"as it is", entry{have: [2]uint32{7, 0}}, 7, false, true, "[] []"},
		{"another object", entry{have: [2]uint32{6, 0}}, 7, false, false, "[put external 7] []"},
		{"another source", entry{have: [2]uint32{7, 0}, rewrite: true}, 7, false, false, "[put external 7] []"},
		{"another class", entry{have: [2]uint32{7, 0}, class: internal}, 7, false, false, "[put internal 7 fresh] [drop external]"},
		{"somebody's way of it", entry{have: [2]uint32{foreign, 0}}, 7, false, false, "[put external 7] []"},
		{"withdrawn", entry{have: [2]uint32{7, 0}}, 0, false, false, "[] [drop external]"},
		{"withdrawn, guarded", entry{have: [2]uint32{7, 0}}, 0, false, true, "[refuse] [drop external]"},
		{"withdrawn, refused already", entry{have: [2]uint32{7, 0}}, 0, true, true, "[] [drop external]"},
		{"withdrawn while two stand", entry{have: [2]uint32{7, 8}}, 0, false, true, "[refuse] [drop external drop internal]"},
		{"lost", entry{lost: true}, 0, false, true, "[refuse] []"},
		{"never was", entry{}, 0, false, false, "[] []"},
	} {
		first, then := plan(k, c.entry, c.object, c.armed, c.guard)
		describe := func(steps []step) []string {
			lines := []string{}
			for _, s := range steps {
				line := names[s.action]
				if s.action == put || s.action == drop {
					line += " " + []string{"external", "internal"}[s.class]
				}
				if s.object != 0 {
					line += fmt.Sprint(" ", s.object)
				}
				if s.fresh {
					line += " fresh"
				}
				lines = append(lines, line)
			}
			return lines
		}
		if got := fmt.Sprint(describe(first), describe(then)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestOfWithdrawnPrefixesTheOldestAreGivenUp(t *testing.T) {
	w := newWithdrawn()
	nth := func(i int) key {
		return keyOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24))
	}
	for i := range 5000 {
		w.add(nth(i), i%2 == 0)
	}
	w.add(nth(0), true) // again, so that it is the newest
	for i := 1; i < 4000; i++ {
		w.remove(nth(i))
	}
	if len(w.prefixes) != 1001 || w.armed != 501 || len(w.order) > 4000 {
		t.Errorf("%d prefixes, %d armed, %d in order", len(w.prefixes), w.armed, len(w.order))
	}
	w.most = 998
	if got, want := w.surplus(), []key{nth(4000), nth(4001), nth(4002)}; !slices.Equal(got, want) {
		t.Errorf("given up are %v, want %v", got, want)
	}
	w.most = 1001
	if w.full() || len(w.surplus()) != 0 {
		t.Error("some are given up although there is room")
	}
	if k := keyOf(netip.MustParsePrefix("10.0.0.0/16")); !w.longer(k) || w.longer(nth(9)) {
		t.Error("longer prefixes that went are not found, or others are")
	}
}

func TestKeysArePrefixesAndBack(t *testing.T) {
	for _, p := range prefixes("0.0.0.0/0 10.1.2.3/32 10.0.0.0/8 ::/0 2001:db8::/32 2001:db8::1/128 ::a00:0/104") {
		if got := keyOf(p).prefix(); got != p {
			t.Errorf("%v came back as %v", p, got)
		}
	}
	if keyOf(netip.MustParsePrefix("0.0.0.0/0")) == keyOf(netip.MustParsePrefix("::/0")) {
		t.Error("the two default routes have one key")
	}
	if got := keyOf(netip.MustParsePrefix("10.1.2.0/24")).shorter(9).prefix(); got != netip.MustParsePrefix("10.0.0.0/9") {
		t.Errorf("the wider prefix is %v", got)
	}
}

func TestSetsOfNextHopsAreSharedAndForgotten(t *testing.T) {
	s := hopSets{number: map[string]uint32{}}
	a, b := addr("10.1.0.1"), addr("10.2.0.1")
	one := s.take([]netip.Addr{a, b}, false)
	if s.take([]netip.Addr{b, a, b}, false) != one || s.take([]netip.Addr{a, b}, true) == one || s.take([]netip.Addr{a}, false) == one {
		t.Error("sets that are the same differ, or others are the same")
	}
	s.release(one)
	if gone := s.forget(); len(gone) != 0 {
		t.Errorf("forgotten while in use: %v", gone)
	}
	s.release(one)
	if again := s.take([]netip.Addr{a, b}, false); again != one || len(s.forget()) != 0 {
		t.Error("a set that is wanted again is forgotten")
	}
	s.release(one)
	if gone := s.forget(); len(gone) != 1 || s.get(one) != nil {
		t.Errorf("forgotten are %v", gone)
	}
	if got := s.take([]netip.Addr{b}, false); got != one || len(s.numbers()) != 3 {
		t.Errorf("a new set is number %d of %v, want the free %d", got, s.numbers(), one)
	}
}

// What the kernel says is not to be doubted, but no message of any kind may crash what follows it.
func FuzzMessages(f *testing.F) {
	var w writer
	p := netip.MustParsePrefix("10.3.0.0/16")
	w.route(0, 1, p, 20000, 7, addr("10.0.254.2"))
	w.unreachable(0, 2, p, 5)
	w.nexthop(3, 7, way{3, addr("169.254.0.1")})
	w.group(4, 8, []uint32{7, 9})
	w.dump(5, 16, 32)
	f.Add(w.buf)
	f.Add([]byte{36, 0, 0, 0, 2, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 234, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = messages(b, func(m message) {
			_ = m.err()
			parseRoute(m.body)
			parseLink(m.body)
			parseAddress(m.body)
			parseObject(m.body)
		})
	})
}
