package ratelimit

import (
	"time"

	"github.com/vishvananda/netlink"
)

const (
	// burstTime of the rate may pass at once, after a pause. It makes up for timers and CPUs that are late by as much.
	// Headers take that part of a second of UDP in large packets, so that its payload exceeds the rate in none.
	burstTime = 25 * time.Millisecond
	// queueTime of the rate waits at most. TCP fills the rate over paths of that round-trip time.
	queueTime = 200 * time.Millisecond
	// minBurst and minQueue count packets of the link's MTU: slow links take and queue some, however long that takes.
	minBurst, minQueue = 2, 12
	// maxQueue bounds the memory of fast links' queues, in octets.
	maxQueue = 8 << 20
)

// bucket is a token bucket and the queue before it.
type bucket struct {
	rate  uint64 // octets a second
	burst uint32 // what may pass at once, as the ticks of 64 ns that it takes at the rate
	queue uint32 // octets
}

// bucketFor is the bucket of a link with this MTU. Limits of 0 have none.
func bucketFor(kbps uint64, mtu int) bucket {
	const tick = 64 // ns, of the kernel's packet scheduler (PSCHED_SHIFT)
	rate := kbps * 1000 / 8
	burst := max(octets(rate, burstTime), uint64(minBurst*mtu))
	queue := max(octets(rate, queueTime), uint64(minQueue*mtu))
	return bucket{
		rate:  rate,
		burst: uint32(float64(burst) * 1e9 / tick / float64(rate)),
		queue: uint32(max(min(queue, maxQueue), burst)),
	}
}

// octets that pass at the rate in a time.
func octets(rate uint64, t time.Duration) uint64 { return uint64(float64(rate) * t.Seconds()) }

// kbps is the rate in 1,000 bits a second.
func (b bucket) kbps() uint64 { return b.rate * 8 / 1000 }

// handle of the buckets of this package.
var handle = netlink.MakeHandle(0xb4, 0)

// qdisc is the bucket as the root of the link with this index.
func (b bucket) qdisc(index int) *netlink.Tbf {
	return &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: handle, Parent: netlink.HANDLE_ROOT},
		Rate:       b.rate, Buffer: b.burst, Limit: b.queue,
	}
}

// bucketOf reads a bucket of this package; false where the qdisc is another's.
func bucketOf(q netlink.Qdisc) (bucket, bool) {
	t, ok := q.(*netlink.Tbf)
	if !ok || t.Handle != handle || t.Parent != netlink.HANDLE_ROOT {
		return bucket{}, false
	}
	return bucket{rate: t.Rate, burst: t.Buffer, queue: t.Limit}, true
}

// fast is a bucket that nothing waits in for long: those that go become it first. Its queue is nobody's, so that one that
// was left so is not taken for what is declared.
func fast() bucket {
	b := bucketFor(100e6, 1500)
	b.queue++
	return b
}

// shaped is a bucket as it stands at a link, with what stands below it.
type shaped struct {
	bucket bucket
	// scheduler tells whether the lanes' scheduler stands, and queues how many of its queues.
	scheduler bool
	queues    int
	// rules tells whether it has the rules for network control, and otherRules whether others.
	rules, otherRules bool
}

// lanes tells whether all lanes stand.
func (s *shaped) lanes() bool { return s.scheduler && s.queues == len(classedLanes) }

// is tells whether it is the wanted bucket with all that belongs to it.
func (s *shaped) is(want bucket) bool {
	return s != nil && s.bucket == want && s.lanes() && s.rules
}
