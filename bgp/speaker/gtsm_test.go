package speaker

import (
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"bulkhead/bgp"
	"bulkhead/internal/testenv"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

func TestBFDIsHeardOfNeighboursOnly(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	config.Peers[0].BFD = &bgp.BFD{Transmit: time.Second, Receive: time.Second, Multiplier: 3}
	speaking(t, config)
	testenv.Eventually(t, "BFD's socket has a filter", func() (filtered bool) {
		must(t, eachDescriptor(func(fd int) {
			if here, ok := endpoint(unix.Getsockname(fd)); ok && here.Port() == bfdPort {
				// With no room for it the filter's length is told (SO_GET_FILTER).
				var room uint32
				_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, 0,
					uintptr(unsafe.Pointer(&room)), 0)
				filtered = filtered || errno == 0 && int(room) == len(nextDoor())
			}
		}))
		return filtered
	})
}

func TestOnlyPacketsOfNeighboursPassTheFilterInBothFamilies(t *testing.T) {
	listener, err := net.ListenUDP("udp", nil)
	must(t, err)
	defer listener.Close()
	raw, err := listener.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { must(t, filterTTL(int(fd), nextDoor())) }))
	for _, loopback := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()} {
		to := netip.AddrPortFrom(loopback, listener.LocalAddr().(*net.UDPAddr).AddrPort().Port())
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		must(t, err)
		for _, ttl := range []int{64, 254, 255} {
			if loopback.Is4() {
				err = ipv4.NewConn(conn).SetTTL(ttl)
			} else {
				err = ipv6.NewConn(conn).SetHopLimit(ttl)
			}
			must(t, err)
			_, err = conn.Write([]byte{byte(ttl)})
			must(t, err)
		}
		conn.Close()
		got := make([]byte, 1)
		_, _, err = listener.ReadFromUDPAddrPort(got)
		must(t, err)
		if got[0] != 255 {
			t.Errorf("%v: a packet with TTL %d came first", loopback, got[0])
		}
	}
}
