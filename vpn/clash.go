package vpn

import "strings"

// who is by what a peer is known, in canonical form, and by what we are known to it. Empty is nobody.
type who struct {
	peer, local   string
	user          string // that it dials as
	site, account string // that we dial, and as whom
}

// who is the peer of an interface. With EAP, RemoteID is only whom we dial.
func (i Interface) who() who {
	if i.Method == EAP {
		return who{
			user: strings.ToLower(i.UserName), site: canonicalID(certificateID(i.RemoteID)), account: i.DialUserName,
		}
	}
	return who{peer: canonicalID(i.peerID()), local: canonicalID(i.LocalID)}
}

// who is the peer of a connection that an earlier daemon loaded. One that takes any identity goes by something else.
func (c connection) who() who {
	if c.remoteID == "" || c.remoteID == "%any" {
		return who{}
	}
	return who{peer: canonicalID(c.remoteID), local: canonicalID(c.localID)}
}

// clashes tells whether one peer could be taken for the other's: with a pre-shared key, one peer's key would open the
// other's tunnel. It is the same both ways.
func (w who) clashes(o who) bool {
	if w.user != "" && w.user == o.user {
		return true
	}
	// As the same user of the same site, as far as charon can tell when it looks for the password.
	if w.account != "" && w.account == o.account && overlap(w.site, o.site) {
		return true
	}
	if w.peer == "" || o.peer == "" {
		return false
	}
	return overlap(w.peer, o.peer) || w.peer == o.local || w.local == o.peer
}

// clash finds an interface at charon, of any tenant but those in except, whose peer could be taken for the one's of that
// name. It returns that interface's name at charon, or "".
func clash(name string, w who, have map[string]loaded, except map[string]bool) string {
	var found string
	for other, l := range have {
		if other != name && !except[other] && w.clashes(l.who) && (found == "" || other < found) {
			found = other
		}
	}
	return found
}
