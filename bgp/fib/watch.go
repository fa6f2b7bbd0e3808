package fib

import (
	"errors"
	"fmt"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// watcher receives what others than ourselves change in the kernel.
type watcher struct {
	conn *conn
	file *os.File
}

// watch joins the kernel's news but for those that the socket with the port caused.
func watch(ns *netns.Namespace, port uint32) (*watcher, error) {
	c, err := dial(ns)
	if err != nil {
		return nil, err
	}
	w := &watcher{conn: c}
	if err := w.prepare(port); err != nil {
		c.close()
		return nil, err
	}
	// The file closes the socket, also under a reader.
	w.file = os.NewFile(uintptr(c.fd), "netlink")
	return w, nil
}

func (w *watcher) prepare(port uint32) error {
	// struct nlmsghdr's nlmsg_pid, at 12, is the port that asked for the change. The program reads big-endian.
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 12},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: bigEndian(port)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
	}
	err := unix.SetsockoptSockFprog(w.conn.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err != nil {
		return fmt.Errorf("leave out our own changes: %w", err)
	}
	for _, group := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEXTHOP,
	} {
		if err := unix.SetsockoptInt(w.conn.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return fmt.Errorf("join the kernel's news: %w", err)
		}
	}
	return unix.SetNonblock(w.conn.fd, true)
}

// bigEndian is how a number of the machine's order reads in the network's.
func bigEndian(n uint32) uint32 {
	if native.Uint16([]byte{0, 1}) == 1 {
		return n
	}
	return bits.ReverseBytes32(n)
}

func (w *watcher) close() { _ = w.file.Close() }

// follow takes news until the watcher is closed.
func (t *Table) follow() {
	raw, err := t.watch.file.SyscallConn()
	if err != nil {
		return
	}
	for {
		var n news
		var failed error
		err := raw.Read(func(uintptr) bool {
			failed = t.watch.conn.receive(func(m message) { t.note(m, &n) })
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil {
			return // closed
		}
		if failed != nil { // As when news came faster than they were read.
			n.all = true
		}
		if n.all || len(n.lists) > 0 {
			t.mu.Lock()
			t.news.merge(n)
			t.mu.Unlock()
			t.rouse()
		}
	}
}

// note takes up one piece of news.
func (t *Table) note(m message, n *news) {
	switch m.kind {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		switch r, ok := parseRoute(m.body); {
		case !ok || r.table != unix.RT_TABLE_MAIN:
		case r.protocol == unix.RTPROT_BGP:
			n.all = true
		default:
			n.list(routeList{af(r.prefix.Addr()), r.protocol})
		}
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		l, ok := parseLink(m.body)
		t.mu.Lock()
		known := t.links[l.index]
		t.mu.Unlock()
		// Many tell of what does not matter here.
		n.all = n.all || ok && (m.kind == unix.RTM_DELLINK || l != known)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		n.all = true
	case unix.RTM_DELNEXTHOP, unix.RTM_NEWNEXTHOP:
		o, ok := parseObject(m.body)
		n.all = n.all || ok && isOurs(o.id)
	}
}
