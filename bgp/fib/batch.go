package fib

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// batch is a number of changes that are written at once.
type batch struct {
	conn   *conn
	writer writer
	first  uint32
	steps  []step
}

// batchSteps bounds a batch, so that what is more urgent comes to its turn.
const batchSteps = 1024

func (t *Table) batch() *batch { return &batch{conn: t.conn, first: t.conn.seq + 1} }

func (b *batch) full() bool { return len(b.steps) >= batchSteps }

// number notes what the next message does and yields the message's number.
func (b *batch) number(s step) uint32 {
	b.steps = append(b.steps, s)
	return b.conn.next()
}

// object writes a nexthop object of one way; without a link it drops packets.
func (b *batch) object(id uint32, h way, six bool) {
	seq := b.number(step{action: alter, object: id})
	if h.link == 0 {
		b.writer.blackhole(seq, id, six)
	} else {
		b.writer.nexthop(seq, id, h)
	}
}

// add writes a step on a prefix.
func (b *batch) add(s step, sources [2]netip.Addr) {
	seq, p := b.number(s), s.key.prefix()
	switch s.action {
	case put:
		flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_REPLACE)
		if s.fresh { // What others have there is not ours to replace.
			flags = unix.NLM_F_CREATE | unix.NLM_F_EXCL
		}
		b.writer.route(flags, seq, p, s.class.metric(), s.object, sources[family(p.Addr())])
	case drop:
		b.writer.removeRoute(seq, p, s.class.metric())
	case refuse:
		b.writer.unreachable(unix.NLM_F_CREATE|unix.NLM_F_EXCL, seq, p, MetricWithdrawn)
	case admit:
		b.writer.removeRoute(seq, p, MetricWithdrawn)
	case sweep:
		b.writer.removeRoute(seq, p, s.metric)
	}
}

// write carries the batch out and yields what failed, by place.
func (b *batch) write() (map[int]error, error) {
	refused, err := b.conn.write(b.writer.buf)
	if err != nil {
		return nil, err
	}
	failed := make(map[int]error, len(refused))
	for seq, err := range refused {
		failed[int(seq-b.first)] = err
	}
	return failed, nil
}
