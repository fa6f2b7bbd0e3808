package nat

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gaissmai/bart"
	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// Session is a translated connection. For ICMP echo the identifier stands in place of both ports.
type Session struct {
	// Protocol is tcp, udp, icmp, icmpv6 or a protocol number.
	Protocol string `json:"protocol"`
	// Source and Destination as the initiator's packets carry them before translation.
	Source      netip.AddrPort `json:"source"`
	Destination netip.AddrPort `json:"destination"`
	// TranslatedSource and TranslatedDestination as those packets carry them after translation.
	TranslatedSource      netip.AddrPort `json:"translatedSource"`
	TranslatedDestination netip.AddrPort `json:"translatedDestination"`
	// State of a TCP connection as conntrack names it, replied or unreplied for other protocols.
	State string `json:"state"`
	// Timeout is how long the session lives without another packet.
	Timeout time.Duration `json:"timeout"`
}

// Sessions lists the translated connections of a compartment, ordered by protocol and source.
func Sessions(ns *netns.Namespace) ([]Session, error) {
	conn, err := dial(ns)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	flows, err := conn.Dump(nil)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	var out []Session
	for _, f := range flows {
		if f.Status.SrcNAT() || f.Status.DstNAT() {
			out = append(out, session(f))
		}
	}
	slices.SortFunc(out, func(a, b Session) int {
		if a.Protocol != b.Protocol {
			return strings.Compare(a.Protocol, b.Protocol)
		}
		return a.Source.Compare(b.Source)
	})
	return out, nil
}

// Forget ends the sessions to destinations in the prefixes that were translated to the Internet, and says how many.
// It is for a site whose route comes, or comes back (law 1): its packets take the tunnel then, untranslated. A site that
// speaks BGP may have a hundred thousand prefixes.
func Forget(ctx context.Context, ns *netns.Namespace, prefixes []netip.Prefix) (int, error) {
	sites := setOf(prefixes)
	return forget(ctx, ns, func(s Session, f conntrack.Flow) bool { return s.leavesFor(sites, f.Status) })
}

func setOf(prefixes []netip.Prefix) *bart.Lite {
	set := new(bart.Lite)
	for _, p := range prefixes {
		set.Insert(p.Masked())
	}
	return set
}

// forgetUndeclared ends the sessions that are translated in a way that is not declared (any more).
func forgetUndeclared(ctx context.Context, ns *netns.Namespace, want Config) error {
	sites := setOf(want.Protected)
	_, err := forget(ctx, ns, func(s Session, f conntrack.Flow) bool {
		return (s.hasOtherSource() && !want.hasAddress(s)) || (f.Status.DstNAT() && !want.hasMapping(s)) ||
			s.leavesFor(sites, f.Status)
	})
	return err
}

// leavesFor tells whether the session was translated on its way to the Internet, to a destination in the prefixes.
func (s Session) leavesFor(sites *bart.Lite, status conntrack.Status) bool {
	return s.hasOtherSource() && !status.DstNAT() && sites.Contains(s.Destination.Addr())
}

// hasOtherSource tells whether the source address was translated. Conntrack says so of a changed port too, which it
// does by itself where two sessions would clash.
func (s Session) hasOtherSource() bool { return s.Source.Addr() != s.TranslatedSource.Addr() }

func (c Config) hasAddress(s Session) bool {
	return slices.ContainsFunc(c.Addresses, func(a Address) bool { return a.owns(s.TranslatedSource) })
}

func (c Config) hasMapping(s Session) bool {
	return slices.ContainsFunc(c.Mappings, func(m Mapping) bool {
		return protocolName(m.Protocol.number()) == s.Protocol && m.External == s.Destination &&
			m.Internal == s.TranslatedDestination
	})
}

func forget(ctx context.Context, ns *netns.Namespace, match func(Session, conntrack.Flow) bool) (int, error) {
	conn, err := dial(ns)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	flows, err := conn.Dump(nil)
	if err != nil {
		return 0, fmt.Errorf("list sessions: %w", err)
	}
	var errs []error
	forgotten := 0
	for _, f := range flows {
		if err := ctx.Err(); err != nil {
			return forgotten, errors.Join(append(errs, err)...)
		}
		s := session(f)
		if !match(s, f) {
			continue
		}
		// The identifier makes sure that it is this session that ends, not a newer one of the same addresses.
		one := conntrack.Flow{ID: f.ID, Zone: f.Zone, TupleOrig: f.TupleOrig, TupleReply: f.TupleReply}
		err := conn.Delete(one)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("forget the %s session from %v to %v: %w",
				s.Protocol, s.Source, s.Destination, err))
			continue
		}
		forgotten++
	}
	return forgotten, errors.Join(errs...)
}

// socketBuffer holds what the kernel sends of a large table at once.
const socketBuffer = 4 << 20

func dial(ns *netns.Namespace) (*conntrack.Conn, error) {
	conn, err := conntrack.Dial(&netlink.Config{NetNS: ns.Fd()})
	if err != nil {
		return nil, fmt.Errorf("open connection tracking: %w", err)
	}
	if err := conn.SetReadBuffer(socketBuffer); err != nil {
		return nil, errors.Join(fmt.Errorf("open connection tracking: %w", err), conn.Close())
	}
	return conn, nil
}

// session reads a flow. What leaves after translation is what the reply's tuple answers to.
func session(f conntrack.Flow) Session {
	s := Session{
		Protocol: protocolName(f.TupleOrig.Proto.Protocol),
		State:    "unreplied",
		Timeout:  time.Duration(f.Timeout) * time.Second,
	}
	s.Source, s.Destination = ends(f.TupleOrig)
	s.TranslatedDestination, s.TranslatedSource = ends(f.TupleReply)
	if f.Status.SeenReply() {
		s.State = "replied"
	}
	if tcp := f.ProtoInfo.TCP; tcp != nil && int(tcp.State) < len(tcpStates) {
		s.State = tcpStates[tcp.State]
	}
	return s
}

func ends(t conntrack.Tuple) (source, destination netip.AddrPort) {
	from, to := t.Proto.SourcePort, t.Proto.DestinationPort
	if t.Proto.ICMPv4 || t.Proto.ICMPv6 {
		from, to = t.Proto.ICMPID, t.Proto.ICMPID
	}
	return netip.AddrPortFrom(t.IP.SourceAddress, from), netip.AddrPortFrom(t.IP.DestinationAddress, to)
}

// tcpStates are the names of enum tcp_conntrack, in its order.
var tcpStates = []string{
	"none", "syn-sent", "syn-received", "established", "fin-wait", "close-wait", "last-ack", "time-wait", "close",
	"syn-sent2",
}

func protocolName(number byte) string {
	switch number {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_ICMP:
		return "icmp"
	case unix.IPPROTO_ICMPV6:
		return "icmpv6"
	}
	return strconv.Itoa(int(number))
}
