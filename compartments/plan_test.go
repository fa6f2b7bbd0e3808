package compartments

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// byValue compares the types of package netip, which cmp cannot look into.
var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.AllowUnexported(route{}, routeKey{}, hop{}, routePlan{}, address{}),
}

func TestPlanAddsBeforeItRemovesAndTouchesNothingElse(t *testing.T) {
	at := func(p string, metric uint32, links ...int) route {
		r := route{routeKey: routeKey{netip.MustParsePrefix(p), metric}}
		for _, l := range links {
			r.hops = append(r.hops, hop{link: l})
		}
		return r
	}
	refused := at("10.1.0.0/24", 5)
	refused.unreachable = true
	for _, c := range []struct {
		name       string
		want, have []route
		plan       routePlan
	}{
		{"nothing", nil, nil, routePlan{}},
		{"unchanged", []route{at("10.0.0.0/24", 0, 2)}, []route{at("10.0.0.0/24", 0, 2)}, routePlan{}},
		{
			"new ones, on-link first", []route{at("0.0.0.0/0", 0, 3), at("10.0.0.0/24", 0, 2)}, nil,
			routePlan{add: []route{at("10.0.0.0/24", 0, 2), at("0.0.0.0/0", 0, 3)}},
		},
		{
			"another metric is another route", []route{at("10.0.0.0/24", 1, 2)}, []route{at("10.0.0.0/24", 2, 2)},
			routePlan{add: []route{at("10.0.0.0/24", 1, 2)}, remove: []route{at("10.0.0.0/24", 2, 2)}},
		},
		{
			"another link", []route{at("10.0.0.0/24", 0, 3)}, []route{at("10.0.0.0/24", 0, 2)},
			routePlan{change: []route{at("10.0.0.0/24", 0, 3)}},
		},
		{
			"one way more", []route{at("10.0.0.0/24", 0, 2, 3)}, []route{at("10.0.0.0/24", 0, 2)},
			routePlan{change: []route{at("10.0.0.0/24", 0, 2, 3)}},
		},
		{"the kernel chose the link", []route{at("10.0.0.0/24", 0, 0)}, []route{at("10.0.0.0/24", 0, 7)}, routePlan{}},
		{
			"to unreachable", []route{refused}, []route{at("10.1.0.0/24", 5, 2)},
			routePlan{change: []route{refused}},
		},
		{
			"twice in the kernel", []route{at("10.0.0.0/24", 0, 2)},
			[]route{at("10.0.0.0/24", 0, 2), at("10.0.0.0/24", 0, 3)},
			routePlan{remove: []route{at("10.0.0.0/24", 0, 3)}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := map[routeKey]route{}
			for _, r := range c.want {
				want[r.routeKey] = r
			}
			if diff := cmp.Diff(c.plan, planRoutes(want, c.have), byValue); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWantedJoinsEqualRoutesWhateverTheirOrder(t *testing.T) {
	index := map[string]int{"IfCe1": 4, "IfCe2": 5}
	one := Route{Prefix: netip.MustParsePrefix("2001:db8::/64"), Link: "IfCe1"}
	two := Route{Prefix: netip.MustParsePrefix("2001:db8::7/64"), Link: "IfCe2", Metric: 1024}
	first, errs := wanted([]Route{one, two, one}, index)
	second, more := wanted([]Route{two, one}, index)
	if len(errs)+len(more) != 0 {
		t.Fatal(errs, more)
	}
	if diff := cmp.Diff(first, second, byValue); diff != "" {
		t.Error(diff)
	}
	key := routeKey{netip.MustParsePrefix("2001:db8::/64"), 1024}
	if len(first) != 1 || len(first[key].hops) != 2 {
		t.Errorf("routes are %+v", first)
	}
}

func TestAddressMessageRoundTrip(t *testing.T) {
	for _, s := range []string{"10.0.254.2/24", "192.0.2.1/32", "2001:db8::1/64", "0.0.0.0/0"} {
		p := netip.MustParsePrefix(s)
		b, err := encodeAddress(7, p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseAddress(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(address{index: 7, prefix: p, proto: Protocol}, got, byValue); diff != "" {
			t.Error(diff)
		}
	}
}

func TestBroadcastAddressOfASubnet(t *testing.T) {
	for s, want := range map[string]string{
		"10.0.254.2/24": "10.0.254.255", "10.1.2.3/8": "10.255.255.255", "192.0.2.1/30": "192.0.2.3",
		"192.0.2.1/31": "", "192.0.2.1/32": "", "2001:db8::1/64": "", "192.0.2.1/0": "255.255.255.255",
	} {
		got, ok := broadcastOf(netip.MustParsePrefix(s))
		if ok != (want != "") || (ok && got.String() != want) {
			t.Errorf("broadcast of %s is %v, %v; want %q", s, got, ok, want)
		}
	}
}

// FuzzParseAddress feeds what a kernel would never send; it must be refused or read, never crash.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"10.0.254.2/24", "2001:db8::1/64"} {
		b, err := encodeAddress(7, netip.MustParsePrefix(s))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(binary.NativeEndian.AppendUint32(make([]byte, unix.SizeofIfAddrmsg), 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAddress(b)
		if err == nil && !a.prefix.IsValid() {
			t.Fatalf("read %+v", a)
		}
	})
}
