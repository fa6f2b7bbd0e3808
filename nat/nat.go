// Package nat translates between a compartment and the Internet: sources to the tenant's public addresses, static
// mappings to inside servers, and the guards that let nothing else through. It works with nftables and connection
// tracking of the compartment's namespace.
//
// The rules go by the link's name, so that they can stand before the link comes up.
package nat

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"bulkhead/internal/drops"
	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
)

// Config is everything that NAT does in one compartment. The zero Config is no NAT.
type Config struct {
	// Link towards the Internet, by name.
	Link string
	// Addresses that inside sources are translated to. With several of a family each inside host keeps one of them,
	// chosen by a hash of its own address.
	Addresses []Address
	// Mappings from public ports to inside servers.
	Mappings []Mapping
	// PrivateDestinations are private prefixes that may be reached by the link nevertheless, and that packets may come
	// from.
	PrivateDestinations []netip.Prefix
	// Protected are the prefixes of the tenant's sites: nothing for them leaves by the link, whatever the routes say.
	Protected []netip.Prefix
}

// Address is a public address of the tenant.
type Address struct {
	// Address that the tenant's packets carry on the Internet.
	Address netip.Addr
	// First and Last bound the ports (of TCP and UDP) and identifiers (of ICMP echo) that the tenant has of an address
	// which it shares; both 0 where the whole address is its own. Other protocols need a whole address.
	First, Last uint16
}

func (a Address) whole() bool { return a.First == 0 && a.Last == 0 }

// owns tells whether translation to the address and port is within what the tenant has.
func (a Address) owns(ap netip.AddrPort) bool {
	return a.Address == ap.Addr() && (a.whole() || (a.First <= ap.Port() && ap.Port() <= a.Last))
}

// Mapping leads connections to a public port to an inside server.
type Mapping struct {
	// Protocol is TCP or UDP.
	Protocol Protocol
	// External is the public address and port.
	External netip.AddrPort
	// Internal is the server's address and port.
	Internal netip.AddrPort
}

// Protocol is a transport protocol with ports.
type Protocol string

// The protocols that can be mapped.
const (
	TCP Protocol = "TCP"
	UDP Protocol = "UDP"
)

func (p Protocol) number() byte {
	if p == UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// Set makes NAT in the compartment what is declared, in one transaction; with nothing changed it writes nothing.
// Counters go on, and so do sessions, except those whose translation is declared no longer or that are for a protected
// prefix: they are forgotten. It is to be called before the link comes up.
func Set(ctx context.Context, ns *netns.Namespace, want Config) error {
	if want.isZero() {
		removed, err := nft.Remove(ns, tableName)
		if err != nil || !removed {
			return err
		}
		return forgetUndeclared(ctx, ns, want)
	}
	if err := want.check(); err != nil {
		return fmt.Errorf("nat: %w", err)
	}
	changed, err := nft.Apply(ns, want.table())
	if err != nil || !changed {
		return err
	}
	return forgetUndeclared(ctx, ns, want)
}

func (c Config) isZero() bool {
	return c.Link == "" && len(c.Addresses) == 0 && len(c.Mappings) == 0 &&
		len(c.PrivateDestinations) == 0 && len(c.Protected) == 0
}

// check finds what would make rules that do not do what the declaration says.
func (c Config) check() error {
	var errs []error
	if c.Link == "" {
		errs = append(errs, errors.New("the link towards the Internet is missing"))
	}
	for _, a := range c.Addresses {
		if !a.Address.IsValid() || a.Last < a.First || (a.First == 0 && !a.whole()) {
			errs = append(errs, fmt.Errorf("address %v with ports %d-%d: not an address with ports in order from 1",
				a.Address, a.First, a.Last))
		}
	}
	seen := map[string]bool{}
	for _, m := range c.Mappings {
		name := fmt.Sprintf("mapping %s %v", m.Protocol, m.External)
		switch {
		case m.Protocol != TCP && m.Protocol != UDP:
			errs = append(errs, fmt.Errorf("%s: the protocol is neither TCP nor UDP", name))
		case !m.External.IsValid() || !m.Internal.IsValid() || m.External.Port() == 0 || m.Internal.Port() == 0:
			errs = append(errs, fmt.Errorf("%s to %v: both need an address and a port", name, m.Internal))
		case m.External.Addr().Is4() != m.Internal.Addr().Is4():
			errs = append(errs, fmt.Errorf("%s to %v: the address families differ", name, m.Internal))
		case seen[name]:
			errs = append(errs, fmt.Errorf("%s: mapped twice", name))
		}
		seen[name] = true
	}
	return errors.Join(errs...)
}

// Drops reads how many packets the guards dropped, by reason. The caller fills in the tenant.
func Drops(ns *netns.Namespace) ([]drops.Drop, error) {
	counters, err := nft.Counters(ns, tableName)
	if err != nil {
		return nil, fmt.Errorf("drops of nat: %w", err)
	}
	var out []drops.Drop
	for _, reason := range reasons {
		if c, ok := counters[reason]; ok {
			out = append(out, drops.Drop{Where: "nat", Reason: reason, Packets: c.Packets, Bytes: c.Bytes})
		}
	}
	return out, nil
}
