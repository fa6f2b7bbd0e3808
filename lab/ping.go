package lab

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"bulkhead/lab/ipflow"
)

// Pong is the result of a Ping that was answered.
type Pong struct {
	From netip.Addr
	RTT  time.Duration
	// Sent counts the requests up to the one that was answered.
	Sent int
}

// Unreachable is part of the error of a Ping to which a router answered that it cannot be done.
type Unreachable struct {
	From       netip.Addr // the router
	Type, Code int        // of ICMP (RFC 792)
}

// Error says who answered what.
func (u *Unreachable) Error() string {
	return fmt.Sprintf("%v answered with ICMP type %d code %d", u.From, u.Type, u.Code)
}

var pingID atomic.Uint32

// Ping sends ICMP echo requests to an IPv4 address, four a second, until one is answered or the context ends (after 5 s
// without a deadline). It goes on after a router's "unreachable", which the error then holds as *Unreachable.
func (n *Node) Ping(ctx context.Context, to netip.Addr) (Pong, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var conn *icmp.PacketConn
	err := n.NS.Do(func() error {
		var err error
		conn, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		return Pong{}, fmt.Errorf("%s pings: %w", n.Name, err)
	}
	defer func() { _ = conn.Close() }()
	p := &pinger{conn: conn, to: to, id: int(uint16(pingID.Add(1)))}
	// The deadline passes a moment before the context says so; without looking at it this would send a burst meanwhile.
	deadline, _ := ctx.Deadline()
	for ctx.Err() == nil && time.Now().Before(deadline) {
		if pong, ok := p.try(ctx); ok {
			return pong, nil
		}
	}
	err = errors.Join(p.last, cmp.Or(ctx.Err(), context.DeadlineExceeded))
	return Pong{}, fmt.Errorf("%s pings %v: no answer to %d requests: %w", n.Name, to, p.seq, err)
}

type pinger struct {
	conn *icmp.PacketConn
	to   netip.Addr
	id   int
	seq  int
	last error
}

// try sends one request and waits a quarter of a second for its answer.
func (p *pinger) try(ctx context.Context) (Pong, bool) {
	p.seq++
	message := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: p.id, Seq: p.seq, Data: make([]byte, 56)}}
	request, err := message.Marshal(nil)
	if err == nil {
		_, err = p.conn.WriteTo(request, &net.IPAddr{IP: p.to.AsSlice()})
	}
	if err != nil {
		p.last = err
	}
	sent := time.Now()
	end := sent.Add(250 * time.Millisecond)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(end) {
		end = deadline
	}
	_ = p.conn.SetReadDeadline(end)
	buffer := make([]byte, 1<<16)
	for {
		size, from, err := p.conn.ReadFrom(buffer)
		if err != nil {
			return Pong{}, false
		}
		if p.answered(buffer[:size], from) {
			return Pong{From: p.to, RTT: time.Since(sent), Sent: p.seq}, true
		}
	}
}

// answered tells whether a message is the reply, and remembers a router's refusal.
func (p *pinger) answered(b []byte, from net.Addr) bool {
	message, err := icmp.ParseMessage(ipflow.ICMP, b)
	if err != nil {
		return false
	}
	sender, _ := netip.ParseAddr(from.String())
	switch body := message.Body.(type) {
	case *icmp.Echo:
		return message.Type == ipv4.ICMPTypeEchoReply && sender == p.to && body.ID == p.id && body.Seq == p.seq
	case *icmp.DstUnreach:
		// The refused packet is quoted: header and 8 bytes, of which the last four are our id and sequence number.
		quoted, err := ipflow.Parse(body.Data)
		if err == nil && quoted.Destination == p.to && len(body.Data) >= 28 &&
			int(binary.BigEndian.Uint16(body.Data[24:])) == p.id {
			p.last = &Unreachable{From: sender, Type: 3, Code: message.Code}
		}
	}
	return false
}
