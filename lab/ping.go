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
	"golang.org/x/net/ipv6"

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
	Type, Code int        // of ICMP (RFC 792) or ICMPv6 (RFC 4443)
}

// Error says who answered what.
func (u *Unreachable) Error() string {
	return fmt.Sprintf("%v answered with ICMP type %d code %d", u.From, u.Type, u.Code)
}

var pingID atomic.Uint32

// Ping sends ICMP or ICMPv6 echo requests to an address, four a second, until one is answered or the context ends
// (after 5 s without a deadline). It goes on after a router's "unreachable", which the error then holds as *Unreachable.
func (n *Node) Ping(ctx context.Context, to netip.Addr) (Pong, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	p, err := n.pinger(to)
	if err != nil {
		return Pong{}, err
	}
	defer func() { _ = p.conn.Close() }()
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
	conn     *icmp.PacketConn
	to       netip.Addr
	protocol int // ICMP or ICMPv6
	request  icmp.Type
	reply    icmp.Type
	id       int
	seq      int
	last     error
	tracing  bool // "time exceeded" is an answer too
}

// pinger opens what is needed to ping an address.
func (n *Node) pinger(to netip.Addr) (*pinger, error) {
	p := &pinger{
		to: to, protocol: ipflow.ICMP, request: ipv4.ICMPTypeEcho, reply: ipv4.ICMPTypeEchoReply,
		id: int(uint16(pingID.Add(1))),
	}
	network, address := "ip4:icmp", "0.0.0.0"
	if to.Is6() {
		network, address = "ip6:ipv6-icmp", "::"
		p.protocol, p.request, p.reply = ipflow.ICMPv6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	err := n.NS.Do(func() error {
		var err error
		p.conn, err = icmp.ListenPacket(network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s pings: %w", n.Name, err)
	}
	return p, nil
}

// try sends one request and waits a quarter of a second for its answer.
func (p *pinger) try(ctx context.Context) (Pong, bool) {
	p.seq++
	message := icmp.Message{Type: p.request, Body: &icmp.Echo{ID: p.id, Seq: p.seq, Data: make([]byte, 56)}}
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
		if sender, ok := p.answered(buffer[:size], from); ok {
			return Pong{From: sender, RTT: time.Since(sent), Sent: p.seq}, true
		}
	}
}

// answered tells whether a message is the reply and whose, and remembers a router's refusal.
func (p *pinger) answered(b []byte, from net.Addr) (netip.Addr, bool) {
	message, err := icmp.ParseMessage(p.protocol, b)
	if err != nil {
		return netip.Addr{}, false
	}
	sender, _ := netip.ParseAddr(from.String())
	switch body := message.Body.(type) {
	case *icmp.Echo:
		return sender, message.Type == p.reply && sender == p.to && body.ID == p.id && body.Seq == p.seq
	case *icmp.TimeExceeded:
		return sender, p.tracing && p.quotes(body.Data)
	case *icmp.DstUnreach:
		if p.quotes(body.Data) {
			kind := 3
			if p.protocol == ipflow.ICMPv6 {
				kind = 1
			}
			p.last = &Unreachable{From: sender, Type: kind, Code: message.Code}
		}
	}
	return netip.Addr{}, false
}

// quotes tells whether a packet that a router refused, quoted with 8 bytes behind its header, is one of ours: the last
// four of them are its id and sequence number.
func (p *pinger) quotes(packet []byte) bool {
	header := 20
	if p.protocol == ipflow.ICMPv6 {
		header = 40
	}
	quoted, err := ipflow.Parse(packet)
	return err == nil && quoted.Destination == p.to && len(packet) >= header+8 &&
		int(binary.BigEndian.Uint16(packet[header+4:])) == p.id
}

// maxHops bounds a Trace.
const maxHops = 8

// Trace finds the routers on the way to an address, as traceroute does, and ends with the address itself.
func (n *Node) Trace(ctx context.Context, to netip.Addr) ([]netip.Addr, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	p, err := n.pinger(to)
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.conn.Close() }()
	p.tracing = true
	var hops []netip.Addr
	for hop := 1; hop <= maxHops && ctx.Err() == nil; {
		if to.Is6() {
			err = p.conn.IPv6PacketConn().SetHopLimit(hop)
		} else {
			err = p.conn.IPv4PacketConn().SetTTL(hop)
		}
		if err != nil {
			return hops, fmt.Errorf("%s traces: %w", n.Name, err)
		}
		pong, ok := p.try(ctx)
		if !ok {
			continue
		}
		hops = append(hops, pong.From)
		if pong.From == to {
			return hops, nil
		}
		hop++
	}
	err = errors.Join(p.last, ctx.Err())
	return hops, fmt.Errorf("%s traces %v: after %v there is no answer: %w", n.Name, to, hops, err)
}
