package speaker

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"golang.org/x/sys/unix"
)

// attemptTime is how long a connection may take to become a session. GoBGP gives one that came in 240 s for its OPEN and
// takes no other meanwhile; and it waits for ever on one that stays silent while its own comes up.
const attemptTime = 20 * time.Second

// connections keeps an eye on the process's own BGP connections, beside GoBGP. since says when each was first seen, by the
// socket's inode.
type connections struct{ since map[uint64]time.Time }

// look ends the connections that have not become a session in attemptTime; established says which peers have one. It
// returns the peers whose connections it ended.
func (c *connections) look(now time.Time, established func(netip.Addr) bool) ([]netip.Addr, error) {
	before := c.since
	c.since = map[uint64]time.Time{}
	var ended []netip.Addr
	err := eachConnection(func(own int, remote netip.Addr, inode uint64) {
		if established(remote) {
			return
		}
		since, known := before[inode]
		if !known {
			since = now
		}
		c.since[inode] = since
		if now.Sub(since) >= attemptTime && unix.Shutdown(own, unix.SHUT_RDWR) == nil {
			ended = append(ended, remote)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look at BGP connections: %w", err)
	}
	return ended, nil
}

// received is how many octets came from a peer by the connections that there are; 0 also where that cannot be told.
func received(peer netip.Addr) (octets uint64) {
	_ = eachConnection(func(own int, remote netip.Addr, _ uint64) {
		if remote != peer {
			return
		}
		if info, err := unix.GetsockoptTCPInfo(own, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			octets += info.Bytes_received
		}
	})
	return octets
}

// eachConnection calls do with the process's BGP connections: a descriptor that is do's own while it runs, the other end
// and the socket's inode.
func eachConnection(do func(own int, remote netip.Addr, inode uint64)) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// A descriptor of our own: GoBGP may close its own at any time, and another file take the number.
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			continue // closed meanwhile
		}
		if remote, inode, ok := connection(own); ok {
			do(own, remote, inode)
		}
		_ = unix.Close(own)
	}
	return nil
}

// connection is the other end of a TCP connection with a BGP port on one side, and the socket's inode.
func connection(fd int) (netip.Addr, uint64, bool) {
	remote, ok := endpoint(unix.Getpeername(fd))
	if !ok {
		return netip.Addr{}, 0, false
	}
	local, ok := endpoint(unix.Getsockname(fd))
	if !ok || remote.Port() != gobgp.BGP_PORT && local.Port() != gobgp.BGP_PORT {
		return netip.Addr{}, 0, false
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	var stat unix.Stat_t
	if err != nil || kind != unix.SOCK_STREAM || unix.Fstat(fd, &stat) != nil {
		return netip.Addr{}, 0, false
	}
	return remote.Addr().Unmap(), stat.Ino, true
}

// endpoint is the address that the kernel returned; not ok: the descriptor is no Internet socket with such an end.
func endpoint(address unix.Sockaddr, err error) (netip.AddrPort, bool) {
	if err != nil {
		return netip.AddrPort{}, false
	}
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), true
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(a.Addr)
		if a.ZoneId != 0 {
			if link, err := net.InterfaceByIndex(int(a.ZoneId)); err == nil {
				addr = addr.WithZone(link.Name)
			}
		}
		return netip.AddrPortFrom(addr, uint16(a.Port)), true
	}
	return netip.AddrPort{}, false
}
