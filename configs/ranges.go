package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// AddressRange is one address or several in a row, both ends included.
type AddressRange struct {
	First, Last netip.Addr
}

// ParseAddressRange parses "ADDRESS" or "FIRST-LAST".
func ParseAddressRange(s string) (AddressRange, error) {
	first, last, several := strings.Cut(s, "-")
	if !several {
		last = first
	}
	a, errA := parseAddr(strings.TrimSpace(first), rules{unicast: true})
	b, errB := parseAddr(strings.TrimSpace(last), rules{unicast: true})
	if errA != nil || errB != nil {
		return AddressRange{}, errors.New("is not an address range; want ADDRESS or FIRST-LAST such as " +
			"11.11.11.1-11.11.11.200")
	}
	r := AddressRange{First: a.(netip.Addr), Last: b.(netip.Addr)}
	if r.First.Is4() != r.Last.Is4() {
		return AddressRange{}, errors.New("mixes IPv4 and IPv6; want both ends of one family")
	}
	if r.Last.Less(r.First) {
		return AddressRange{}, fmt.Errorf("ends before it starts; want %s-%s", r.Last, r.First)
	}
	return r, nil
}

// IsZero tells whether no range is declared.
func (r AddressRange) IsZero() bool { return r == AddressRange{} }

// Contains tells whether the address lies in the range.
func (r AddressRange) Contains(a netip.Addr) bool {
	return r.First.IsValid() && a.Is4() == r.First.Is4() && !a.Less(r.First) && !r.Last.Less(a)
}

// Overlaps tells whether an address lies in both ranges.
func (r AddressRange) Overlaps(o AddressRange) bool {
	return r.Contains(o.First) || o.Contains(r.First)
}

// overlapsPrefix tells whether an address lies in both the range and the prefix.
func (r AddressRange) overlapsPrefix(p netip.Prefix) bool {
	return p.Contains(r.First) || r.Contains(p.Masked().Addr())
}

// Prefixes is the shortest list of prefixes that hold the addresses of the range and no others.
func (r AddressRange) Prefixes() []netip.Prefix {
	var out []netip.Prefix
	for a := r.First; a.IsValid() && !r.Last.Less(a); {
		// The longest step is the largest prefix that starts at a and ends within the range.
		p := netip.PrefixFrom(a, a.BitLen())
		for p.Bits() > 0 {
			wider := netip.PrefixFrom(a, p.Bits()-1)
			if wider.Masked().Addr() != a || r.Last.Less(lastOf(wider)) {
				break
			}
			p = wider
		}
		out = append(out, p)
		a = lastOf(p).Next()
	}
	return out
}

// String is the range as it is declared.
func (r AddressRange) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// MarshalText is the range as it is declared.
func (r AddressRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// lastOf is the highest address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// PortRange is one port or several in a row, both ends included. The zero value stands for all ports.
type PortRange struct {
	First, Last uint16
}

// ParsePortRange parses "PORT" or "FIRST-LAST", ports from 1.
func ParsePortRange(s string) (PortRange, error) {
	first, last, several := strings.Cut(s, "-")
	if !several {
		last = first
	}
	a, errA := parsePort(first)
	b, errB := parsePort(last)
	if errA != nil || errB != nil || a == 0 {
		return PortRange{}, errors.New("is not a port range; want PORT or FIRST-LAST such as 9000-9999, from 1 to 65535")
	}
	if b < a {
		return PortRange{}, fmt.Errorf("ends before it starts; want %d-%d", b, a)
	}
	return PortRange{First: a, Last: b}, nil
}

// parsePort takes plain digits only, without sign or leading zero.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err == nil && strconv.FormatUint(n, 10) != s {
		err = errors.New("not in plain digits")
	}
	return uint16(n), err
}

// All tells whether the range stands for all ports, a whole address.
func (r PortRange) All() bool { return r == PortRange{} }

// Contains tells whether the port lies in the range.
func (r PortRange) Contains(port uint16) bool {
	return r.All() || r.First <= port && port <= r.Last
}

// Overlaps tells whether a port lies in both ranges.
func (r PortRange) Overlaps(o PortRange) bool {
	return r.All() || o.All() || r.Contains(o.First) || o.Contains(r.First)
}

// String is the range as it is declared; "all" where it stands for all ports.
func (r PortRange) String() string {
	switch {
	case r.All():
		return "all"
	case r.First == r.Last:
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// MarshalText is the range as it is declared, empty where it stands for all ports.
func (r PortRange) MarshalText() ([]byte, error) {
	if r.All() {
		return nil, nil
	}
	return []byte(r.String()), nil
}

// MaxMetric is the worst metric that can be declared. Worse ones are the gateway's own, for learned routes and for
// the unreachable routes that keep a site's traffic in.
const MaxMetric = 9999

// SitePrefix is a prefix behind a tunnel and the metric of its route, lower preferred.
type SitePrefix struct {
	Prefix netip.Prefix
	Metric uint32 // 1 to MaxMetric
}

// ParseSitePrefix parses "PREFIX:METRIC", such as 10.1.0.0/24:100 or 2001:db8::/32:100.
func ParseSitePrefix(s string) (SitePrefix, error) {
	// An IPv6 prefix holds colons too: the metric's follows the slash.
	slash := max(strings.IndexByte(s, '/'), 0)
	length, metric, ok := strings.Cut(s[slash:], ":")
	if !ok {
		return SitePrefix{}, errors.New("is not PREFIX:METRIC; want it with a metric such as 10.1.0.0/24:100")
	}
	p, err := parsePrefix(s[:slash]+length, rules{})
	if err != nil {
		return SitePrefix{}, fmt.Errorf("is not PREFIX:METRIC: %q %w", s[:slash]+length, err)
	}
	m, err := parsePort(metric)
	if err != nil || m < 1 || m > MaxMetric {
		return SitePrefix{}, fmt.Errorf("has no metric from 1 to %d; want it such as 10.1.0.0/24:100", MaxMetric)
	}
	return SitePrefix{Prefix: p.(netip.Prefix), Metric: uint32(m)}, nil
}

// String is the prefix and metric as declared.
func (p SitePrefix) String() string { return fmt.Sprintf("%s:%d", p.Prefix, p.Metric) }

// MarshalText is the prefix and metric as declared.
func (p SitePrefix) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// containsPrefix tells whether inner lies in outer or is the same.
func containsPrefix(outer, inner netip.Prefix) bool {
	return outer.IsValid() && inner.IsValid() && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// inAny tells whether the address lies in one of the prefixes.
func inAny(a netip.Addr, prefixes []netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}
