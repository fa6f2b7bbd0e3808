package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"bulkhead/internal/dn"
)

// identityKinds are what may stand before an identity for its kind (RFC 7296, 3.5), in strongSwan's words. "@" and "fqdn:"
// are the same, and so are the three of mail addresses.
var identityKinds = []string{"@", "fqdn:", "email:", "rfc822:", "userfqdn:", "ipv4:", "ipv6:", "keyid:"}

var (
	errSurroundingSpace = errors.New("begins or ends with white space; want it without")
	errControl          = errors.New("holds a control character; want text of one line")
)

// checkIdentity refuses what would stand for more than one peer, or for none.
func checkIdentity(id string) error {
	const most = 255
	bare := withoutKind(id)
	a, err := netip.ParseAddr(bare)
	switch {
	case strings.ContainsAny(id, "*%"), err == nil && a.IsUnspecified():
		return errors.New("has a wildcard, so that others could be taken for it; want the identity itself")
	case severalAddresses(bare):
		return errors.New("is a range of addresses, so that others could be taken for it; want one address")
	case strings.ContainsFunc(id, unicode.IsControl):
		return errControl
	case strings.TrimSpace(id) != id:
		return errSurroundingSpace
	case len(id) > most:
		return fmt.Errorf("has %d bytes; want at most %d", len(id), most)
	case err == nil:
		return nil
	}
	return checkKind(id, bare)
}

// otherKinds are what strongSwan takes for the kind of an identity too: other words for those of identityKinds, by which
// one identity could pass for two, and kinds that stand for many addresses.
var otherKinds = []string{
	"{", "@@", "dns:", "asn1dn:", "asn1gn:", "xmppaddr:", "uri:", "ipv4net:", "ipv6net:", "ipv4range:", "ipv6range:",
}

// checkKind refuses an identity that strongSwan would read as another kind, or other octets, than it seems to be.
func checkKind(id, bare string) error {
	lower := strings.ToLower(id)
	switch kind := startOf(lower, otherKinds); {
	case kind != "":
		return fmt.Errorf("begins with %q, which is not the kind of an identity here; want one of %s, or none", kind,
			strings.Join(identityKinds, " "))
	case bare != id && strings.HasPrefix(bare, "#"):
		return errors.New("is in hexadecimal; want it as it is")
	case strings.HasPrefix(lower, "ipv4:"), strings.HasPrefix(lower, "ipv6:"):
		return errors.New("has no IP address behind its kind; want one such as ipv4:10.0.0.10")
	case bare == id && strings.Contains(id, ":") && !strings.ContainsAny(id, "=@"):
		return errors.New("is taken for a key id by its colon; want keyid: before it")
	}
	return nil
}

// startOf is which of the words a text begins with.
func startOf(text string, words []string) string {
	for _, word := range words {
		if strings.HasPrefix(text, word) {
			return word
		}
	}
	return ""
}

// withoutKind is an identity without the word for its kind.
func withoutKind(id string) string { return id[len(startOf(strings.ToLower(id), identityKinds)):] }

// severalAddresses tells whether strongSwan takes an identity for a subnet or a range of addresses.
func severalAddresses(id string) bool {
	first, _, several := strings.Cut(id, "/")
	if !several {
		first, _, several = strings.Cut(id, "-")
	}
	_, err := netip.ParseAddr(first)
	return several && err == nil
}

// checkSubject refuses the identity of a peer with a certificate that strongSwan would read as another subject than is meant:
// it ends a part at each of two signs, and knows no quotation.
func checkSubject(id string) error {
	switch {
	case !wholeIdentity(id):
		if strings.ContainsAny(id, subjectSigns+`+"\`) {
			return errors.New("has a sign that separates the parts of a subject; want a common name without, or the whole subject " +
				"such as O=Contoso, CN=NY")
		}
	case strings.Contains(id, "=") && !hasKind(id):
		for _, part := range splitSubject(id) {
			if key, value, ok := strings.Cut(part, "="); !ok || strings.TrimSpace(key) == "" || strings.TrimSpace(value) == "" {
				return fmt.Errorf("is not a subject, by the part %q; want it such as O=Contoso, CN=NY, with no , or / in a value", part)
			}
		}
	}
	return nil
}

// wholeIdentity tells whether the identity of a peer with a certificate is more than a common name: a subject, an address,
// or an alternative name with its kind before it.
func wholeIdentity(id string) bool {
	if _, err := netip.ParseAddr(id); err == nil || strings.Contains(id, "=") {
		return true
	}
	return hasKind(id)
}

// hasKind tells whether an identity has its kind before it.
func hasKind(id string) bool {
	return slices.ContainsFunc(identityKinds, func(kind string) bool { return strings.HasPrefix(strings.ToLower(id), kind) })
}

// subjectSigns are what ends a part of a subject in strongSwan's reading.
const subjectSigns = ",/"

func splitSubject(subject string) []string {
	return strings.FieldsFunc(subject, func(r rune) bool { return strings.ContainsRune(subjectSigns, r) })
}

// canonicalIdentity is the same for identities that IKE could take for one another: what differs in case, in spacing or in
// a kind that is spelled out only.
func canonicalIdentity(id string) string {
	id = strings.ToLower(strings.TrimSpace(id))
	bare := withoutKind(id)
	if strings.HasPrefix(id, "keyid:") {
		bare = id
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		return a.Unmap().String()
	}
	if !strings.Contains(bare, "=") {
		return bare
	}
	return strings.Join(subjectParts(bare), ",")
}

// subjectParts are the parts of a subject, such as "cn=ny", in an order of their own.
func subjectParts(subject string) []string {
	parts := splitSubject(subject)
	for i, part := range parts {
		parts[i] = dn.Part(part)
	}
	slices.Sort(parts)
	return slices.Compact(parts)
}

// identities are those of the gateway's sites, each of which must be one site's, and those of the gateway itself towards
// them, which no site may have.
type identities struct {
	peers    claims[string]
	own      claims[string]
	subjects map[string][]subject // by each of their parts
}

type subject struct {
	parts []string
	spot  spot
}

// claimIdentities claims what the site is known by, and keeps it apart from what the gateway calls itself. A site that
// names no identity is known by what stands at fallback.
func (c *checker) claimIdentities(t tenantDoc, s SiteToSite, p, fallback *path) {
	a := s.Authentication
	where := t.declared(p.key("authentication").key("remoteIdentity"), fallback)
	peer := canonicalIdentity(a.RemoteIdentity)
	if a.Method == AuthCertificate && !wholeIdentity(a.RemoteIdentity) {
		peer = "cn=" + strings.ToLower(a.RemoteIdentity)
	}
	if first, is := c.ids.own[peer]; is {
		t.bad(where, "the identity %q is what the gateway calls itself by %s; want the site's own", a.RemoteIdentity, first.place())
		return
	}
	if taken, ok := c.ids.takePeer(peer, spot{doc: t.doc, p: where}); !ok {
		t.bad(where, "the identity %q is that of %s; want one of its own on the whole gateway", a.RemoteIdentity, taken)
		return
	}
	own := canonicalIdentity(a.LocalIdentity)
	if own == "" && a.Method == AuthPSK {
		own = s.SourceAddress.String()
	}
	if own == "" {
		return // the whole subject of the gateway's certificate
	}
	where = t.declared(p.key("authentication").key("localIdentity"), p.key("sourceAddress"))
	if first, is := c.ids.peers[own]; is {
		t.bad(where, "the gateway's identity %q is that of a site by %s; want one of its own", own, first.place())
		return
	}
	c.ids.own.take(own, t.doc, where) // several interfaces may have the same
}

// declared is a path that the file gives a value at, or another.
func (t tenantDoc) declared(p, otherwise *path) *path {
	if t.doc.has(p) {
		return p
	}
	return otherwise
}

// takePeer claims the identity of a site, or gives the place of one that it could be taken for: the same, or a subject of
// which one has all the parts of the other.
func (ids *identities) takePeer(id string, s spot) (taken string, ok bool) {
	if taken, ok := ids.peers.takeFor(id, s); !ok {
		return taken, false
	}
	if !strings.Contains(id, "=") {
		return "", true
	}
	parts := subjectParts(id)
	for _, part := range parts {
		for _, other := range ids.subjects[part] {
			if within(parts, other.parts) || within(other.parts, parts) {
				return other.spot.place(), false
			}
		}
	}
	if ids.subjects == nil {
		ids.subjects = map[string][]subject{}
	}
	for _, part := range parts {
		ids.subjects[part] = append(ids.subjects[part], subject{parts: parts, spot: s})
	}
	return "", true
}

// within tells whether all of few are among many.
func within(few, many []string) bool {
	return !slices.ContainsFunc(few, func(part string) bool { return !slices.Contains(many, part) })
}
