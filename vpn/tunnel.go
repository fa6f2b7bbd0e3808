package vpn

import (
	"time"
)

// State of a tunnel.
type State string

// States of a tunnel.
const (
	// Disconnected: nobody needs it, or the peer closed it.
	Disconnected State = "disconnected"
	// Connecting: one end dials.
	Connecting State = "connecting"
	// Connected: traffic passes.
	Connected State = "connected"
	// Unreachable: the last dial of ours failed, or the peer fell silent. It stays so, dialled again and again where it
	// may be, until it is connected.
	Unreachable State = "unreachable"
)

// Tunnel is the actual state of one declared interface's tunnel.
type Tunnel struct {
	Tenant    string `json:"tenant"`
	Interface string `json:"interface"`
	State     State  `json:"state"`
	// Since is when State was entered, as far as is known; zero for a tunnel that never was up.
	Since time.Time `json:"since,omitzero"`
	// Local and Peer are the address:port in use; of a tunnel that is down, the declared addresses alone.
	Local string `json:"local"`
	Peer  string `json:"peer"`
	// LocalID and PeerID are the IKE identities.
	LocalID string `json:"localId"`
	PeerID  string `json:"peerId"`
	// IKE and ESP are the negotiated algorithms in charon's words.
	IKE string `json:"ike,omitempty"`
	ESP string `json:"esp,omitempty"`
	// Encapsulated tells whether ESP travels in UDP because of NAT on the way.
	Encapsulated bool `json:"encapsulated,omitempty"`
	// UniqueID is charon's number of the IKE_SA; rekeying changes it.
	UniqueID string `json:"uniqueId,omitempty"`
	// SPIIn and SPIOut are the ESP SPIs in hexadecimal. Rekeying changes them.
	SPIIn  string `json:"spiIn,omitempty"`
	SPIOut string `json:"spiOut,omitempty"`
	// The counters are of the current SAs, so rekeying restarts them.
	BytesIn    uint64 `json:"bytesIn"`
	BytesOut   uint64 `json:"bytesOut"`
	PacketsIn  uint64 `json:"packetsIn"`
	PacketsOut uint64 `json:"packetsOut"`
	// RekeyInSeconds is the time until the ESP SA is replaced.
	RekeyInSeconds int64 `json:"rekeyInSeconds,omitempty"`
	// LastError is why the tunnel last went down or did not come up, or who was refused, and LastErrorAt when that was. A
	// tunnel that came back keeps them.
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
	// Disabled tells that neither end may dial.
	Disabled bool `json:"disabled,omitempty"`
}

// tunnel is what the Manager remembers about an interface: what charon's events said, and our own dialling. SAs are
// followed for undeclared ones too, as an interface may be declared when its SA stands already. The Manager's mu guards
// it.
type tunnel struct {
	tenant   string
	declared bool
	want     Interface
	children map[string]child // CHILD_SAs that are up, by id
	ikes     map[string]ike   // IKE_SAs that were established, by id
	since    time.Time
	failed   bool // unreachable: the peer did not answer, or refused
	told     bool // that it is unreachable
	reason   string
	reasonAt time.Time
	dial     dialing
	waiting  []chan<- error // for the outcome of a dial
	// sweepAt is when to look for SAs that must go; zero when there is no cause to.
	sweepAt, sweptAt time.Time
}

// ike and child are SAs as charon told of them last, and when that was: what they say of time counts from then on.
type ike struct {
	ikeSA
	at time.Time
}

type child struct {
	childSA
	ike string // the id of its IKE_SA
	at  time.Time
}

func (t *tunnel) up() bool { return len(t.children) > 0 }

// state is the state as far as it is remembered.
func (t *tunnel) state() State {
	switch {
	case t.up():
		return Connected
	case t.failed:
		return Unreachable
	case t.dial.underWay():
		return Connecting
	}
	return Disconnected
}

// event is an Event about the tunnel as it stands.
func (t *tunnel) event(kind EventKind, reason string, now time.Time) Event {
	return Event{Tenant: t.tenant, Interface: t.want.Name, Kind: kind, Peer: t.peer(), Reason: reason, Time: now}
}

// explain notes why it is not up.
func (t *tunnel) explain(reason string, now time.Time) { t.reason, t.reasonAt = reason, now }

// unreachable notes that the peer does not answer, or refuses. It is dialled until it returns where we may dial.
func (t *tunnel) unreachable(now time.Time) {
	if !t.failed {
		t.since, t.failed = now, true
	}
	t.dial.redial = t.want.Initiate != Never
}

// reachable forgets that it was unreachable.
func (t *tunnel) reachable() { t.failed, t.told = false, false }

// adopt takes over the SAs that charon lists, and tells of the change to what was known.
func (t *tunnel) adopt(sas []ikeSA, now time.Time) (Event, bool) {
	wasUp := t.up()
	clear(t.children)
	clear(t.ikes)
	e := t.event("", "", now)
	for _, sa := range sas {
		if sa.state != ikeConnecting {
			t.ikes[sa.id] = ike{sa, now}
		}
		for _, c := range sa.children {
			if c.up() {
				t.children[c.id] = child{c, sa.id, now}
				t.since, e.Peer = now.Add(-sa.established), sa.peer
			}
		}
	}
	t.suspect(now)
	switch {
	case t.up():
		t.reachable()
		t.dial.connected(now)
		e.Kind = Up
	case wasUp:
		e.Kind, e.Reason = Down, "charon was restarted"
		t.since = now
		t.explain(e.Reason, now)
	}
	return e, t.up() != wasUp
}

// peer is the address:port of an SA, or the declared destination.
func (t *tunnel) peer() string {
	for _, sa := range t.ikes {
		return sa.peer
	}
	return t.destination()
}

// destination is the declared address or name of the peer; empty where only the peer dials.
func (t *tunnel) destination() string {
	if t.want.PeerAddress.IsValid() {
		return t.want.PeerAddress.String()
	}
	return t.want.PeerHost
}

// suspect has the sweep look at the SAs soon if some may have to go.
func (t *tunnel) suspect(now time.Time) {
	if !t.declared {
		return
	}
	if len(t.children) > 1 || len(t.ikes) > 1 {
		t.sweepAt = now.Add(sweepDelay)
	}
	for _, sa := range t.ikes {
		if !sa.fits(t.want) {
			t.sweepAt, t.sweptAt = now, time.Time{}
		}
	}
}
