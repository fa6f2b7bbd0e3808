package vpn

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// saKey finds an SA in the kernel: SPIs that peers chose may be the same for two tunnels.
type saKey struct{ ifID, spi uint32 }

// traffic is what the kernel counted of one SA.
type traffic struct{ bytes, packets uint64 }

// counters reads what all SAs of a namespace, the process's own where nil, carried. A kernel without IPsec has none.
func counters(ns *netns.Namespace) (map[saKey]traffic, error) {
	open := netlink.NewHandle
	if ns != nil {
		open = ns.Netlink
	}
	h, err := open(unix.NETLINK_XFRM)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("count the traffic of tunnels: %w", err)
	}
	defer h.Close()
	states, err := h.XfrmStateList(unix.AF_UNSPEC)
	// One that came or went meanwhile is no reason to have none.
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("count the traffic of tunnels: %w", err)
	}
	counted := make(map[saKey]traffic, len(states))
	for _, s := range states {
		counted[saKey{uint32(s.Ifid), uint32(s.Spi)}] = traffic{s.Statistics.Bytes, s.Statistics.Packets}
	}
	return counted, nil
}

func hexNumber(s string) uint32 {
	n, _ := strconv.ParseUint(s, 16, 32)
	return uint32(n)
}
