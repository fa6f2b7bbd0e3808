package vpn

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// SiteGroup is the group (RADIUS's Class) of a user who is the site of an S2S interface.
const SiteGroup = "S2S"

// charon picks a connection before it knows who the EAP user is, asks for the user name only where the connection has
// none of its own, and goes on to the next connection that fits once the user is accepted. So there are three tiers,
// whatever the order of loading, told apart by how narrow the peers' addresses are written, since charon prefers the
// narrower: the catcher, which asks for the name and never fits; the S2S interfaces, each for its user; and the refuser,
// which fits nobody either, so that a user who is no interface's is not put down as the failure of one.
//
// Which of the gateway's addresses and names a peer asks for must not matter to that order: all of them take any.
const (
	eapCatcher = "eap-catcher"
	eapRefuser = "eap-refuser"
	// nobodysGroup is a group that no user is in: FreeRADIUS is told by us what to say.
	nobodysGroup = "__never__"
)

// The tiers' addresses: each covers all of both families.
var (
	catcherAddrs   = eapTier(2)
	answeringAddrs = eapTier(1)
	refuserAddrs   = []string{"%any"}
)

// eapTier covers IPv4 and IPv6 by prefixes of so many bits.
func eapTier(bits int) []string {
	var prefixes []string
	for n := range 1 << bits {
		first := byte(n << (8 - bits))
		prefixes = append(prefixes,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{first}), bits).String(),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{first}), bits).String())
	}
	slices.Sort(prefixes)
	return prefixes
}

// eapGate are the load-conn of the catcher and the refuser. The gateway proves who it is with its certificate, by
// whichever of its names the peer asks for. What is negotiated before the user is known are the proposals of all EAP
// interfaces.
func eapGate(own *identity, ikeProposals []string) ([]order, error) {
	gate := func(name string, remoteAddrs []string) *builder {
		return newMessage().set(name, newMessage().
			set("version", "2").
			set("remote_addrs", remoteAddrs).
			set("proposals", ikeProposals).
			set("unique", "never").
			set("send_cert", "always").
			set("local", anyOwnName().set("certs", []string{string(own.leaf.Raw)})).
			set("remote", eapUser("%any", nobodysGroup)))
	}
	orders, err := add(nil, eapCatcher, gate(eapCatcher, catcherAddrs))
	if err != nil {
		return nil, err
	}
	return add(orders, eapRefuser, gate(eapRefuser, refuserAddrs))
}

// anyOwnName is the gateway's end of a connection that a user dials.
func anyOwnName() *builder { return newMessage().set("auth", "pubkey").set("id", "%any") }

// eapUser is the end of a user whom RADIUS accepts and says to be in the group.
func eapUser(name, group string) *builder {
	return newMessage().set("auth", "eap-radius").set("id", "%any").set("eap_id", name).set("groups", []string{group})
}

// eapOrders are those of an EAP interface: a connection that answers its site, and where we have a user name at the site,
// one that dials it. Then the site proves who it is with a certificate, and we with the password, or with the gateway's
// certificate where there is none.
func eapOrders(name string, i complete) (orders, error) {
	if i.own == nil || i.own.leaf == nil {
		return orders{}, errNoCertificate
	}
	conns, err := add(nil, name+answering, newMessage().set(name+answering, connBase(i, none).
		set("local_addrs", []string{"%any"}).
		set("remote_addrs", answeringAddrs).
		set("local", anyOwnName()).
		set("remote", eapUser(i.UserName, SiteGroup))))
	if err != nil || i.DialUserName == "" {
		return orders{conns: conns}, err
	}
	// A site that does not ask for the user name takes the IKE identity for it.
	local := newMessage().set("eap_id", i.DialUserName).set("id", cmp.Or(i.LocalID, i.DialUserName))
	var secrets []order
	if len(i.DialPassword) > 0 {
		local.set("auth", "eap-mschapv2")
		secrets, err = add(nil, name, newMessage().
			set("id", name).
			set("type", "EAP").
			set("data", string(i.DialPassword)).
			// Another site may know another tenant by the same name, with another password.
			set("owners", []string{i.DialUserName, certificateID(i.RemoteID)}))
	} else {
		local.set("auth", "eap-tls").set("certs", []string{string(i.own.leaf.Raw)})
	}
	if err != nil {
		return orders{}, err
	}
	conns, err = add(conns, name, newMessage().set(name, connBase(i, trapWhere(i)).
		set("local", local).
		set("remote", peerCertificate(i, dialForms(i.RemoteID)[i.turn]))))
	return orders{secrets: secrets, conns: conns}, err
}

// withEAPDefaults fills in what was left out of an EAP interface.
func (i Interface) withEAPDefaults() Interface {
	i.UserName = cmp.Or(i.UserName, i.Name)
	if i.RemoteID == "" && i.DialUserName != "" {
		if i.RemoteID = "fqdn:" + i.PeerHost; i.PeerHost == "" {
			i.RemoteID = i.PeerAddress.String()
		}
	}
	return i
}

// checkEAP looks at what an EAP interface's ends prove themselves with.
func (i Interface) checkEAP() error {
	var errs []error
	if err := checkUser(i.UserName); err != nil {
		errs = append(errs, err)
	}
	if i.DialUserName == "" {
		if i.Initiate == Always {
			errs = append(errs, errors.New("it cannot be dialled always: there is no user name to dial with"))
		}
		return errors.Join(errs...)
	}
	if err := checkUser(i.DialUserName); err != nil {
		errs = append(errs, err)
	}
	if len(i.Authorities) == 0 {
		errs = append(errs, errors.New("no certificate authority may vouch for the site that is dialled: declare one"))
	}
	return errors.Join(append(errs, checkSubject(i.RemoteID))...)
}

// checkUser refuses a user name that charon would take for a pattern, or for something else than a name.
func checkUser(name string) error {
	for _, kind := range slices.Concat(misread, identityKinds) {
		if strings.HasPrefix(strings.ToLower(name), kind) {
			return fmt.Errorf("the user name %q begins with %q, which charon takes for the kind of an identity", name, kind)
		}
	}
	if _, err := netip.ParseAddr(name); err == nil || name == "" || strings.ContainsAny(name, "*%=") || manyAddresses(name) {
		return fmt.Errorf("the user name %q: it must be a name, without any of * %% =, and no addresses", name)
	}
	return nil
}

// fitsEAP tells whether an SA belongs to an EAP interface: by whom we dialled, or by the user who dialled us.
func (sa ikeSA) fitsEAP(i Interface) bool {
	if sa.initiator {
		return i.DialUserName != "" && !otherID(sa.localID, i.LocalID) && !i.otherPeer(sa.peerID)
	}
	// charon leaves the user's name out where it is the peer's identity too.
	return strings.EqualFold(cmp.Or(sa.user, sa.peerID), i.UserName)
}
