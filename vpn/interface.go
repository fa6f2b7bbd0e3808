package vpn

import (
	"errors"
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
	// PeerHost is the site's name, which is resolved before each dial.
	PeerHost string
	// Method of authentication; PSK where empty.
	Method Method
	// LocalID and RemoteID are the IKE identities in charon's syntax; the addresses where empty. The peer must present
	// exactly RemoteID, so that wildcards are refused, and no two interfaces of the gateway may have the same. With
	// certificates RemoteID is the common name of the peer's subject; with EAP it is the gateway that the site has, where
	// we dial it.
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
	if i.LocalID == "" {
		i.LocalID = i.LocalAddress.String()
	}
	if i.RemoteID == "" {
		i.RemoteID = i.PeerAddress.String()
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

// check finds what charon would misunderstand, or what would let a stranger in. It expects defaults filled in.
func (i Interface) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if i.Name == "" || strings.Contains(i.Name, nameSeparator) {
		bad("the name %q must not be empty or contain %q", i.Name, nameSeparator)
	}
	if i.IfID == 0 {
		bad("if_id 0 means no xfrm interface: give it one of its own")
	}
	if !i.LocalAddress.IsValid() || !i.PeerAddress.IsValid() || i.LocalAddress.Is4() != i.PeerAddress.Is4() ||
		i.LocalAddress.IsUnspecified() || i.PeerAddress.IsUnspecified() {
		bad("%v and %v must be two addresses of one family", i.LocalAddress, i.PeerAddress)
	}
	for _, id := range []string{i.LocalID, i.RemoteID} {
		if strings.ContainsAny(id, "*%") {
			bad("the identity %q has a wildcard: it must be exact", id)
		}
	}
	if len(i.PSK) == 0 {
		bad("the pre-shared key is empty")
	}
	if i.DPD < time.Second {
		bad("dead peer detection after %v: it must be 1s or more", i.DPD)
	}
	switch i.Initiate {
	case OnDemand, Never, Always:
	default:
		bad("initiate %q: it must be %s, %s or %s", i.Initiate, OnDemand, Never, Always)
	}
	return errors.Join(errs...)
}

// sameTunnel tells whether an SA of one would do for the other: same ends, same identities, same xfrm interface.
func (i Interface) sameTunnel(o Interface) bool {
	return i.IfID == o.IfID && i.LocalAddress == o.LocalAddress && i.PeerAddress == o.PeerAddress &&
		sameID(i.LocalID, o.LocalID) && sameID(i.RemoteID, o.RemoteID)
}

// canDial tells whether there is a peer to dial, and it may be dialled.
func (i Interface) canDial() bool {
	return !i.Disabled && (i.PeerAddress.IsValid() || i.PeerHost != "")
}

// equal tells whether charon would be told the same about both.
func (i Interface) equal(o Interface) bool {
	return i.Name == o.Name && i.LocalID == o.LocalID && i.RemoteID == o.RemoteID && i.sameTunnel(o) &&
		slices.Equal(i.PSK, o.PSK) && slices.Equal(i.IKEProposals, o.IKEProposals) &&
		slices.Equal(i.ESPProposals, o.ESPProposals) && i.DPD == o.DPD && i.Initiate == o.Initiate
}

// sameID compares identities as charon does: what differs in case, spacing or spelled-out type only is the same.
func sameID(a, b string) bool { return canonicalID(a) == canonicalID(b) }

// otherID tells whether charon's rendering of an identity is surely of another one than declared. Distinguished names
// and key ids are rendered in more ways than one, so that they are given the benefit of the doubt.
func otherID(rendered, declared string) bool {
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
