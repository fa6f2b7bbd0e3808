// Package ratelimit bounds what the links of a compartment send and receive: a token bucket (tbf) for each direction,
// whose queues delay what is too fast and drop what does not fit in them.
//
// What a link sends waits at the link itself. What it receives is redirected, before anything else looks at it, to an
// intermediate device (ifb) that belongs to the link and has the other bucket, and goes on as received by the link when it
// leaves that. Buckets count IP packets as they are inside a tunnel, but for 14 octets more of each packet that arrives (the
// room of the Ethernet header that the packet around it came with) and of each on a link that has Ethernet headers itself.
//
// Within the rate network control goes first: BFD, then BGP and what has the classes CS6 and CS7 (RFC 4594), then data. A
// flood of data therefore ends no session, and whoever calls everything control delays its own data alone.
//
// Buckets belong to links, not to SAs: rekeying and reconnecting leave them as they are. The kernel is the memory: [Set] reads
// what stands, changes what differs, and sweeps what an earlier process left over.
package ratelimit

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// Limit bounds one link.
type Limit struct {
	// Link in the compartment.
	Link string
	// TxKbps and RxKbps bound what the link sends and receives, in 1,000 bits a second (TxBandwidthKbps and
	// RxBandwidthKbps of Set-VpnS2SInterface); 0 is no limit.
	TxKbps, RxKbps uint64
}

// Set makes want all the limits of a compartment. The links must be there and may be down still: limits that stand before
// a link comes up hold from its first packet. A limit that changes keeps its queue; one that goes lets its queue out
// first. It carries on past links that fail and returns their errors joined; the caller adds the compartment.
func Set(ctx context.Context, ns *netns.Namespace, want []Limit) error {
	h, err := ns.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	have, err := read(h)
	if err != nil {
		return fmt.Errorf("read the limits that stand: %w", err)
	}
	todo, err := plan(have, want)
	errs := []error{err}
	a := act{ctx: ctx, h: h, raw: &raw{ns: ns}}
	defer a.raw.close()
	failed := make(map[string]bool)
	for _, s := range todo {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if failed[s.link] {
			continue // Its later steps stand on the one that failed, and would redirect packets to nowhere.
		}
		if err := a.do(s); err != nil {
			failed[s.link] = true
			errs = append(errs, fmt.Errorf("limit of link %s: %w", s.link, err))
		}
	}
	return errors.Join(errs...)
}

// dump repeats a netlink listing that was interrupted by a change, because its result may lack something that was there
// all along.
func dump[T any](list func() (T, error)) (T, error) {
	const attempts = 20
	for i := 1; ; i++ {
		got, err := list()
		if err == nil || i == attempts || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return got, err
		}
	}
}
