package bench_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeWatch counts the numbered routes that a speaker has in a compartment's table, by the kernel's own messages.
type routeWatch struct {
	fd   int
	have []bool
	n    int
}

// watchRoutes listens from now on. Its buffer holds what comes while it does not read.
func (m *machine) watchRoutes(t testing.TB, routes int) *routeWatch {
	t.Helper()
	w := &routeWatch{have: make([]bool, routes)}
	must(t, "listen to route changes", m.Do(func() (err error) {
		if w.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20),
			unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}),
			unix.Bind(w.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_IPV4_ROUTE}))
	}))
	t.Cleanup(func() { _ = unix.Close(w.fd) })
	return w
}

// until waits until the table has so many routes. failed tells why there is nothing to wait for any more.
func (w *routeWatch) until(routes int, failed func() error) error {
	buffer := make([]byte, 1<<16)
	for deadline := time.Now().Add(2 * time.Minute); w.n != routes; {
		length, _, err := unix.Recvfrom(w.fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			if err := failed(); err != nil {
				return err
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%d routes instead of %d in 2 min", w.n, routes)
			}
			continue
		case err != nil:
			return fmt.Errorf("listen to route changes: %w", err)
		}
		for rest := buffer[:length]; len(rest) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(rest))
			w.take(rest[:min(size, len(rest))])
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
	return nil
}

// take counts one message in, if it is of a numbered route by BGP that leads somewhere.
func (w *routeWatch) take(message []byte) {
	kind := binary.NativeEndian.Uint16(message[4:])
	if (kind != unix.RTM_NEWROUTE && kind != unix.RTM_DELROUTE) || len(message) < unix.NLMSG_HDRLEN+unix.SizeofRtMsg {
		return
	}
	route := message[unix.NLMSG_HDRLEN:]
	if route[5] != unix.RTPROT_BGP || route[7] != unix.RTN_UNICAST {
		return
	}
	for rest := route[unix.SizeofRtMsg:]; len(rest) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(rest))
		if binary.NativeEndian.Uint16(rest[2:]) == unix.RTA_DST && size == unix.SizeofRtAttr+4 {
			n, is := routeNumber([4]byte(rest[unix.SizeofRtAttr:]), int(route[1])), kind == unix.RTM_NEWROUTE
			if n >= 0 && n < len(w.have) && w.have[n] != is {
				w.have[n] = is
				if is {
					w.n++
				} else {
					w.n--
				}
			}
			return
		}
		rest = rest[min((max(size, unix.SizeofRtAttr)+3)&^3, len(rest)):]
	}
}

// routesByBGP is how many routes the compartment's table really has from BGP.
func (m *machine) routesByBGP(t testing.TB) int {
	t.Helper()
	all, err := m.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: unix.RTPROT_BGP}, netlink.RT_FILTER_PROTOCOL)
	must(t, "list routes", err)
	return len(all)
}
