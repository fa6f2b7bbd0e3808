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

// attemptTime is how long a connection may take to become a session, if the other end says nothing; otherwise twice that.
// GoBGP gives one that came in 240 s for its OPEN and takes no other meanwhile; and it waits for ever on one that stays
// silent while its own comes up.
const attemptTime = 10 * time.Second

// connections keeps an eye on the process's own BGP connections, beside GoBGP. since says when each was first seen, by the
// socket's inode. bfd is BFD's socket, once it is guarded.
type connections struct {
	since map[uint64]time.Time
	bfd   uint64
}

// look ends the connections that have not become a session in attemptTime; established says of which ends that is not to be
// asked. It returns the peers whose connections it ended.
func (c *connections) look(now time.Time, established func(local, remote netip.Addr) bool) ([]netip.Addr, error) {
	before := c.since
	c.since = map[uint64]time.Time{}
	var ended []netip.Addr
	err := eachConnection(func(fd int, local, remote netip.Addr, inode uint64) {
		if established(local, remote) {
			return
		}
		since, known := before[inode]
		if !known {
			since = now
		}
		c.since[inode] = since
		patience := attemptTime
		if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil && info.Bytes_received > 0 {
			// Another of the same peer's that is silent may be what it waits for.
			patience *= 2
		}
		if now.Sub(since) >= patience && unix.Shutdown(fd, unix.SHUT_RDWR) == nil {
			ended = append(ended, remote)
		}
	})
	return ended, err
}

// received is how many octets came from a peer by the connections that there are; 0 also where that cannot be told.
func received(peer netip.Addr) (octets uint64) {
	_ = eachConnection(func(fd int, _, remote netip.Addr, _ uint64) {
		if remote != peer {
			return
		}
		if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			octets += info.Bytes_received
		}
	})
	return octets
}

// eachConnection calls fn for each of the process's own BGP connections, with a descriptor that is good until fn returns,
// both ends, and the socket's inode.
func eachConnection(fn func(fd int, local, remote netip.Addr, inode uint64)) error {
	return eachDescriptor(func(fd int) {
		if local, remote, inode, ok := connection(fd); ok {
			fn(fd, local, remote, inode)
		}
	})
}

// eachDescriptor calls fn for each open file of the process, with a descriptor that is good until fn returns.
func eachDescriptor(fn func(fd int)) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("look at the speaker's own sockets: %w", err)
	}
	for _, entry := range entries {
		number, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// A descriptor of our own: GoBGP may close its own at any time, and another file take the number.
		fd, err := unix.FcntlInt(uintptr(number), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			continue // closed meanwhile
		}
		fn(fd)
		_ = unix.Close(fd)
	}
	return nil
}

// connection is the ends of a TCP connection with a BGP port on one side, and the socket's inode.
func connection(fd int) (local, remote netip.Addr, inode uint64, ok bool) {
	there, ok := endpoint(unix.Getpeername(fd))
	if !ok {
		return local, remote, 0, false
	}
	here, ok := endpoint(unix.Getsockname(fd))
	if !ok || here.Port() != gobgp.BGP_PORT && there.Port() != gobgp.BGP_PORT {
		return local, remote, 0, false
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	var stat unix.Stat_t
	if err != nil || kind != unix.SOCK_STREAM || unix.Fstat(fd, &stat) != nil {
		return local, remote, 0, false
	}
	return here.Addr().Unmap(), there.Addr().Unmap(), stat.Ino, true
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
