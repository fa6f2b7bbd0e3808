package configs_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulkhead/configs"
)

func TestFilterRulesParse(t *testing.T) {
	prefix := netip.MustParsePrefix
	for text, want := range map[string]configs.FilterRule{
		"any:any:any":   {},
		"any:any:tcp":   {Protocol: configs.ProtocolTCP},
		"any:any:6:0:0": {Protocol: configs.ProtocolTCP},
		"10.1.0.0/24:10.0.0.5:UDP:1024-2047:53": {
			Source: prefix("10.1.0.0/24"), Destination: prefix("10.0.0.5/32"), Protocol: configs.ProtocolUDP,
			SourcePorts: configs.PortRange{First: 1024, Last: 2047}, DestinationPorts: configs.PortRange{First: 53, Last: 53},
		},
		"[2001:db8::/32]:[::1]:ICMPv6:128:0": {
			Source: prefix("2001:db8::/32"), Destination: prefix("::1/128"), Protocol: configs.ProtocolICMPv6,
			ICMP: &configs.ICMPType{Type: 128},
		},
		"any:any:ICMP:0:0":    {Protocol: configs.ProtocolICMP},
		"any:any:ICMP:3:4":    {Protocol: configs.ProtocolICMP, ICMP: &configs.ICMPType{Type: 3, Code: 4}},
		"0.0.0.0/0:any:ESP":   {Source: prefix("0.0.0.0/0"), Protocol: configs.ProtocolESP},
		"any:any:AH:0:0":      {Protocol: configs.ProtocolAH},
		"any:[::/0]:89":       {Destination: prefix("::/0"), Protocol: 89},
		"any:10.0.0.0/16:gre": {Destination: prefix("10.0.0.0/16"), Protocol: configs.ProtocolGRE},
	} {
		got, err := configs.ParseFilterRule(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, got, equal); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", text, diff)
		}
	}
}

func TestRangesCoverTheirAddressesExactly(t *testing.T) {
	for text, want := range map[string]string{
		"131.107.10.11-131.107.10.20":     "131.107.10.11/32 131.107.10.12/30 131.107.10.16/30 131.107.10.20/32",
		"10.0.0.0-10.0.0.255":             "10.0.0.0/24",
		"10.0.0.7":                        "10.0.0.7/32",
		"223.255.255.254-223.255.255.255": "223.255.255.254/31",
		"2001:db8::-2001:db8::1:ffff":     "2001:db8::/111",
		"1.0.0.0-223.255.255.255": "1.0.0.0/8 2.0.0.0/7 4.0.0.0/6 8.0.0.0/5 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 " +
			"128.0.0.0/2 192.0.0.0/3",
	} {
		r, err := configs.ParseAddressRange(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, p := range r.Prefixes() {
			got = append(got, p.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s is %s, want %s", text, s, want)
		}
	}
	whole := configs.AddressRange{First: netip.MustParseAddr("0.0.0.0"), Last: netip.MustParseAddr("255.255.255.255")}
	if got := whole.Prefixes(); len(got) != 1 || got[0] != netip.MustParsePrefix("0.0.0.0/0") {
		t.Errorf("all of IPv4 is %v", got)
	}
	if got := (configs.AddressRange{}).Prefixes(); len(got) != 0 {
		t.Errorf("no range is %v", got)
	}
}

func TestPortRangesOverlapWhenTheyShareAPort(t *testing.T) {
	r := func(first, last uint16) configs.PortRange { return configs.PortRange{First: first, Last: last} }
	for _, tt := range []struct {
		a, b configs.PortRange
		want bool
	}{
		{r(1, 10), r(10, 20), true}, {r(1, 10), r(11, 20), false}, {r(5, 6), r(1, 100), true},
		{r(0, 0), r(7, 7), true}, {r(0, 0), r(0, 0), true}, {r(7, 7), r(8, 8), false},
	} {
		if got := tt.a.Overlaps(tt.b); got != tt.want || tt.b.Overlaps(tt.a) != tt.want {
			t.Errorf("%v overlaps %v: %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func FuzzParseFilterRule(f *testing.F) {
	for _, s := range []string{
		"any:10.0.0.0/16:TCP:0:443", "any:any:ICMP:8:0", "[2001:db8::/32]:[::1]:17:1-2:3", "[[]]:::", "a:b:c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := configs.ParseFilterRule(s)
		if err != nil {
			return
		}
		again, err := configs.ParseFilterRule(r.String())
		if diff := cmp.Diff(r, again, equal); err != nil || diff != "" {
			t.Errorf("%q prints as %q, which parses otherwise: %v\n%s", s, r, err, diff)
		}
	})
}

func FuzzParseAddressRange(f *testing.F) {
	for _, s := range []string{
		"131.107.10.11-131.107.10.20", "::1-::2", "10.0.0.1", "-", "::ffff:1.2.3.4", "1.2.3.4-::5",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := configs.ParseAddressRange(s)
		if err != nil {
			return
		}
		if again, err := configs.ParseAddressRange(r.String()); err != nil || again != r {
			t.Errorf("%q prints as %q, which parses otherwise: %v", s, r, err)
		}
		next := r.First
		for _, p := range r.Prefixes() {
			if p.Addr() != next || !r.Contains(lastAddress(p)) {
				t.Fatalf("%s: the prefix %s does not continue at %s within the range", r, p, next)
			}
			next = lastAddress(p).Next()
		}
		if next != r.Last.Next() {
			t.Errorf("%s: the prefixes end before %s", r, next)
		}
	})
}

func lastAddress(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for i := range bytes {
		hostBits := 8*(i+1) - p.Bits()
		bytes[i] |= byte(1<<min(max(hostBits, 0), 8) - 1)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}

func FuzzParsePortRange(f *testing.F) {
	for _, s := range []string{"9000-9999", "1", "0", "65536", "2-1", "-1", "+1", "01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := configs.ParsePortRange(s)
		if err != nil {
			return
		}
		if again, err := configs.ParsePortRange(r.String()); err != nil || again != r || r.All() {
			t.Errorf("%q prints as %q, which parses otherwise: %v", s, r, err)
		}
		if !r.Contains(r.First) || !r.Contains(r.Last) || r.Last < 65535 && r.Contains(r.Last+1) {
			t.Errorf("%q does not contain what it says", s)
		}
	})
}

func FuzzParseSitePrefix(f *testing.F) {
	for _, s := range []string{
		"10.1.0.0/24:100", "2001:db8::/32:1", "0.0.0.0/0:9999", "10.1.0.0/24", "::/0:x", "/:", ":/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := configs.ParseSitePrefix(s)
		if err != nil {
			return
		}
		if again, err := configs.ParseSitePrefix(p.String()); err != nil || again != p {
			t.Errorf("%q prints as %q, which parses otherwise: %v", s, p, err)
		}
		if p.Metric < 1 || p.Metric > configs.MaxMetric || p.Prefix != p.Prefix.Masked() {
			t.Errorf("%q gave %+v", s, p)
		}
	})
}
