package dataplane

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// sockets send NVGRE, each from one of the gateway's provider addresses. They must be opened in the namespace that has
// the links.
type sockets struct {
	open map[netip.Addr]int
}

func newSockets() *sockets { return &sockets{open: make(map[netip.Addr]int)} }

func (s *sockets) close() {
	for _, fd := range s.open {
		_ = unix.Close(fd)
	}
}

// send sends an inner frame. A socket that fails is opened anew for the next one: its address may have been away.
func (s *sockets) send(l letter) error {
	fd, ok := s.open[l.local]
	if !ok {
		var err error
		if fd, err = openSocket(l.local); err != nil {
			return err
		}
		s.open[l.local] = fd
	}
	err := unix.Sendto(fd, append(greHeader(l.vsid), l.frame...), 0, socketAddress(l.pa))
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		delete(s.open, l.local)
		_ = unix.Close(fd)
		return fmt.Errorf("send NVGRE from %v: %w", l.local, err)
	}
	return nil
}

// openSocket makes a raw socket for GRE that sends as the doors do: outer TTL 128, never fragmented.
func openSocket(local netip.Addr) (int, error) {
	family := unix.AF_INET6
	if local.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_GRE)
	if err != nil {
		return 0, fmt.Errorf("open a raw socket: %w", err)
	}
	// Nothing is received by it: door 1 takes all that comes.
	errs := []error{unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0)}
	if local.Is4() {
		errs = append(errs, unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, outerTTL),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO))
	} else {
		errs = append(errs, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, outerTTL),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO))
	}
	if err := errors.Join(append(errs, unix.Bind(fd, socketAddress(local)))...); err != nil {
		_ = unix.Close(fd)
		return 0, fmt.Errorf("bind a raw socket to provider address %v: %w", local, err)
	}
	return fd, nil
}

func socketAddress(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}
