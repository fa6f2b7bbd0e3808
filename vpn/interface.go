package vpn

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Initiate says who brings a tunnel up.
type Initiate string

// Who brings a tunnel up.
const (
	// OnDemand dials when a packet is routed to the interface, also while the daemon is down.
	OnDemand Initiate = "onDemand"
	// Never waits for the peer, or for an operator's [Manager.Connect].
	Never Initiate = "never"
	// Always dials at once, and again with back-off whenever the tunnel is down.
	Always Initiate = "always"
)

// What an Interface gets where it says nothing.
const (
	// DefaultDPD is the time without a packet from the peer after which charon asks whether it is still there.
	DefaultDPD = 10 * time.Second
	// replayWindow is in packets; charon's 32 loses packets that several CPUs reordered.
	replayWindow = 1024
)

// Proposals that are used when an interface declares none, in charon's syntax and order of preference.
var (
	defaultIKEProposals = []string{"aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"}
	defaultESPProposals = []string{"aes256gcm16", "aes128gcm16", "aes256-sha256"}
)

// Secret is a pre-shared key. It prints as a placeholder whatever the verb, so that it cannot reach a log or an error.
type Secret []byte

const hidden = "(secret)"

// Format implements fmt.Formatter for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText keeps the key out of JSON and YAML.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Method says how both ends of a tunnel prove who they are.
type Method string

// The methods of authentication.
const (
	// PSK is a pre-shared key at both ends.
	PSK Method = "PSK"
	// Certificate is an X.509 certificate at both ends.
	Certificate Method = "Certificate"
	// EAP is a user name for whoever dials, and a certificate for whoever is dialled.
	EAP Method = "EAP"
)

// Interface is the desired state of one S2S interface's tunnel.
type Interface struct {
	// Name of the interface in the tenant's compartment. Two tenants may use the same.
	Name string
	// IfID is the if_id of the xfrm interface, not 0 and different for every interface of the gateway.
	IfID uint32
	// LocalAddress is the gateway's address that the tunnel uses.
	LocalAddress netip.Addr
	// PeerAddress is the site's, with a pre-shared key always. With the other methods it may be left out for a PeerHost,
	// or for a site that only dials.
	PeerAddress netip.Addr
	// PeerHost is the site's name, which is resolved again and again. The peer may dial from any address.
	PeerHost string
	// Method of authentication; PSK where empty.
	Method Method
	// LocalID and RemoteID are the IKE identities in charon's syntax. Where LocalID is empty it is LocalAddress with a
	// pre-shared key, and the subject of the gateway's certificate otherwise.
	//
	// The peer must present exactly RemoteID, so that wildcards are refused, and no two interfaces of the gateway may have
	// the same. With a pre-shared key it is PeerAddress where empty. With certificates it is the common name of the peer's
	// subject, which may have other parts, and Name where empty; or a whole subject ("O=Contoso, CN=NY"); or, with its kind
	// before it ("fqdn:ny.example", "email:", "ipv4:", "ipv6:"), an alternative name that the peer presents and its
	// certificate has. A peer that we dial, and that answers to its whole subject only, needs the whole one. With EAP it is
	// that of the site that we dial.
	LocalID, RemoteID string
	// PSK is the pre-shared key. A changed one counts from the next authentication on; a standing tunnel stays.
	PSK Secret
	// PreviousPSK is a key that is good too, until the peer has the new one.
	PreviousPSK Secret
	// Authorities are the certificate authorities (DER) that may vouch for the peer, and no others.
	Authorities [][]byte
	// UserName is the EAP user name of the site when it dials; unique on the gateway, without regard to case.
	UserName string
	// DialUserName and DialPassword are what we say to a site that we dial with EAP.
	DialUserName string
	DialPassword Secret
	// Policy is what is negotiated.
	Policy
	// Initiate says who dials; OnDemand where empty.
	Initiate Initiate
	// Idle is the time without packets after which the tunnel is taken down; never where 0.
	Idle time.Duration
	// Disabled takes the tunnel down and lets neither end dial.
	Disabled bool
}

// Policy is what a tunnel's IKE_SA and CHILD_SAs are negotiated with. A change counts from the next negotiation on.
type Policy struct {
	// IKEProposals and ESPProposals are in charon's syntax.
	IKEProposals, ESPProposals []string
	// DPD is the time of silence before the peer is probed; DefaultDPD where 0.
	DPD time.Duration
	// IKELifetime and ESPLifetime are the times after which the SAs are replaced; charon's where 0.
	IKELifetime, ESPLifetime time.Duration
	// ESPLifetimeBytes is the number of bytes after which a CHILD_SA is replaced; no limit where 0.
	ESPLifetimeBytes uint64
	// NoMOBIKE lets neither end change its address (RFC 4555). NoFragmentation sends no IKE fragments (RFC 7383).
	NoMOBIKE, NoFragmentation bool
	// ForceEncapsulation puts ESP into UDP though there is no NAT (RFC 3948).
	ForceEncapsulation bool
	// HardwareOffload has the NIC do ESP where it can.
	HardwareOffload bool
}

// withDefaults fills in what was left out, so that what is compared, loaded and shown is the same.
func (i Interface) withDefaults() Interface {
	i.LocalAddress, i.PeerAddress = i.LocalAddress.Unmap(), i.PeerAddress.Unmap()
	i.LocalID, i.RemoteID = plainAddress(i.LocalID), plainAddress(i.RemoteID)
	if i.Method == "" {
		i.Method = PSK
	}
	switch i.Method {
	case PSK:
		i.LocalID = cmp.Or(i.LocalID, i.LocalAddress.String())
		i.RemoteID = cmp.Or(i.RemoteID, i.PeerAddress.String())
	case Certificate:
		i.RemoteID = cmp.Or(i.RemoteID, i.Name)
	case EAP:
		i = i.withEAPDefaults()
	}
	if len(i.IKEProposals) == 0 {
		i.IKEProposals = defaultIKEProposals
	}
	if len(i.ESPProposals) == 0 {
		i.ESPProposals = defaultESPProposals
	}
	if i.DPD == 0 {
		i.DPD = DefaultDPD
	}
	if i.Initiate == "" {
		i.Initiate = OnDemand
	}
	return i
}

// complete is an Interface with what the Manager adds to what is declared.
type complete struct {
	Interface
	resolved netip.Addr // what PeerHost stands for; invalid where that is not known
	own      *identity  // what the gateway proves itself with, where it does so with a certificate
	turn     int        // which of the ways to be understood by the peer is tried, see turns
}

// peer is the address that is dialled: the declared one, or what the declared name stands for. It is invalid where
// there is none.
func (i complete) peer() netip.Addr {
	if i.PeerAddress.IsValid() {
		return i.PeerAddress
	}
	return i.resolved
}

// equal tells whether charon would be told the same about both.
func (i complete) equal(o complete) bool {
	return i.Interface.equal(o.Interface) && i.resolved == o.resolved && i.own == o.own && i.turn == o.turn
}

// sameTunnel tells whether an SA of one would do for the other: same ends, same identities, same xfrm interface. What a
// name stands for may change under a standing SA, which follows its peer (MOBIKE) or is found dead.
func (i Interface) sameTunnel(o Interface) bool {
	return i.Method == o.Method && i.IfID == o.IfID && i.LocalAddress == o.LocalAddress &&
		i.PeerAddress == o.PeerAddress && i.PeerHost == o.PeerHost &&
		sameID(i.LocalID, o.LocalID) && sameID(i.RemoteID, o.RemoteID) &&
		strings.EqualFold(i.UserName, o.UserName) && i.DialUserName == o.DialUserName
}

// canDial tells whether there is a peer to dial, something to tell it, and it may be dialled.
func (i Interface) canDial() bool {
	return !i.Disabled && (i.PeerAddress.IsValid() || i.PeerHost != "") && (i.Method != EAP || i.DialUserName != "")
}

// equal tells whether the same is declared of both.
func (i Interface) equal(o Interface) bool {
	return i.Name == o.Name && i.LocalID == o.LocalID && i.RemoteID == o.RemoteID && i.UserName == o.UserName &&
		i.sameTunnel(o) && i.Policy.equal(o.Policy) && i.Initiate == o.Initiate && i.Idle == o.Idle &&
		i.Disabled == o.Disabled &&
		bytes.Equal(i.PSK, o.PSK) && bytes.Equal(i.PreviousPSK, o.PreviousPSK) &&
		bytes.Equal(i.DialPassword, o.DialPassword) && slices.EqualFunc(i.Authorities, o.Authorities, bytes.Equal)
}

func (p Policy) equal(o Policy) bool {
	return slices.Equal(p.IKEProposals, o.IKEProposals) && slices.Equal(p.ESPProposals, o.ESPProposals) &&
		p.DPD == o.DPD && p.IKELifetime == o.IKELifetime && p.ESPLifetime == o.ESPLifetime &&
		p.ESPLifetimeBytes == o.ESPLifetimeBytes && p.NoMOBIKE == o.NoMOBIKE &&
		p.NoFragmentation == o.NoFragmentation && p.ForceEncapsulation == o.ForceEncapsulation &&
		p.HardwareOffload == o.HardwareOffload
}
