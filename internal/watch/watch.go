// Package watch tells tests whether something wrote to the network configuration of a namespace.
package watch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// limit bounds how long [Quiet] waits for what earlier writes set off to pass.
const limit = 5 * time.Second

// groups are the notifications that count as writes: links, addresses, routes, settings and nftables.
var groups = map[int][]int{
	unix.NETLINK_ROUTE: {
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
	},
	unix.NETLINK_NETFILTER: {unix.NFNLGRP_NFTABLES},
}

// Quiet fails the test unless a run of fn leaves no notification in any of the namespaces. It runs fn again for as long
// as others may still come from before, such as a carrier that was noticed late: something that writes every time
// never passes.
func Quiet(t testing.TB, fn func(), namespaces ...*netns.Namespace) {
	t.Helper()
	var sockets []int
	for _, ns := range namespaces {
		for family, groups := range groups {
			fd, err := listen(ns, family, groups)
			if err != nil {
				t.Fatalf("watch a namespace: %v", err)
			}
			defer func() { _ = unix.Close(fd) }()
			sockets = append(sockets, fd)
		}
	}
	for deadline := time.Now().Add(limit); ; {
		drain(t, sockets)
		fn()
		seen := drain(t, sockets)
		if len(seen) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it still writes after %v:\n%s", limit, strings.Join(seen, "\n"))
		}
	}
}

func listen(ns *netns.Namespace, family int, groups []int) (fd int, err error) {
	err = ns.Do(func() error {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
		if err != nil {
			return err
		}
		for _, g := range groups {
			if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
				return err
			}
		}
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	})
	return fd, err
}

// drain reads what has arrived and describes it. The kernel queues a notification before the write that caused it
// returns.
func drain(t testing.TB, sockets []int) []string {
	t.Helper()
	var seen []string
	buf := make([]byte, 1<<16)
	for _, fd := range sockets {
		for {
			n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
			if err == unix.EAGAIN {
				break
			}
			if err != nil {
				t.Fatalf("read notifications: %v", err)
			}
			seen = append(seen, fmt.Sprintf("% x", buf[:min(n, 64)]))
		}
	}
	return seen
}
