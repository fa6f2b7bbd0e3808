package filters_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/filters"
	"bulkhead/internal/nft"
)

// fragments cuts a packet in two. The second has no transport header.
func fragments(packet []byte) [][]byte {
	const size = 1000 // of the first one's payload, a multiple of eight octets
	if packet[0]>>4 == 4 {
		first, second := slices.Clone(packet[:20+size]), slices.Concat(packet[:20], packet[20+size:])
		binary.BigEndian.PutUint16(first[6:], 0x2000) // more fragments
		binary.BigEndian.PutUint16(second[6:], size/8)
		for _, f := range [][]byte{first, second} {
			binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
			binary.BigEndian.PutUint16(f[4:], 4711)
			binary.BigEndian.PutUint16(f[10:], 0)
			binary.BigEndian.PutUint16(f[10:], checksum(f[:20]))
		}
		return [][]byte{first, second}
	}
	header := func(offset, more uint16) []byte { // RFC 8200, section 4.5
		return append(binary.BigEndian.AppendUint16([]byte{packet[6], 0}, offset|more), 0, 0, 0x47, 0x11)
	}
	first := slices.Concat(packet[:40], header(0, 1), packet[40:40+size])
	second := slices.Concat(packet[:40], header(size, 0), packet[40+size:])
	for _, f := range [][]byte{first, second} {
		binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
		f[6] = unix.IPPROTO_FRAGMENT
	}
	return [][]byte{first, second}
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// Only the first fragment has ports; nothing but the filter has the kernel put them together here.
func TestFragmentsAreJudgedByThePortsOfTheirDatagram(t *testing.T) {
	n := newNetwork(t)
	list := []filters.Rule{rule("any:any:UDP:0:5353", "", "", unix.IPPROTO_UDP, destinationPorts(5353, 5353))}
	for _, arriving := range []bool{true, false} {
		f := filters.Filter{Link: "IfCe1", Arriving: true, Rules: list}
		if !arriving {
			f.Link, f.Arriving = "IfCi1", false
		}
		for _, c := range []struct {
			pass bool
			port uint16
			fate string
		}{
			{false, 5353, "passed"}, {false, 5354, "not-allowed"}, {true, 5353, "forbidden"}, {true, 5354, "passed"},
		} {
			f.Pass = c.pass
			set(t, n, f)
			for _, addresses := range [][2]string{{"10.1.0.10", "10.0.0.10"}, {"fd01::10", "fd00::10"}} {
				for _, turned := range []bool{false, true} {
					token := n.token()
					parts := fragments(build(t, addresses[0], addresses[1], udp(1, c.port), append(make([]byte, 1200), token...)))
					if turned {
						slices.Reverse(parts)
					}
					if got := n.fate(t, n.site, token, parts...); got != c.fate {
						t.Errorf("arriving %v, pass %v: fragments from %s to port %d (turned: %v): %s, want %s", arriving, c.pass,
							addresses[0], c.port, turned, got, c.fate)
					}
				}
			}
		}
	}
}

// Both directions of both links at once, each with its own list.
func TestEachLinkAndDirectionHasItsOwnFilter(t *testing.T) {
	n := newNetwork(t)
	only := func(port uint16) []filters.Rule {
		return []filters.Rule{rule("port", "", "", unix.IPPROTO_UDP, destinationPorts(port, port))}
	}
	set(t, n,
		filters.Filter{Link: "IfCe1", Arriving: true, Pass: true, Rules: only(1)},
		filters.Filter{Link: "IfCe1", Pass: true, Rules: only(2)},
		filters.Filter{Link: "IfCi1", Arriving: true, Pass: true, Rules: only(3)},
		filters.Filter{Link: "IfCi1", Pass: true, Rules: only(4)},
	)
	for port, want := range []string{"", "forbidden passed", "passed forbidden", "passed forbidden", "forbidden passed"} {
		if port == 0 {
			continue
		}
		got := n.try(t, probe{"10.1.0.10 10.0.0.10", udp(9, uint16(port))}) + " " +
			n.try(t, probe{"10.0.0.10 10.1.0.10", udp(9, uint16(port))})
		if got != want {
			t.Errorf("port %d from the site and to it: %s, want %s", port, got, want)
		}
	}
}

func TestAnEmptyListDropsAllOrPassesAll(t *testing.T) {
	n := newNetwork(t)
	for _, pass := range []bool{true, false} {
		set(t, n, filters.Filter{Link: "IfCe1", Arriving: true, Pass: pass})
		want := "not-allowed"
		if pass {
			want = "passed"
		}
		for _, addresses := range []string{"10.1.0.10 10.0.0.10", "fd01::10 fd00::10"} {
			if got := n.try(t, probe{addresses, udp(1, 2)}); got != want {
				t.Errorf("pass %v, %s: %s, want %s", pass, addresses, got, want)
			}
		}
	}
}

// Stateless as the book has it, a filter drops replies too; with Established it lets them pass, and nothing else.
func TestRepliesPassOnlyWhereTheFilterSaysSo(t *testing.T) {
	n := newNetwork(t)
	vmToSite, siteToVM := "10.0.0.10 10.1.0.10", "10.1.0.10 10.0.0.10"
	for _, established := range []bool{false, true} {
		set(t, n, filters.Filter{Link: "IfCe1", Arriving: true, Established: established, Rules: []filters.Rule{
			rule("any:any:TCP:0:443", "", "", unix.IPPROTO_TCP, destinationPorts(443, 443)),
		}})
		reply := "not-allowed"
		if established {
			reply = "passed"
		}
		port := uint16(1000)
		if established {
			port = 2000
		}
		for _, c := range []struct {
			name string
			probe
			want string
		}{
			{"a reply to nothing", probe{siteToVM, tcp(80, port, "SYN", "ACK")}, "not-allowed"},
			{"a connection's first packet", probe{vmToSite, tcp(port, 80, "SYN")}, "passed"},
			{"its reply", probe{siteToVM, tcp(80, port, "SYN", "ACK")}, reply},
			{"a question", probe{vmToSite, udp(port, 53)}, "passed"},
			{"its answer", probe{siteToVM, udp(53, port)}, reply},
			{"another's answer", probe{siteToVM, udp(54, port)}, "not-allowed"},
			{"an allowed connection", probe{siteToVM, tcp(port, 443, "SYN")}, "passed"},
			{"its answer", probe{vmToSite, tcp(443, port, "SYN", "ACK")}, "passed"},
			{"its third packet", probe{siteToVM, tcp(port, 443, "ACK")}, "passed"},
		} {
			if got := n.try(t, c.probe); got != c.want {
				t.Errorf("established %v: %s: %s, want %s", established, c.name, got, c.want)
			}
		}
		// An error about the question, which is of another protocol.
		token := n.token()
		about := build(t, "10.0.0.10", "10.1.0.10", udp(port, 53), token)
		got := n.fate(t, n.site, token, build(t, "10.1.0.10", "10.0.0.10", icmp(3, 3), about))
		if got != reply {
			t.Errorf("established %v: an error about the question: %s, want %s", established, got, reply)
		}
	}
	// Who may no longer connect is cut off at once, whatever was established: the filter lets replies pass, not sessions.
	set(t, n, filters.Filter{Link: "IfCe1", Arriving: true, Established: true})
	if got := n.try(t, probe{siteToVM, tcp(2000, 443, "ACK")}); got != "not-allowed" {
		t.Errorf("a packet of a connection that is not allowed any more: %s", got)
	}
}

// What a filter drops on its way out must not have dialled a tunnel before: other hooks come after it.
func TestADroppedPacketMeetsNoLaterHook(t *testing.T) {
	n := newNetwork(t)
	all := nft.Cover([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, nil)
	met := nft.Join(nft.To("IfCe1"), nft.IPv4.DestinationIn("all"), nft.Count("met"))
	later := *nftables.ChainPriorityFilter
	_, err := nft.Apply(n.gw, nft.Table{
		Name: "later", Counters: []string{"met"}, Sets: []nft.Set{nft.IPv4.Ranges("all", all)},
		Chains: []nft.Chain{
			{Name: "f", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookForward, Priority: later, Rules: []nft.Rule{met}},
			{Name: "o", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookOutput, Priority: later, Rules: []nft.Rule{met}},
		},
	})
	must(t, err)
	set(t, n, filters.Filter{Link: "IfCe1"})
	if got := n.try(t, probe{"10.0.0.10 10.1.0.10", udp(1, 2)}); got != "not-allowed" {
		t.Errorf("forwarded: %s", got)
	}
	if err := say(n, "10.1.0.10:7"); err == nil {
		t.Error("the compartment's own packet was not refused")
	}
	counters, err := nft.Counters(n.gw, "later")
	must(t, err)
	if got := counters["met"].Packets; got != 0 {
		t.Errorf("%d packets met a later hook, want none", got)
	}
	if got := drops(t, n.gw)["not-allowed"]; got != 2 {
		t.Errorf("not-allowed counts %d, want 2", got)
	}
	set(t, n, filters.Filter{Link: "IfCe1", Pass: true})
	must(t, say(n, "10.1.0.10:7"))
}

// say sends a datagram from the compartment itself.
func say(n *network, to string) error {
	return n.gw.Do(func() error {
		c, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("own"))
		return err
	})
}

// The compartment finds its neighbours through any filter, but nobody passes a packet off as such a message.
func TestNeighbourDiscoveryIsNotFiltered(t *testing.T) {
	n := newNetwork(t)
	for _, c := range []struct {
		pass bool
		list filters.Rule
		fate string
	}{
		{true, rule("any:any:ICMPv6", "", "", unix.IPPROTO_ICMPV6), "forbidden"},
		{false, rule("any:any:UDP", "", "", unix.IPPROTO_UDP), "not-allowed"},
	} {
		f := filters.Filter{Link: "IfCe1", Pass: c.pass, Rules: []filters.Rule{c.list}}
		arriving := f
		arriving.Arriving = true
		set(t, n, f, arriving)
		h, err := n.gw.Netlink()
		must(t, err)
		neighbour := n.findNeighbour(t)
		link, err := h.LinkByName("IfCe1")
		must(t, err)
		must(t, h.NeighDel(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: net.ParseIP(neighbour)}))
		h.Close()
		for name, hops := range map[string]byte{"from the link": 255, "from afar": 64} {
			// One for another link would be forwarded as any packet is.
			token := n.token()
			packet := build(t, "fd01::10", "fd00::10", icmp6(135, 0), token)
			packet[7] = hops
			if got := n.fate(t, n.site, token, packet); got != c.fate {
				t.Errorf("pass %v: a solicitation %s: %s, want %s", c.pass, name, got, c.fate)
			}
		}
	}
}

// findNeighbour has the compartment send to a machine of the site that it does not know, and answers its question.
func (n *network) findNeighbour(t *testing.T) string {
	t.Helper()
	const address = "fd01::20"
	must(t, say(n, "["+address+"]:7"))
	const icmpAt, typeSolicitation, typeAdvertisement = 14 + 40, 135, 136
	answer := slices.Concat(netip.MustParseAddr(address).AsSlice(), []byte{2, 1}, n.site.far) // RFC 4861, section 4.4
	for end := time.After(timeout); ; {
		select {
		case frame := <-n.site.seen:
			switch {
			case bytes.HasSuffix(frame, []byte("own")):
				return address
			case len(frame) > icmpAt && frame[12] == 0x86 && frame[icmpAt] == typeSolicitation:
				packet := build(t, address, "fd01::1", icmp6(typeAdvertisement, 0), answer)
				packet[7] = 255
				n.site.send(t, packet)
			}
		case <-end:
			t.Fatal("the compartment does not find its neighbour")
		}
	}
}
