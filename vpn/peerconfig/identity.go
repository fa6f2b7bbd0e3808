package peerconfig

import (
	"net/netip"
	"strings"
)

// identityKind is a type of IKE identity (RFC 7296, 3.5).
type identityKind int

const (
	addressID identityKind = iota
	fqdnID
	emailID
	dnID
)

// identity tells of which kind an identity in charon's words is, and returns it without the word for its kind.
func identity(id string) (identityKind, string) {
	for _, kind := range []struct {
		prefix string
		kind   identityKind
	}{
		{"ipv4:", addressID}, {"ipv6:", addressID}, {"fqdn:", fqdnID}, {"email:", emailID}, {"rfc822:", emailID},
		{"asn1dn:", dnID}, {"@", fqdnID},
	} {
		if rest, ok := strings.CutPrefix(id, kind.prefix); ok {
			return kind.kind, rest
		}
	}
	if _, err := netip.ParseAddr(id); err == nil {
		return addressID, id
	}
	switch {
	case strings.Contains(id, "="):
		return dnID, id
	case strings.Contains(id, "@"):
		return emailID, id
	}
	return fqdnID, id
}

// commonName is the CN of a distinguished name, or the whole of it where it has none.
func commonName(dn string) string {
	for part := range strings.SplitSeq(dn, ",") {
		key, value, _ := strings.Cut(part, "=")
		if strings.EqualFold(strings.TrimSpace(key), "CN") {
			return strings.TrimSpace(value)
		}
	}
	return dn
}

// identifier is a name that every device takes for an object of its own.
func identifier(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, name)
}

// inner tells which families the networks behind the gateway have.
func (p Params) inner() (v4, v6 bool) {
	for _, n := range p.Networks {
		v4, v6 = v4 || n.Addr().Is4(), v6 || n.Addr().Is6()
	}
	return v4 || !v6, v6
}

// mask is the network mask of an IPv4 prefix in dotted notation.
func mask(n netip.Prefix) string {
	bits := ^uint32(0) << (32 - n.Bits())
	if n.Bits() == 0 {
		bits = 0
	}
	return netip.AddrFrom4([4]byte{byte(bits >> 24), byte(bits >> 16), byte(bits >> 8), byte(bits)}).String()
}
