package nat_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"bulkhead/internal/nft"
	"bulkhead/nat"
)

// sniff counts what reaches the Internet from the compartment: all of it, and what has a private source.
func sniff(t *testing.T, n network) {
	t.Helper()
	inside := nft.Cover([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, nil)
	_, err := nft.Apply(n.internet, nft.Table{
		Name: "sniff", Counters: []string{"all", "private"},
		Sets: []nft.Set{nft.IPv4.Ranges("inside", inside)},
		Chains: []nft.Chain{{
			Name: "wan", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPrerouting, Priority: -300,
			Rules: []nft.Rule{
				nft.Join(nft.From("wan"), nft.Count("all")),
				nft.Join(nft.From("wan"), nft.IPv4.SourceIn("inside"), nft.Count("private")),
			},
		}},
	})
	must(t, err)
}

func wantSniffed(t *testing.T, n network, counter string, packets uint64) {
	t.Helper()
	counters, err := nft.Counters(n.internet, "sniff")
	must(t, err)
	if got := counters[counter].Packets; got != packets {
		t.Errorf("%d packets (%s) reached the Internet, want %d", got, counter, packets)
	}
}

// datagram sends one datagram and does not wait for an answer.
func datagram(t *testing.T, n network, from, to netip.AddrPort) {
	t.Helper()
	c, err := dial(t, n.internet, "udp", from, to)
	must(t, err)
	_, err = c.Write([]byte("?"))
	must(t, err)
}

func TestNothingUnaskedEntersFromTheInternet(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	sniff(t, n)
	// The compartment's BGP port, on every address; and a public address that the kernel itself has.
	serve(t, n.gw, "tcp", netip.MustParseAddrPort("0.0.0.0:179"))
	serve(t, n.gw, "udp", netip.MustParseAddrPort("0.0.0.0:179"))
	addresses(t, n.gw, "lo", "131.107.10.11/32")
	serve(t, n.server, "udp", at(srvAddr, 7))
	for i, to := range []netip.AddrPort{
		at(public, 179),                               // translated address, not the kernel's
		netip.MustParseAddrPort("10.0.0.1:179"),       // the inside address of the compartment
		at(netip.MustParseAddr("131.107.10.11"), 179), // input
		at(srvAddr, 7),                                // forward to an inside host
		at(public, 54),                                // beside a mapping
	} {
		datagram(t, n, at(web, 50000+uint16(i)), to)
		wantDropped(t, n, "from-internet", uint64(i+1))
	}
	raw(t, n.internet, tcpSegment(at(web, 50100), at(netip.MustParseAddr("131.107.10.11"), 179), flagSYN))
	wantDropped(t, n, "from-internet", 6)
	// What belongs to no connection gets no answer either, for instance a RST from a socket.
	raw(t, n.internet, tcpSegment(at(web, 50101), at(netip.MustParseAddr("131.107.10.11"), 179), flagACK))
	wantDropped(t, n, "from-internet", 7)
	// No bounce, no redirect, no error, no reply.
	wantSniffed(t, n, "all", 0)
	// A listener of the compartment serves the inside as before.
	if got := seenAs(t, n.vm, "tcp", netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.1:179")); got.Addr() != vmAddr {
		t.Errorf("the compartment sees %v", got)
	}
}

func TestExpiredPacketOfAMappingRevealsNoInsideAddress(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	sniff(t, n)
	c, err := dial(t, n.internet, "udp", at(web, 50000), at(public, 53))
	must(t, err)
	setTTL(t, c, 1)
	_, err = ask(t, c)
	if !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("the sender learned %v, want that the packet expired", err)
	}
	wantSniffed(t, n, "all", 1)
	wantSniffed(t, n, "private", 0)
}

func setTTL(t *testing.T, c net.Conn, ttl int) {
	t.Helper()
	sc, err := c.(*net.UDPConn).SyscallConn()
	must(t, err)
	must(t, sc.Control(func(fd uintptr) {
		must(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl))
		must(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1))
	}))
}

func TestInvalidSegmentsNeverLeave(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	sniff(t, n)
	raw(t, n.vm, tcpSegment(at(vmAddr, 40000), at(web, 80), flagRST))
	wantDropped(t, n, "invalid-state", 1)
	// The guard that looks at the source holds without the one that looks at the state.
	raw(t, n.gw, tcpSegment(at(netip.MustParseAddr("10.0.0.1"), 40000), at(web, 80), flagRST))
	wantDropped(t, n, "invalid-state", 2)
	wantSniffed(t, n, "all", 0)
}

func TestUntranslatedPacketsNeverLeave(t *testing.T) {
	n := newNetwork(t)
	c := tenant()
	c.Addresses = c.Addresses[1:] // Only IPv6 is translated.
	c.Mappings = nil
	set(t, n, c)
	sniff(t, n)
	conn, err := dial(t, n.vm, "udp", netip.AddrPort{}, at(web, 80))
	must(t, err)
	_, err = conn.Write([]byte("?"))
	must(t, err)
	wantDropped(t, n, "untranslated", 1)
	wantSniffed(t, n, "all", 0)
}

func TestPrivateSourcesDoNotEnterUnlessDeclared(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	private := netip.MustParseAddr("192.168.7.7")
	serve(t, n.server, "udp", at(srvAddr, 5353))
	datagram(t, n, at(private, 50000), at(public, 53))
	wantDropped(t, n, "private-source", 1)
	if s, err := nat.Sessions(n.gw); err != nil || len(s) != 0 {
		t.Errorf("a session was tracked for it: %v, %v", s, err)
	}
	c := tenant()
	c.PrivateDestinations = []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}
	set(t, n, c)
	if got := seenAs(t, n.internet, "udp", at(private, 50001), at(public, 53)); got != at(private, 50001) {
		t.Errorf("the server sees %v", got)
	}
	wantDropped(t, n, "private-source", 1)
}

func TestPrivateDestinationsAreRefusedUnlessDeclared(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	sniff(t, n)
	private := netip.MustParseAddr("192.168.7.7")
	serve(t, n.internet, "tcp", at(private, 80))
	if _, err := dial(t, n.vm, "tcp", netip.AddrPort{}, at(private, 80)); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("the VM learned %v, want unreachable", err)
	}
	ula := netip.MustParseAddrPort("[fd99::1]:80")
	if _, err := dial(t, n.vm, "tcp", netip.AddrPort{}, ula); !errors.Is(err, unix.EACCES) {
		t.Errorf("the VM learned %v, want administratively prohibited", err)
	}
	if _, err := dial(t, n.gw, "tcp", netip.AddrPort{}, at(private, 80)); err == nil {
		t.Error("the compartment itself got through")
	}
	if got := dropped(t, n, "private-destination"); got < 3 {
		t.Errorf("private-destination counts %d packets, want 3 or more", got)
	}
	wantSniffed(t, n, "all", 0)
	c := tenant()
	c.PrivateDestinations = []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}
	set(t, n, c)
	if got := seenAs(t, n.vm, "tcp", netip.AddrPort{}, at(private, 80)); got.Addr() != public {
		t.Errorf("the server sees %v, want %v", got, public)
	}
}

// The law that a site's traffic never leaves in clear, at its worst: NAT may send there, a session stands already, and
// no route says otherwise.
func TestSiteTrafficNeverLeavesInClearNotEvenInAStandingSession(t *testing.T) {
	n := newNetwork(t)
	c := tenant()
	c.PrivateDestinations = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	set(t, n, c)
	site := netip.MustParseAddr("10.1.0.5")
	serve(t, n.internet, "udp", at(site, 80))
	conn, err := dial(t, n.vm, "udp", at(vmAddr, 40000), at(site, 80))
	must(t, err)
	if seen, err := ask(t, conn); err != nil || seen.Addr() != public {
		t.Fatalf("before the site is declared: seen as %v, %v", seen, err)
	}
	sniff(t, n)
	c.Protected = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}
	set(t, n, c)
	if _, err := ask(t, conn); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("the VM learned %v, want unreachable", err)
	}
	wantDropped(t, n, "site-in-clear", 1)
	wantSniffed(t, n, "all", 0)
	if s, err := nat.Sessions(n.gw); err != nil || len(s) != 0 {
		t.Errorf("the translation was kept: %v, %v", s, err)
	}
}

const (
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// tcpSegment is an IPv4 packet with a TCP segment that has no data.
func tcpSegment(from, to netip.AddrPort, flags byte) []byte {
	src, dst := from.Addr().As4(), to.Addr().As4()
	tcp := make([]byte, 20)
	copy(tcp, []byte{byte(from.Port() >> 8), byte(from.Port()), byte(to.Port() >> 8), byte(to.Port())})
	tcp[7], tcp[11], tcp[12], tcp[13], tcp[14] = 1, 1, 5<<4, flags, 16
	pseudo := append(append(append([]byte{}, src[:]...), dst[:]...), 0, unix.IPPROTO_TCP, 0, 20)
	sum := checksum(append(pseudo, tcp...))
	tcp[16], tcp[17] = byte(sum>>8), byte(sum)
	ip := []byte{0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP, 0, 0}
	ip = append(append(ip, src[:]...), dst[:]...)
	sum = checksum(ip)
	ip[10], ip[11] = byte(sum>>8), byte(sum)
	return append(ip, tcp...)
}

// raw sends an IPv4 packet as it is. That a guard of the namespace itself refuses it is no error.
func raw(t *testing.T, ns interface{ Do(func() error) error }, packet []byte) {
	t.Helper()
	must(t, ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		err = unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: [4]byte(packet[16:20])})
		if errors.Is(err, unix.EPERM) {
			err = nil
		}
		return errors.Join(err, unix.Close(fd))
	}))
}
