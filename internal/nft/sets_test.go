package nft_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulkhead/internal/nft"
)

func TestCoverGivesTheFewestRanges(t *testing.T) {
	for _, c := range []struct{ name, prefixes, exceptions, want string }{
		{"nothing", "", "", ""},
		{"one", "10.0.0.0/8", "", "10.0.0.0-10.255.255.255"},
		{"host bits are ignored", "10.1.2.3/8", "", "10.0.0.0-10.255.255.255"},
		{"nested", "10.0.0.0/8 10.1.0.0/16", "", "10.0.0.0-10.255.255.255"},
		{"neighbours join", "10.0.1.0/24 10.0.0.0/24", "", "10.0.0.0-10.0.1.255"},
		{"a gap stays", "10.0.0.0/24 10.0.2.0/24", "", "10.0.0.0-10.0.0.255 10.0.2.0-10.0.2.255"},
		{"families apart", "::/0 0.0.0.0/0", "",
			"0.0.0.0-255.255.255.255 ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"hole inside", "10.0.0.0/8", "10.1.0.0/16", "10.0.0.0-10.0.255.255 10.2.0.0-10.255.255.255"},
		{"hole at the start", "10.0.0.0/24", "10.0.0.0/25", "10.0.0.128-10.0.0.255"},
		{"hole at the end", "10.0.0.0/24", "10.0.0.128/25", "10.0.0.0-10.0.0.127"},
		{"hole around", "10.0.0.0/24", "10.0.0.0/16", ""},
		{"hole of the other family", "10.0.0.0/24", "::/0", "10.0.0.0-10.0.0.255"},
		{"hole over two", "10.0.0.0/24 10.0.2.0/24", "10.0.0.128/25 10.0.2.0/25 10.0.1.0/24",
			"10.0.0.0-10.0.0.127 10.0.2.128-10.0.2.255"},
		{"IPv4 end of space", "240.0.0.0/4 224.0.0.0/4", "", "224.0.0.0-255.255.255.255"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, r := range nft.Cover(prefixes(t, c.prefixes), prefixes(t, c.exceptions)) {
				got = append(got, r.First.String()+"-"+r.Last.String())
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzCover holds the set arithmetic against membership, one address at a time.
func FuzzCover(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0, 8, 10, 1, 0, 0, 16}, []byte{10, 1, 2, 0, 24}, []byte{10, 1, 2, 3})
	f.Add([]byte{0, 0, 0, 0, 0}, []byte{255, 255, 255, 255, 32}, []byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, in, out, at []byte) {
		if len(at) != 4 {
			return
		}
		addr := netip.AddrFrom4([4]byte(at))
		ps, es := decode(in), decode(out)
		ranges := nft.Cover(ps, es)
		got := 0
		for i, r := range ranges {
			if r.Last.Less(r.First) || (i > 0 && ranges[i-1].Last.Next().Compare(r.First) >= 0) {
				t.Fatalf("ranges out of order or touching: %v", ranges)
			}
			if r.First.Compare(addr) <= 0 && addr.Compare(r.Last) <= 0 {
				got++
			}
		}
		want := 0
		if within(ps, addr) && !within(es, addr) {
			want = 1
		}
		if got != want {
			t.Fatalf("%v lies in %d of the ranges %v, want %d (of %v without %v)", addr, got, ranges, want, ps, es)
		}
	})
}

func decode(b []byte) []netip.Prefix {
	var out []netip.Prefix
	for ; len(b) >= 5; b = b[5:] {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), int(b[4])%33))
	}
	return out
}

func within(ps []netip.Prefix, a netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func prefixes(t *testing.T, list string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, s := range strings.Fields(list) {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}
