package configs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	"github.com/google/uuid"
)

// scalar is how a text becomes a typed value. Errors continue a sentence that began with the text.
type scalar struct {
	parse   func(text string, r rules) (any, error)
	numbers bool   // takes a number without quotes too
	bare    bool   // a number without quotes lacks more than those
	want    string // what is right, for the JSON Schema
}

var scalars = map[reflect.Type]scalar{
	reflect.TypeFor[netip.Addr]():       {parse: parseAddr, want: "IPv4 or IPv6 address"},
	reflect.TypeFor[netip.Prefix]():     {parse: parsePrefix, want: "ADDRESS/LENGTH"},
	reflect.TypeFor[netip.AddrPort]():   {parse: parseAddrPort, want: "ADDRESS:PORT, [IPV6]:PORT"},
	reflect.TypeFor[net.HardwareAddr](): {parse: parseMAC, want: "MAC address, six pairs of hexadecimal digits"},
	reflect.TypeFor[uuid.UUID]():        {parse: parseUUID, want: "GUID"},
	reflect.TypeFor[time.Duration]():    {parse: parseDuration, bare: true, want: "duration such as 10s"},
	reflect.TypeFor[*regexp.Regexp]():   {parse: parseRegexp, want: "regular expression (RE2)"},
	reflect.TypeFor[AddressRange]():     {parse: plain(ParseAddressRange), want: "ADDRESS or FIRST-LAST"},
	reflect.TypeFor[PortRange]():        {parse: plain(ParsePortRange), numbers: true, want: "PORT or FIRST-LAST"},
	reflect.TypeFor[SitePrefix]():       {parse: plain(ParseSitePrefix), want: "PREFIX:METRIC"},
	reflect.TypeFor[FilterRule]():       {parse: plain(ParseFilterRule), want: "SOURCE:DESTINATION:PROTOCOL[:X:Y]"},
	reflect.TypeFor[Destination]():      {parse: plain(parseDestination), want: "address or host name"},
	reflect.TypeFor[ServerAddress]():    {parse: plain(parseServerAddress), want: "ADDRESS or ADDRESS:PORT"},
	reflect.TypeFor[PrefixRange]():      {parse: plain(ParsePrefixRange), want: "PREFIX [ge LENGTH] [le LENGTH]"},
	reflect.TypeFor[ASPathPattern]():    {parse: plain(parseASPathPattern), bare: true, want: "regular expression (RE2) over an AS path"},
	reflect.TypeFor[Community]():        {parse: plain(parseCommunity), bare: true, want: "NUMBER:NUMBER or a well-known name"},
	reflect.TypeFor[LargeCommunity]():   {parse: plain(parseLargeCommunity), bare: true, want: "NUMBER:NUMBER:NUMBER"},
	reflect.TypeFor[AnyCommunity]():     {parse: plain(parseAnyCommunity), bare: true, want: "NUMBER:NUMBER, NUMBER:NUMBER:NUMBER or a well-known name"},
}

// plain fits a parser that no rule concerns.
func plain[T any](parse func(string) (T, error)) func(string, rules) (any, error) {
	return func(s string, _ rules) (any, error) { return parse(s) }
}

func parseAddr(s string, r rules) (any, error) { return addressOf(s, r.unicast) }

func addressOf(s string, unicast bool) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, errors.New("is not an IP address; want one such as 10.0.0.10 or 2001:db8::10")
	}
	if unicast {
		return a, checkUnicast(a)
	}
	return a, nil
}

// checkUnicast refuses what no single machine on a network can have as its address.
func checkUnicast(a netip.Addr) error {
	limited := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == limited {
		return errors.New("is not an address that a machine can have; want a unicast address")
	}
	return nil
}

func parsePrefix(s string, r rules) (any, error) { return prefixOf(s, r.host) }

func prefixOf(s string, host bool) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		if _, err := netip.ParseAddr(s); err == nil {
			return netip.Prefix{}, errors.New("lacks its prefix length, such as /24")
		}
		return netip.Prefix{}, errors.New("is not a prefix; want ADDRESS/LENGTH such as 10.0.0.0/24 or 2001:db8::/64")
	}
	if host {
		return p, checkUnicast(p.Addr())
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("has bits set behind its length; want %s", p.Masked())
	}
	return p, nil
}

func parseAddrPort(s string, r rules) (any, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 || ap.Addr().Zone() != "" || ap.Addr().Is4In6() {
		return nil, errors.New("is not an address and port; want ADDRESS:PORT such as 10.0.0.100:443 or [2001:db8::1]:443")
	}
	return ap, checkUnicast(ap.Addr())
}

func parseMAC(s string, _ rules) (any, error) { return macOf(s) }

func macOf(s string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return nil, errors.New(`is not a MAC address; want one such as "60:00:60:00:01:01"`)
	}
	if mac[0]&1 != 0 {
		return nil, errors.New("is a multicast MAC address; want one with an even first byte")
	}
	if [6]byte(mac) == [6]byte{} {
		return nil, errors.New("is no machine's MAC address")
	}
	return mac, nil
}

func parseUUID(s string, _ rules) (any, error) {
	id, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		return nil, errors.New("is not a GUID; want one such as 12345678-1000-2000-3000-123456780001")
	}
	if id == uuid.Nil {
		return nil, errors.New("is the nil GUID; want one of the tenant's own")
	}
	return id, nil
}

func parseDuration(s string, r rules) (any, error) {
	d, err := time.ParseDuration(s)
	least, most := time.Duration(r.min), time.Duration(r.max)
	switch {
	case err != nil || d < least || d > most:
		example := min(max(least, 10*time.Second), most)
		if least < time.Second {
			example = 10 * least
		}
		return nil, fmt.Errorf("is not a duration from %s to %s; want one such as %s", least, most, example)
	case r.seconds && d%time.Second != 0:
		return nil, fmt.Errorf("is not a whole number of seconds; want one such as %s", d.Truncate(time.Second)+time.Second)
	}
	return d, nil
}

// parseRegexp takes what Go's RE2 takes. The match ignores case.
func parseRegexp(s string, _ rules) (any, error) {
	re, err := regexp.Compile("(?i)" + s)
	if err != nil {
		var syntaxError *syntax.Error
		if errors.As(err, &syntaxError) {
			err = errors.New(string(syntaxError.Code)) // its text would show the (?i)
		}
		return nil, fmt.Errorf("is not a regular expression (RE2): %w", err)
	}
	return re, nil
}

// Destination is the far end of a tunnel: an address, a host name, or neither where the peer is the one that dials.
type Destination struct {
	Address netip.Addr
	Host    string
}

// IsZero tells whether no destination is declared.
func (d Destination) IsZero() bool { return d == Destination{} }

// String is the destination as declared.
func (d Destination) String() string {
	if d.Address.IsValid() {
		return d.Address.String()
	}
	return d.Host
}

func parseDestination(s string) (Destination, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" || a.Is4In6() {
			return Destination{}, errors.New("is not a plain IPv4 or IPv6 address")
		}
		return Destination{Address: a}, checkUnicast(a)
	}
	if !isHostName(s) {
		return Destination{}, errors.New("is neither an address nor a host name; want one such as 59.10.10.10 or " +
			"vpn.example.com")
	}
	return Destination{Host: s}, nil
}

// isHostName follows RFC 1123, 2.1: labels of letters, digits and hyphens. A last label of digits is an address gone
// wrong, not a name.
func isHostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, letters+digits+"-") != "" {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], digits) != ""
}

const (
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
)
