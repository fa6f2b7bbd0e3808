package ratelimit

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/drops"
	"bulkhead/internal/netns"
)

// Direction of packets, as seen from the gateway.
type Direction string

// The directions of a link.
const (
	Tx Direction = "tx"
	Rx Direction = "rx"
)

// Stat is how one limit fares. The counters begin where the limit did, and stay when it changes.
type Stat struct {
	// Link that is limited, in one Direction.
	Link      string
	Direction Direction
	// Kbps is the limit, in 1,000 bits a second.
	Kbps uint64
	// Packets and Bytes that passed.
	Packets, Bytes uint64
	// Drops are packets that found the queue full.
	Drops uint64
	// BacklogPackets and BacklogBytes wait in the queue.
	BacklogPackets, BacklogBytes uint64
}

// Stats reads the limits of a compartment, in order of link and direction.
func Stats(ns *netns.Namespace) ([]Stat, error) {
	h, err := ns.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	links, err := dump(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("statistics of limits: list links: %w", err)
	}
	qdiscs, err := dump(func() ([]netlink.Qdisc, error) { return h.QdiscList(nil) })
	if err != nil {
		return nil, fmt.Errorf("statistics of limits: list queueing disciplines: %w", err)
	}
	return statsOf(collect(links, qdiscs), qdiscs), nil
}

func statsOf(s state, qdiscs []netlink.Qdisc) []Stat {
	type owner struct {
		link      string
		direction Direction
	}
	owners := make(map[int]owner)
	for _, p := range s.ports {
		owners[p.index] = owner{p.name, Tx}
		if p.rx != nil {
			owners[p.rx.index] = owner{p.name, Rx}
		}
	}
	var all []Stat
	for _, q := range qdiscs {
		b, ours := bucketOf(q)
		o, known := owners[q.Attrs().LinkIndex]
		if !ours || !known {
			continue
		}
		stat := statOf(q)
		stat.Link, stat.Direction, stat.Kbps = o.link, o.direction, b.kbps()
		all = append(all, stat)
	}
	slices.SortFunc(all, func(a, b Stat) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), -cmp.Compare(a.Direction, b.Direction))
	})
	return all
}

// statOf reads the counters of a bucket.
func statOf(q netlink.Qdisc) (s Stat) {
	counters := q.Attrs().Statistics
	if counters == nil {
		return s
	}
	if basic := counters.Basic; basic != nil {
		s.Packets, s.Bytes = uint64(basic.Packets), basic.Bytes
	}
	if queue := counters.Queue; queue != nil {
		s.Drops, s.BacklogPackets, s.BacklogBytes = uint64(queue.Drops), uint64(queue.Qlen), uint64(queue.Backlog)
	}
	return s
}

// Drops are the packets that limits of a compartment dropped, of all links together. Their bytes are not known. The caller
// fills in the tenant.
func Drops(ns *netns.Namespace) ([]drops.Drop, error) {
	stats, err := Stats(ns)
	if err != nil {
		return nil, err
	}
	return dropsOf(stats), nil
}

func dropsOf(stats []Stat) []drops.Drop {
	packets := make(map[Direction]uint64)
	for _, s := range stats {
		packets[s.Direction] += s.Drops
	}
	return []drops.Drop{
		{Where: "ratelimit", Reason: "rx-limit", Packets: packets[Rx]},
		{Where: "ratelimit", Reason: "tx-limit", Packets: packets[Tx]},
	}
}
