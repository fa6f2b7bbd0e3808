package dataplane

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/uuid"
)

// EventKind says what became of a lookup record.
type EventKind uint8

// The kinds of events.
const (
	// Learned says that a Dynamic record was made, or a Stale record proved right.
	Learned EventKind = iota + 1
	// Aged says that a Dynamic record went, because its machine was silent.
	Aged
	// Moved says that a record points at another provider address: because its former host said so ([MS-NVGREE]
	// REDIRECT), because the machine was heard from there, or because its L2Only record has that now.
	Moved
	// Stale says that the host that a record names denies that it has the customer address ([MS-NVGREE] UNREACHABLE). A
	// Dynamic record is gone with it.
	Stale
	// Refused says that a message that claims one of these was not believed.
	Refused
)

func (k EventKind) String() string {
	switch k {
	case Learned:
		return "learned"
	case Aged:
		return "aged"
	case Moved:
		return "moved"
	case Stale:
		return "stale"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("event kind %d", uint8(k))
}

// Event tells what messages from the provider network changed in a tenant's lookup records, or were refused to change.
type Event struct {
	// Tenant is the tenant's name, RoutingDomain what it is known by.
	Tenant        string
	RoutingDomain uuid.UUID
	Kind          EventKind
	CA            netip.Addr
	VSID          uint32
	// MAC is the machine's; nil where it is not known.
	MAC net.HardwareAddr
	// PA is what the record names now or, in a refusal, who sent the message. OldPA is where a record that moved pointed
	// before.
	PA, OldPA netip.Addr
	// Reason says why a message was refused.
	Reason string
}
