package vpn

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/internal/dn"
)

// identityKinds are what charon takes for the kind of an identity, before it.
var identityKinds = []string{"@", "fqdn:", "email:", "rfc822:", "userfqdn:", "ipv4:", "ipv6:", "keyid:"}

// misread are what charon takes for the kind of an identity too, though nobody would mean that by it.
var misread = []string{
	"{", "@@", "dns:", "asn1dn:", "asn1gn:", "xmppaddr:", "uri:", "ipv4net:", "ipv6net:", "ipv4range:", "ipv6range:",
}

// checkIdentity refuses what charon would take for more than one peer, or for another one than it says: charon reads
// subnets and ranges of addresses, has several words for some kinds, and reads octets in hexadecimal behind a #.
func checkIdentity(id string) error {
	bare := withoutKind(id)
	addr, err := netip.ParseAddr(bare)
	switch {
	case strings.ContainsAny(id, "*%"), err == nil && addr.IsUnspecified(), manyAddresses(bare):
		return fmt.Errorf("the identity %q has a wildcard: it must be exact", id)
	case err == nil:
		return nil
	case bare != id && strings.HasPrefix(bare, "#"):
		return fmt.Errorf("the identity %q is in hexadecimal: write it as it is", id)
	case strings.HasPrefix(strings.ToLower(id), "ipv4:"), strings.HasPrefix(strings.ToLower(id), "ipv6:"):
		return fmt.Errorf("the identity %q has no address behind its kind", id)
	}
	for _, kind := range misread {
		if strings.HasPrefix(strings.ToLower(id), kind) {
			return fmt.Errorf("the identity %q begins with %q: it must be one of %s, or nothing", id, kind,
				strings.Join(identityKinds, " "))
		}
	}
	return nil
}

// manyAddresses tells whether charon takes an identity for a subnet or a range of addresses.
func manyAddresses(id string) bool {
	first, _, many := strings.Cut(id, "/")
	if !many {
		first, _, many = strings.Cut(id, "-")
	}
	_, err := netip.ParseAddr(first)
	return many && err == nil
}

// withoutKind is an identity without the word for its kind.
func withoutKind(id string) string {
	for _, kind := range identityKinds {
		if len(id) >= len(kind) && strings.EqualFold(id[:len(kind)], kind) {
			return id[len(kind):]
		}
	}
	return id
}

// plainAddress takes the kind off an address: charon would take what is behind it for octets.
func plainAddress(id string) string {
	bare := withoutKind(id)
	if _, err := netip.ParseAddr(bare); err == nil && strings.HasPrefix(strings.ToLower(id), "ipv") {
		return bare
	}
	return id
}

// certificateID is the identity, in charon's syntax, of a peer that has a certificate: a common name stands for every
// subject that has it (rdn_matching = relaxed).
func certificateID(remoteID string) string {
	if wholeID(remoteID) {
		return remoteID
	}
	return "CN=" + remoteID
}

// peerID is the identity that the peer must have, in charon's syntax.
func (i Interface) peerID() string {
	if i.Method == Certificate {
		return certificateID(i.RemoteID)
	}
	return i.RemoteID
}

// wholeID tells whether an identity is more than a common name: a subject, an address, or one with its kind before it.
func wholeID(id string) bool {
	if _, err := netip.ParseAddr(id); err == nil || strings.Contains(id, "=") {
		return true
	}
	for _, kind := range identityKinds {
		if strings.HasPrefix(strings.ToLower(id), kind) {
			return true
		}
	}
	return false
}

// checkSubject refuses a common name that charon would read as more than one part of a subject.
func checkSubject(id string) error {
	if !wholeID(id) && strings.ContainsAny(id, `,/+"\`) {
		return fmt.Errorf("the common name %q has a sign that separates the parts of a subject", id)
	}
	return nil
}

// overlap tells whether one peer could be both: the same identity, or two subjects of which one has all parts of the
// other. Both must be in canonical form.
func overlap(a, b string) bool {
	if a == b {
		return true
	}
	if !strings.Contains(a, "=") || !strings.Contains(b, "=") {
		return false
	}
	return subset(a, b) || subset(b, a)
}

// subset tells whether all parts of the subject a are in b.
func subset(a, b string) bool {
	parts := strings.Split(b, ",")
	for part := range strings.SplitSeq(a, ",") {
		if !slices.Contains(parts, part) {
			return false
		}
	}
	return true
}

// sameID compares identities as charon does: what differs in case, spacing or spelled-out type only is the same.
func sameID(a, b string) bool { return canonicalID(a) == canonicalID(b) }

// otherPeer tells whether charon's rendering of a peer's identity is surely not the one that the interface expects.
func (i Interface) otherPeer(rendered string) bool {
	if i.Method == Certificate && !wholeID(i.RemoteID) && strings.Contains(rendered, "=") {
		return !subset(canonicalID(i.peerID()), canonicalID(rendered))
	}
	return otherID(rendered, i.RemoteID)
}

// otherID tells whether charon's rendering of an identity is surely of another one than declared, if any is. Whole
// subjects and key ids are rendered in more ways than one, so that they are given the benefit of the doubt.
func otherID(rendered, declared string) bool {
	if declared == "" {
		return false
	}
	for _, id := range []string{rendered, declared} {
		if _, err := netip.ParseAddr(id); err != nil && strings.ContainsAny(id, "=:") {
			return false
		}
	}
	return !sameID(rendered, declared)
}

func canonicalID(id string) string {
	id = strings.ToLower(strings.TrimSpace(id))
	if addr, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimPrefix(id, "ipv4:"), "ipv6:")); err == nil {
		return addr.Unmap().String()
	}
	for _, prefix := range []string{"@", "fqdn:", "email:", "rfc822:", "userfqdn:"} {
		id = strings.TrimPrefix(id, prefix)
	}
	if !strings.Contains(id, "=") {
		return id
	}
	parts := strings.FieldsFunc(id, func(r rune) bool { return r == ',' || r == '/' })
	for n, part := range parts {
		parts[n] = dn.Part(part)
	}
	return strings.Join(parts, ",")
}
