package compartments

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// Packet is a packet as routing sees it.
type Packet struct {
	From, To netip.Addr
	// Link that it arrived on; empty for one that the compartment itself sends.
	Link string
	// Protocol is its number (IANA); equal routes are chosen by it and the ports.
	Protocol                    uint8
	SourcePort, DestinationPort uint16
}

// Way is where routing leads a packet.
type Way struct {
	// Local tells that it is for the compartment itself.
	Local bool
	// Refused is why it goes nowhere, in words; empty where it goes on. Answered tells whether an ICMP error says so.
	Refused  string
	Answered bool
	// NextHop is the link that it leaves by, and the router there.
	NextHop
	// Route is the one that was taken. It is the zero route where none matches.
	Route RouteState
}

// Lookup asks the kernel where it would route a packet in a compartment, without sending one.
func (m *Manager) Lookup(ns *netns.Namespace, p Packet) (Way, error) {
	h, err := ns.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return Way{}, err
	}
	defer h.Close()
	links, err := dump(h.LinkList)
	if err != nil {
		return Way{}, fmt.Errorf("list links: %w", err)
	}
	names, arriving := make(map[int]string, len(links)), 0
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		if l.Attrs().Name == p.Link {
			arriving = l.Attrs().Index
		}
	}
	if p.Link != "" && arriving == 0 {
		return Way{}, fmt.Errorf("find a route: there is no link %s", p.Link)
	}
	routes, err := routeStates(h, names)
	if err != nil {
		return Way{}, err
	}
	best := bestRoute(routes, p.To)
	answer, err := askRoute(ns, p, arriving, 0)
	if refused, answered, ok := refusal(err); ok {
		return Way{Refused: refused, Answered: answered, Route: best}, nil
	}
	if err != nil {
		return Way{}, fmt.Errorf("ask the kernel for a route to %v: %w", p.To, err)
	}
	w := Way{Local: answer.kind == unix.RTN_LOCAL, NextHop: NextHop{Link: names[answer.link], Via: answer.via}, Route: best}
	if refused, answered, ok := refusal(answer.err()); ok {
		w.Refused, w.Answered, w.NextHop = refused, answered, NextHop{}
	}
	// Which route it was only newer kernels tell of IPv6, and none of a local address.
	if matched, err := askRoute(ns, p, arriving, unix.RTM_F_FIB_MATCH); err == nil {
		for _, r := range routes {
			if r.Prefix == netip.PrefixFrom(p.To, matched.bits).Masked() && r.Metric == matched.metric {
				w.Route = r
			}
		}
	}
	return w, nil
}

// bestRoute is the route of the main table that counts for a destination.
func bestRoute(routes []RouteState, to netip.Addr) (best RouteState) {
	for _, r := range routes {
		if !r.Prefix.Contains(to) {
			continue
		}
		longer := r.Prefix.Bits() - best.Prefix.Bits()
		if !best.Prefix.IsValid() || longer > 0 || longer == 0 && r.Metric < best.Metric {
			best = r
		}
	}
	return best
}

// refusal puts into words how the kernel refuses a packet, and whether it answers with an ICMP error.
func refusal(err error) (words string, answered, ok bool) {
	switch {
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return "unreachable", true, true
	case errors.Is(err, unix.EACCES):
		return "prohibited", true, true
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EXDEV):
		return "no packet that can arrive there (its source is the compartment's own, or it is a blackhole route)", false, true
	}
	return "", false, false
}

// routeAnswer is the kernel's answer to a question for a route.
type routeAnswer struct {
	kind   uint8
	bits   int // of the prefix
	link   int
	via    netip.Addr
	metric uint32
}

// err is what a route that refuses packets would say of one.
func (a routeAnswer) err() error {
	switch a.kind {
	case unix.RTN_UNREACHABLE:
		return unix.EHOSTUNREACH
	case unix.RTN_PROHIBIT:
		return unix.EACCES
	case unix.RTN_BLACKHOLE:
		return unix.EINVAL
	}
	return nil
}

// askRoute asks for a route (rtnetlink(7), RTM_GETROUTE).
func askRoute(ns *netns.Namespace, p Packet, arriving int, flags uint32) (routeAnswer, error) {
	rtmsg := make([]byte, unix.SizeofRtMsg)
	rtmsg[0], rtmsg[1] = unix.AF_INET6, uint8(p.To.BitLen())
	if p.To.Is4() {
		rtmsg[0] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(rtmsg[8:], flags)
	attrs := mdnetlink.NewAttributeEncoder()
	attrs.Bytes(unix.RTA_DST, p.To.AsSlice())
	if p.From.IsValid() {
		rtmsg[2] = uint8(p.From.BitLen())
		attrs.Bytes(unix.RTA_SRC, p.From.AsSlice())
	}
	if arriving != 0 {
		attrs.Uint32(unix.RTA_IIF, uint32(arriving))
	}
	switch p.Protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP:
		attrs.Uint8(unix.RTA_IP_PROTO, p.Protocol)
		attrs.Bytes(unix.RTA_SPORT, binary.BigEndian.AppendUint16(nil, p.SourcePort))
		attrs.Bytes(unix.RTA_DPORT, binary.BigEndian.AppendUint16(nil, p.DestinationPort))
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		attrs.Uint8(unix.RTA_IP_PROTO, p.Protocol)
	}
	encoded, err := attrs.Encode()
	if err != nil {
		return routeAnswer{}, err
	}
	answers, err := rtnetlink(ns, unix.RTM_GETROUTE, 0, append(rtmsg, encoded...))
	if err != nil {
		return routeAnswer{}, err
	}
	for _, a := range answers {
		if a.Header.Type == unix.RTM_NEWROUTE && len(a.Data) >= unix.SizeofRtMsg {
			return parseRouteAnswer(a.Data)
		}
	}
	return routeAnswer{}, errors.New("the kernel gives no answer")
}

func parseRouteAnswer(b []byte) (routeAnswer, error) {
	a := routeAnswer{kind: b[7], bits: int(b[1])}
	attrs, err := mdnetlink.NewAttributeDecoder(b[unix.SizeofRtMsg:])
	if err != nil {
		return a, err
	}
	for attrs.Next() {
		switch attrs.Type() {
		case unix.RTA_OIF:
			a.link = int(attrs.Uint32())
		case unix.RTA_GATEWAY:
			a.via, _ = netip.AddrFromSlice(attrs.Bytes())
		case unix.RTA_PRIORITY:
			a.metric = attrs.Uint32()
		}
	}
	return a, attrs.Err()
}

// Spoofed tells whether a packet that arrives on a link is dropped because of its source (law 7), as the compartment's
// filter does.
func (c Config) Spoofed(link string, from netip.Addr) bool {
	inside := append([]netip.Prefix{}, loopback...)
	inside = append(inside, c.VirtualPrefixes...)
	outside := false
	for _, l := range c.Links {
		outside = outside || l.Outside && l.Name == link
		for _, a := range l.Addresses {
			inside = append(inside, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
	}
	for _, p := range inside {
		if outside && p.Contains(from) {
			return true
		}
	}
	return false
}
