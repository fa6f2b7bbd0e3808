package vpn

import "slices"

// pskOrders are those of an interface with a pre-shared key. The peer's identity is the only owner of its keys, see the
// package's comment. Each of two keys opens the tunnel for the peer, but charon itself uses the one that it got last.
func pskOrders(name string, i complete) (orders, error) {
	keys := []order{}
	for _, key := range []struct {
		name string
		key  Secret
	}{{name, i.PSK}, {name + previousKey, i.PreviousPSK}} {
		if len(key.key) == 0 {
			continue
		}
		var err error
		keys, err = add(keys, key.name, newMessage().
			set("id", key.name).
			set("type", "IKE").
			set("data", string(key.key)).
			set("owners", []string{i.RemoteID}))
		if err != nil {
			return orders{}, err
		}
	}
	if i.turn == 1 {
		slices.Reverse(keys)
	}
	conns, err := add(nil, name, newMessage().set(name, connBase(i, trapWhere(i)).
		// Nobody needs to know whom the other interfaces trust.
		set("send_certreq", "no").
		set("local", newMessage().set("auth", "psk").set("id", i.LocalID)).
		set("remote", newMessage().set("auth", "psk").set("id", i.RemoteID))))
	return orders{secrets: keys, conns: conns}, err
}

// certificateOrders are those of an interface whose ends have certificates. The peer's must come from one of the
// interface's own authorities: charon trusts all that any connection names.
//
// One connection answers the peer and another dials it where it is known by its common name only: charon tells the peer
// that it dials which identity it wants, and a peer like charon answers to its whole subject only. To an identity with a
// wildcard charon does not tell any.
func certificateOrders(name string, i complete) (orders, error) {
	if i.own == nil || i.own.leaf == nil {
		return orders{}, errNoCertificate
	}
	forms := dialForms(i.RemoteID)
	if !i.peer().IsValid() || len(forms) == 1 {
		conns, err := add(nil, name, certificateConn(name, i, trapWhere(i), i.peerID()))
		return orders{conns: conns}, err
	}
	conns, err := add(nil, name, certificateConn(name, i, trapWhere(i), forms[i.turn]))
	if err != nil {
		return orders{}, err
	}
	conns, err = add(conns, name+answering, certificateConn(name+answering, i, none, i.peerID()))
	return orders{conns: conns}, err
}

func certificateConn(name string, i complete, action, peerID string) *builder {
	return newMessage().set(name, connBase(i, action).
		set("local", ownCertificate(i)).
		set("remote", peerCertificate(i, peerID)))
}

// ownCertificate is the end of a connection that proves itself with the gateway's certificate. Its peers do not always
// ask for it.
func ownCertificate(i complete) *builder {
	local := newMessage().set("auth", "pubkey").set("certs", []string{string(i.own.leaf.Raw)})
	if i.LocalID != "" {
		local.set("id", i.LocalID)
	}
	return local
}

// peerCertificate is the end of a connection that must prove itself with a certificate.
func peerCertificate(i complete, id string) *builder {
	authorities := make([]string, len(i.Authorities))
	for n, der := range i.Authorities {
		authorities[n] = string(der)
	}
	revocation := "relaxed"
	if i.own.revocation == RevocationStrict {
		revocation = "strict"
	}
	return newMessage().
		set("auth", "pubkey").
		set("id", id).
		set("cacerts", authorities).
		set("revocation", revocation)
}
