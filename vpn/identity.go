package vpn

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// identityKinds are what charon takes for the kind of an identity, before it.
var identityKinds = []string{"@", "fqdn:", "email:", "rfc822:", "userfqdn:", "ipv4:", "ipv6:", "keyid:"}

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
	parts := strings.Split(id, ",")
	for n, part := range parts {
		key, value, _ := strings.Cut(part, "=")
		parts[n] = strings.TrimSpace(key) + "=" + strings.TrimSpace(value)
	}
	return strings.Join(parts, ",")
}
