package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
)

// Packet is a packet as NAT sees it. Of an ICMP echo the identifier stands in place of both ports.
type Packet struct {
	Protocol            uint8
	Source, Destination netip.AddrPort
}

// Passage is what NAT does to a packet on its way through a compartment. It is told from the declaration and from the
// sessions that conntrack holds, without sending anything.
type Passage struct {
	// Packet as it goes on. A translated source keeps its port here; where another session to the same destination has it
	// already, the kernel takes another.
	Packet
	// Reason is the counter under which the packet is dropped; empty where it goes on. Answered tells whether its sender
	// is told by an ICMP error.
	Reason   string
	Answered bool
	// Session is the one that the packet belongs to; nil where it begins one.
	Session *Session
	// Mapped tells that the destination was translated.
	Mapped bool
	// FirstPort and LastPort bound what the port of a translated source may become, where the address is shared; else 0.
	FirstPort, LastPort uint16

	reply, seenReply bool
	link             string // that it arrived on; empty for the compartment's own
}

// Reply tells that the packet answers one that was seen before.
func (w Passage) Reply() bool { return w.reply }

// Arrive tells what is done to a packet before routing: that arrived on a link, or, where that is empty, that the
// compartment itself sends.
func (c Config) Arrive(ns *netns.Namespace, link string, p Packet) (Passage, error) {
	w := Passage{Packet: p, link: link}
	if c.isZero() {
		return w, w.find(ns)
	}
	outside := link == c.Link
	if outside && within(nft.Cover(private, c.PrivateDestinations), p.Source.Addr()) {
		w.Reason = privateSource
		return w, nil
	}
	if err := w.find(ns); err != nil {
		return w, err
	}
	switch {
	case w.Session != nil && w.reply:
		w.Destination = w.Session.Source
	case w.Session != nil:
		w.Destination = w.Session.TranslatedDestination
	case link != "":
		w.Destination = c.mapped(p)
	}
	w.Mapped = !w.reply && w.Destination != p.Destination
	if outside && !w.reply && !w.seenReply && !w.Mapped {
		w.Reason = fromInternet
	}
	return w, nil
}

// Leave tells what is done to it after routing, where it leaves by a link.
func (c Config) Leave(w Passage, link string) Passage {
	if c.isZero() {
		return w
	}
	if link == c.Link {
		switch to := w.Destination.Addr(); {
		case within(nft.Cover(c.Protected, nil), to):
			w.Reason, w.Answered = siteInClear, true
			return w
		case within(nft.Cover(private, c.PrivateDestinations), to):
			w.Reason, w.Answered = privateDestination, true
			return w
		}
	}
	switch {
	case w.Session != nil && w.reply:
		w.Source = w.Session.Destination
	case w.Session != nil:
		w.Source = w.Session.TranslatedSource
	case w.link != c.Link && (link == c.Link || w.Mapped):
		c.translateSource(&w)
	}
	if link == c.Link && !slices.ContainsFunc(c.Addresses, func(a Address) bool { return a.Address == w.Source.Addr() }) {
		w.Reason = untranslated
	}
	return w
}

func within(ranges []nft.Range, a netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(r nft.Range) bool {
		return r.First.BitLen() == a.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
	})
}

// mapped is the destination that a static mapping gives to a packet.
func (c Config) mapped(p Packet) netip.AddrPort {
	for _, m := range c.Mappings {
		if m.Protocol.number() == p.Protocol && m.External == p.Destination {
			return m.Internal
		}
	}
	return p.Destination
}

// translateSource gives a packet the address that the rules of translate choose for it.
func (c Config) translateSource(w *Passage) {
	source := w.Source.Addr()
	all := slices.DeleteFunc(slices.Clone(c.Addresses), func(a Address) bool {
		return a.Address.Is4() != source.Is4() || !a.whole() && !slices.Contains(ported[:], w.Protocol)
	})
	if len(all) == 0 {
		return
	}
	a := all[hashClass(source, uint32(len(all)))]
	port := w.Source.Port()
	if !a.whole() {
		w.FirstPort, w.LastPort = a.First, a.Last
		if port < a.First || port > a.Last {
			port = a.First
		}
	}
	w.Source = netip.AddrPortFrom(a.Address, port)
}

// find looks for the session that a packet belongs to.
func (w *Passage) find(ns *netns.Namespace) error {
	conn, err := dial(ns)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	want := tuple(w.Packet)
	// The kernel goes by the first tuple; the library takes the address family from both.
	flow, err := conn.Get(conntrack.Flow{TupleOrig: want, TupleReply: want})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a session from %v to %v: %w", w.Source, w.Destination, err)
	}
	s := session(flow)
	w.Session, w.seenReply = &s, flow.Status.SeenReply()
	w.reply = flow.TupleOrig.IP != want.IP || s.Source != w.Source || s.Destination != w.Destination
	return nil
}

// tuple is what conntrack would know a packet by. A traced ICMP packet is an echo request.
func tuple(p Packet) conntrack.Tuple {
	t := conntrack.Tuple{IP: conntrack.IPTuple{
		SourceAddress: p.Source.Addr(), DestinationAddress: p.Destination.Addr(),
	}}
	t.Proto.Protocol = p.Protocol
	switch p.Protocol {
	case unix.IPPROTO_ICMP:
		t.Proto.ICMPv4, t.Proto.ICMPType, t.Proto.ICMPID = true, 8, p.Source.Port()
	case unix.IPPROTO_ICMPV6:
		t.Proto.ICMPv6, t.Proto.ICMPType, t.Proto.ICMPID = true, 128, p.Source.Port()
	default:
		t.Proto.SourcePort, t.Proto.DestinationPort = p.Source.Port(), p.Destination.Port()
	}
	return t
}
