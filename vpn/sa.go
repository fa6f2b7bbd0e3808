package vpn

import (
	"slices"
	"strings"
	"time"

	"github.com/strongswan/govici/vici"
)

// States of SAs as charon names them.
const (
	ikeEstablished = "ESTABLISHED"
	ikeConnecting  = "CONNECTING"
	childInstalled = "INSTALLED"
)

// ikeSA is what charon says about one IKE_SA.
type ikeSA struct {
	name         string // of the interface, at charon
	id           string // unique while charon runs; a rekeyed IKE_SA has a new one
	state        string
	local, peer  string // address:port
	localID      string
	peerID       string
	user         string // by EAP, where the peer dialled
	initiator    bool   // whether we dialled
	initiatorSPI string // both ends know it by the same number
	ifIDIn       uint32
	ifIDOut      uint32
	algorithms   string
	established  time.Duration // since when
	rekeyIn      time.Duration
	children     []childSA
}

// childSA is what charon says about one CHILD_SA.
type childSA struct {
	id                    string
	state                 string
	spiIn, spiOut         string
	algorithms            string
	encapsulated          bool
	bytesIn, bytesOut     uint64
	packetsIn, packetsOut uint64
	installed             time.Duration // since when
	rekeyIn               time.Duration
}

// up tells whether the SA carries traffic. One that is being replaced still does.
func (c childSA) up() bool {
	return c.state == childInstalled || c.state == "REKEYING" || c.state == "REKEYED"
}

// parseIKE reads the section of an IKE_SA in list-sa and in the events.
func parseIKE(name string, m *vici.Message) ikeSA {
	sa := ikeSA{
		name:         baseName(name),
		id:           text(m, "uniqueid"),
		state:        text(m, "state"),
		local:        endpoint(m, "local-host", "local-port"),
		peer:         endpoint(m, "remote-host", "remote-port"),
		localID:      text(m, "local-id"),
		peerID:       text(m, "remote-id"),
		user:         text(m, "remote-eap-id"),
		initiator:    text(m, "initiator") == "yes",
		initiatorSPI: text(m, "initiator-spi"),
		ifIDIn:       hexID(m, "if-id-in"),
		ifIDOut:      hexID(m, "if-id-out"),
		algorithms:   algorithms(m),
		established:  duration(m, "established"),
		rekeyIn:      duration(m, "rekey-time"),
	}
	children := section(m, "child-sas")
	for _, key := range children.Keys() {
		sa.children = append(sa.children, parseChild(section(children, key)))
	}
	return sa
}

func parseChild(m *vici.Message) childSA {
	return childSA{
		id:           text(m, "uniqueid"),
		state:        text(m, "state"),
		spiIn:        text(m, "spi-in"),
		spiOut:       text(m, "spi-out"),
		algorithms:   algorithms(m),
		encapsulated: text(m, "encap") == "yes",
		bytesIn:      number(m, "bytes-in"),
		bytesOut:     number(m, "bytes-out"),
		packetsIn:    number(m, "packets-in"),
		packetsOut:   number(m, "packets-out"),
		installed:    duration(m, "install-time"),
		rekeyIn:      duration(m, "rekey-time"),
	}
}

// parseSAs reads the messages that list-sas streams.
func parseSAs(messages []*vici.Message) []ikeSA {
	var sas []ikeSA
	for _, m := range messages {
		if name, s, ok := firstSection(m); ok {
			sas = append(sas, parseIKE(name, s))
		}
	}
	return sas
}

// endpoint is "address:port", "[address]:port" for IPv6, or empty.
func endpoint(m *vici.Message, host, port string) string {
	if ap := addrPort(m, host, port); ap.IsValid() {
		return ap.String()
	}
	return ""
}

// algorithms joins what was negotiated, as in "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384".
func algorithms(m *vici.Message) string {
	var parts []string
	for _, kind := range []string{"encr", "integ"} {
		alg := text(m, kind+"-alg")
		if alg == "" {
			continue
		}
		if size := text(m, kind+"-keysize"); size != "" {
			alg += "-" + size
		}
		parts = append(parts, alg)
	}
	for _, key := range []string{"prf-alg", "dh-group"} {
		if alg := text(m, key); alg != "" {
			parts = append(parts, alg)
		}
	}
	return strings.Join(parts, "/")
}

// connection is what list-conns tells of a loaded connection; it keeps the if_id and the proposals to itself.
type connection struct {
	name                string
	localAddrs, remotes []string
	localID, remoteID   string
}

func parseConns(messages []*vici.Message) []connection {
	var conns []connection
	for _, m := range messages {
		name, s, ok := firstSection(m)
		if !ok {
			continue
		}
		c := connection{name: name, localAddrs: texts(s, "local_addrs"), remotes: texts(s, "remote_addrs")}
		for _, key := range s.Keys() {
			switch {
			case strings.HasPrefix(key, "local-"):
				c.localID = text(section(s, key), "id")
			case strings.HasPrefix(key, "remote-"):
				c.remoteID = text(section(s, key), "id")
			}
		}
		conns = append(conns, c)
	}
	return conns
}

// fits tells whether the connection is between the interface's ends and identities, as far as charon says. What a peer's
// name stands for may have changed since.
func (c connection) fits(i complete) bool {
	if i.Method == EAP {
		return true // its SAs tell
	}
	return len(c.localAddrs) == 1 && c.localAddrs[0] == i.LocalAddress.String() &&
		(!i.PeerAddress.IsValid() || slices.Equal(c.remotes, remoteAddrs(i))) &&
		!otherID(c.localID, i.LocalID) && !i.otherPeer(c.remoteID)
}

// fits tells whether the SA belongs to the interface as it is declared now. The peer's address is left out: a peer may
// have moved (MOBIKE), or be behind NAT.
func (sa ikeSA) fits(i Interface) bool {
	switch {
	case sa.ifIDIn != i.IfID || sa.ifIDOut != i.IfID:
		return false
	case i.Method == EAP:
		return sa.fitsEAP(i)
	}
	return !otherID(sa.localID, i.LocalID) && !i.otherPeer(sa.peerID)
}
