package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"bulkhead/lab/hnv"
)

// ServeEcho starts a UDP server that sends back what it gets, for flows. It stops with the lab.
func (n *Node) ServeEcho(port uint16) error {
	conn, err := n.ListenPacket(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	if err != nil {
		return err
	}
	var done sync.WaitGroup
	done.Go(func() {
		buffer := make([]byte, 1<<16)
		for {
			size, client, err := conn.ReadFromUDPAddrPort(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteToUDPAddrPort(buffer[:size], client)
			}
		}
	})
	n.lab.onClose(func() error {
		err := conn.Close()
		done.Wait()
		return err
	})
	return nil
}

// Flow is a running flow of numbered UDP packets to an echo server and back.
type Flow struct {
	name     string
	conn     net.Conn
	interval time.Duration
	stop     chan struct{}
	stopOnce sync.Once
	sending  sync.WaitGroup
	reading  sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at every reply
	sentAt   []time.Time   // by sequence number
	returned []bool
	result   FlowResult
}

// FlowResult is what became of a flow's packets.
type FlowResult struct {
	Sent, Received, Lost, Duplicates int
	// Refused counts packets that the sender's own kernel would not send; they count as sent and lost.
	Refused int
	// LongestGap is the longest time between two replies.
	LongestGap time.Duration
	// FirstLost and LastLost are when the first and the last lost packet were sent; zero when none was.
	FirstLost, LastLost time.Time
	lastReply           time.Time
}

// String is the result in one line.
func (r FlowResult) String() string {
	return fmt.Sprintf("%d sent, %d lost, longest gap %v", r.Sent, r.Lost, r.LongestGap.Round(time.Millisecond))
}

// StartFlow sends packets at a steady rate to an echo server (ServeEcho) until Stop. It returns when the first packet
// has come back, or with an error when the context ends before (5 s without a deadline). Packets up to the first reply
// count only from that reply on, so that a tunnel may dial first.
func (n *Node) StartFlow(ctx context.Context, to netip.AddrPort, packetsPerSecond int) (*Flow, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	conn, err := n.Dial(ctx, "udp", to)
	if err != nil {
		return nil, err
	}
	if err := hnv.GrowBuffer(conn.(*net.UDPConn)); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	f := &Flow{
		name: fmt.Sprintf("flow from %s to %v", n.Name, to), conn: conn,
		interval: time.Second / time.Duration(packetsPerSecond), stop: make(chan struct{}), changed: make(chan struct{}),
	}
	f.reading.Go(f.read)
	for !f.has(func() bool { return f.result.Received > 0 }) {
		if ctx.Err() != nil {
			f.close()
			return nil, fmt.Errorf("%s: no reply: %w", f.name, ctx.Err())
		}
		f.send()
		f.await(ctx, 200*time.Millisecond, func() bool { return f.result.Received > 0 })
	}
	f.restart()
	f.sending.Go(f.pace)
	n.lab.onClose(func() error { f.close(); return nil })
	return f, nil
}

// Stop ends the flow, waits for replies that are still under way (at most 2 s) and counts.
func (f *Flow) Stop() FlowResult {
	f.stopOnce.Do(func() { close(f.stop) })
	f.sending.Wait()
	f.await(context.Background(), 2*time.Second, func() bool { return f.result.Received >= f.result.Sent })
	f.close()
	return f.Result()
}

// Result is the count so far; packets still under way count as lost.
func (f *Flow) Result() FlowResult {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.result
	for i, back := range f.returned {
		if back || f.sentAt[i].IsZero() {
			continue
		}
		if r.Lost++; r.FirstLost.IsZero() {
			r.FirstLost = f.sentAt[i]
		}
		r.LastLost = f.sentAt[i]
	}
	return r
}

// AwaitReplies waits until that many further packets have come back, or the context ends.
func (f *Flow) AwaitReplies(ctx context.Context, count int) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	f.mu.Lock()
	goal := f.result.Received + count
	f.mu.Unlock()
	enough := func() bool { return f.result.Received >= goal }
	f.await(ctx, time.Hour, enough)
	if !f.has(enough) {
		return fmt.Errorf("%s: fewer than %d further replies: %w", f.name, count, ctx.Err())
	}
	return nil
}

// restart forgets the packets so far; their late replies are ignored.
func (f *Flow) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.sentAt {
		f.sentAt[i], f.returned[i] = time.Time{}, true
	}
	f.result = FlowResult{lastReply: time.Now()}
}

// pace sends at the flow's rate.
func (f *Flow) pace() {
	timer := time.NewTimer(f.interval)
	defer timer.Stop()
	for due := time.Now().Add(f.interval); ; {
		select {
		case <-f.stop:
			return
		case <-timer.C:
		}
		f.send()
		now := time.Now()
		due = next(due, now, f.interval)
		timer.Reset(due.Sub(now))
	}
}

// next is when the packet after the one that was due goes out. Being late by less than an interval is made up for. When
// the machine stood still for longer, what was not sent meanwhile is not sent in a burst now, which would fill queues
// that the steady flow never fills.
func next(due, now time.Time, interval time.Duration) time.Time {
	due = due.Add(interval)
	if due.Before(now) {
		return now.Add(interval)
	}
	return due
}

func (f *Flow) send() {
	f.mu.Lock()
	var packet [64]byte
	binary.BigEndian.PutUint32(packet[:], uint32(len(f.sentAt)))
	f.sentAt = append(f.sentAt, time.Now())
	f.returned = append(f.returned, false)
	f.result.Sent++
	f.mu.Unlock()
	if _, err := f.conn.Write(packet[:]); err != nil {
		// An error of an earlier packet is reported here once; the packet itself goes out with the second try.
		if _, err = f.conn.Write(packet[:]); err != nil {
			f.mu.Lock()
			f.result.Refused++
			f.mu.Unlock()
		}
	}
}

func (f *Flow) read() {
	buffer := make([]byte, 2048)
	for {
		size, err := f.conn.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && size >= 4 {
			f.receive(binary.BigEndian.Uint32(buffer))
		}
	}
}

func (f *Flow) receive(number uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if int64(number) >= int64(len(f.sentAt)) || (f.sentAt[number].IsZero()) {
		return
	}
	now := time.Now()
	if f.returned[number] {
		f.result.Duplicates++
	} else {
		f.returned[number] = true
		f.result.Received++
		if !f.result.lastReply.IsZero() {
			f.result.LongestGap = max(f.result.LongestGap, now.Sub(f.result.lastReply))
		}
		f.result.lastReply = now
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// has evaluates a condition on the flow's counts.
func (f *Flow) has(condition func() bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return condition()
}

// await waits for a condition on the flow's counts, at most for the time given.
func (f *Flow) await(ctx context.Context, most time.Duration, condition func() bool) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		f.mu.Lock()
		fulfilled, changed := condition(), f.changed
		f.mu.Unlock()
		if fulfilled {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (f *Flow) close() {
	f.stopOnce.Do(func() { close(f.stop) })
	f.sending.Wait()
	_ = f.conn.Close()
	f.reading.Wait()
}
