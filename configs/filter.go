package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// IP protocol numbers that a filter rule can give by name.
const (
	ProtocolAny    = 0
	ProtocolICMP   = 1
	ProtocolTCP    = 6
	ProtocolUDP    = 17
	ProtocolGRE    = 47
	ProtocolESP    = 50
	ProtocolAH     = 51
	ProtocolICMPv6 = 58
)

var protocolNames = []struct {
	name   string
	number uint8
}{
	{"any", ProtocolAny}, {"TCP", ProtocolTCP}, {"UDP", ProtocolUDP}, {"ICMP", ProtocolICMP},
	{"ICMPv6", ProtocolICMPv6}, {"ESP", ProtocolESP}, {"AH", ProtocolAH}, {"GRE", ProtocolGRE},
}

// FilterRule is one line of a static filter, written as source:destination:protocol, followed for TCP and UDP by
// :sourceport:destinationport and for ICMP and ICMPv6 by :type:code.
type FilterRule struct {
	// Source and Destination are not valid where the rule says any.
	Source, Destination netip.Prefix
	// Protocol is the IP protocol number, ProtocolAny for any.
	Protocol uint8
	// SourcePorts and DestinationPorts stand for all ports where the rule gives none or 0.
	SourcePorts, DestinationPorts PortRange
	// ICMP is nil where the rule takes every type and code.
	ICMP *ICMPType
}

// ICMPType is a type and code of ICMP or ICMPv6.
type ICMPType struct {
	Type, Code uint8
}

// ParseFilterRule parses a rule such as "10.1.0.0/24:10.0.0.0/24:TCP:0:443", "any:any:ICMP:8:0" or
// "[2001:db8::/32]:any:any".
func ParseFilterRule(s string) (FilterRule, error) {
	var r FilterRule
	parts, err := splitFilter(s)
	if err != nil {
		return r, err
	}
	if len(parts) != 3 && len(parts) != 5 {
		return r, errors.New("is not a filter; want source:destination:protocol, then :sourceport:destinationport or " +
			":type:code where the protocol has them, with IPv6 in brackets")
	}
	if r.Source, err = parseFilterAddress(parts[0]); err != nil {
		return r, fmt.Errorf("has a bad source: %w", err)
	}
	if r.Destination, err = parseFilterAddress(parts[1]); err != nil {
		return r, fmt.Errorf("has a bad destination: %w", err)
	}
	if r.Protocol, err = parseProtocol(parts[2]); err != nil {
		return r, err
	}
	if len(parts) == 5 {
		if err := r.parseDetail(parts[3], parts[4]); err != nil {
			return r, err
		}
	}
	return r, r.checkFamilies()
}

// splitFilter cuts at the colons outside of brackets.
func splitFilter(s string) ([]string, error) {
	var parts []string
	depth, start := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ':' && depth == 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
		if depth < 0 || depth > 1 {
			return nil, errors.New("has brackets that do not match; want IPv6 as [2001:db8::/32]")
		}
	}
	if depth != 0 {
		return nil, errors.New("has brackets that do not match; want IPv6 as [2001:db8::/32]")
	}
	return append(parts, s[start:]), nil
}

// parseFilterAddress takes any, an address or a prefix; IPv6 in brackets, IPv4 without.
func parseFilterAddress(s string) (netip.Prefix, error) {
	if s == "any" {
		return netip.Prefix{}, nil
	}
	inner, open := strings.CutPrefix(s, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	var prefix netip.Prefix
	if v, err := parseAddr(inner, rules{}); err == nil {
		a := v.(netip.Addr)
		prefix = netip.PrefixFrom(a, a.BitLen())
	} else {
		v, err := parsePrefix(inner, rules{})
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q %w", s, err)
		}
		prefix = v.(netip.Prefix)
	}
	if bracketed := open && closed; bracketed != prefix.Addr().Is6() || open != closed {
		return netip.Prefix{}, fmt.Errorf("%q: want IPv6 in brackets and IPv4 without", s)
	}
	return prefix, nil
}

func parseProtocol(s string) (uint8, error) {
	for _, p := range protocolNames {
		if strings.EqualFold(s, p.name) {
			return p.number, nil
		}
	}
	if n, err := parsePort(s); err == nil && n > 0 && n < 255 {
		return uint8(n), nil
	}
	return 0, fmt.Errorf("has the unknown protocol %q; want any, TCP, UDP, ICMP, ICMPv6, ESP, AH, GRE or a number "+
		"from 1 to 254", s)
}

// parseDetail takes the last two parts, whose meaning the protocol gives.
func (r *FilterRule) parseDetail(a, b string) error {
	switch r.Protocol {
	case ProtocolTCP, ProtocolUDP:
		var err error
		if r.SourcePorts, err = parseFilterPorts(a); err != nil {
			return fmt.Errorf("has a bad source port: %w", err)
		}
		if r.DestinationPorts, err = parseFilterPorts(b); err != nil {
			return fmt.Errorf("has a bad destination port: %w", err)
		}
	case ProtocolICMP, ProtocolICMPv6:
		t, errT := parsePort(a)
		c, errC := parsePort(b)
		if errT != nil || errC != nil || t > 255 || c > 255 {
			return fmt.Errorf("has no ICMP type and code from 0 to 255 in %q; want one such as 8:0, or 0:0 for any", a+":"+b)
		}
		if t != 0 || c != 0 {
			r.ICMP = &ICMPType{Type: uint8(t), Code: uint8(c)}
		}
	default:
		if a != "0" || b != "0" {
			return errors.New("gives ports for a protocol that has none; want them for TCP and UDP only, and for the " +
				"others nothing or 0:0")
		}
	}
	return nil
}

// parseFilterPorts takes 0 for all ports, a port or a range.
func parseFilterPorts(s string) (PortRange, error) {
	if s == "0" {
		return PortRange{}, nil
	}
	r, err := ParsePortRange(s)
	if err != nil {
		return r, fmt.Errorf("%q %w", s, err)
	}
	return r, nil
}

func (r FilterRule) checkFamilies() error {
	four, six := r.Protocol == ProtocolICMP, r.Protocol == ProtocolICMPv6
	for _, p := range []netip.Prefix{r.Source, r.Destination} {
		four = four || p.IsValid() && p.Addr().Is4()
		six = six || p.IsValid() && p.Addr().Is6()
	}
	if four && six {
		return errors.New("mixes IPv4 and IPv6; want one of them in source, destination and protocol")
	}
	return nil
}

// String is the rule in full, as it can be declared.
func (r FilterRule) String() string {
	s := filterAddress(r.Source) + ":" + filterAddress(r.Destination) + ":" + protocolName(r.Protocol)
	switch {
	case r.ICMP != nil:
		return s + fmt.Sprintf(":%d:%d", r.ICMP.Type, r.ICMP.Code)
	case !r.SourcePorts.All() || !r.DestinationPorts.All():
		return s + ":" + filterPorts(r.SourcePorts) + ":" + filterPorts(r.DestinationPorts)
	}
	return s
}

// MarshalText is the rule in full, as it can be declared.
func (r FilterRule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func filterAddress(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "any"
	case p.Addr().Is6():
		return "[" + p.String() + "]"
	}
	return p.String()
}

func filterPorts(r PortRange) string {
	if r.All() {
		return "0"
	}
	return r.String()
}

func protocolName(number uint8) string {
	for _, p := range protocolNames {
		if p.number == number {
			return p.name
		}
	}
	return strconv.Itoa(int(number))
}
