package hnv

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"time"
)

// neighbour is the MAC of a provider address, or the packets that wait for it.
type neighbour struct {
	mac     net.HardwareAddr
	asked   time.Time
	waiting []Packet
}

const (
	maxWaiting = 64
	askAgain   = 100 * time.Millisecond
)

// neighbours resolves provider addresses by ARP on the provider network: the host's kernel has no part in it.
type neighbours struct {
	host  *Host
	mu    sync.Mutex
	known map[netip.Addr]*neighbour
}

// send sends a packet when the MAC of its destination is known, and asks for it otherwise; the answer sends what waits.
func (n *neighbours) send(p Packet) error {
	n.mu.Lock()
	found := n.known[p.Destination]
	if found == nil {
		found = &neighbour{}
		n.known[p.Destination] = found
	}
	mac := found.mac
	ask := mac == nil && time.Since(found.asked) >= askAgain
	full := len(found.waiting) >= maxWaiting
	if ask {
		found.asked = time.Now()
	}
	if mac == nil && !full {
		found.waiting = append(found.waiting, p)
	}
	n.mu.Unlock()

	switch {
	case mac != nil:
		p.DestinationMAC = mac
		return n.host.write(p)
	case ask:
		request := arp{arpRequest, n.host.mac, net.HardwareAddr(make([]byte, 6)), n.host.config.PA, p.Destination}
		if err := n.host.writeFrame(request.frame(broadcast), broadcast); err != nil {
			return err
		}
	}
	if full {
		return DropNoNeighbour
	}
	return nil
}

// receive answers for our own provider address and learns from answers, and from questions to us.
func (n *neighbours) receive(frame []byte) {
	a, ok := parseARP(frame)
	if !ok || a.target != n.host.config.PA {
		return
	}
	for _, p := range n.learn(a) {
		_ = n.host.write(p) // counted there; nobody waits for the result
	}
	if a.operation == arpRequest {
		reply := arp{arpReply, n.host.mac, bytes.Clone(a.sender), a.target, a.senderIP}
		if err := n.host.writeFrame(reply.frame(reply.receiver), reply.receiver); err != nil {
			n.host.recorder.drop(DropSend)
		}
	}
}

// learn keeps the sender's MAC and returns the packets that waited for it.
func (n *neighbours) learn(a arp) []Packet {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.known[a.senderIP]
	if found == nil {
		found = &neighbour{}
		n.known[a.senderIP] = found
	}
	found.mac = bytes.Clone(a.sender)
	waiting := found.waiting
	found.waiting = nil
	for i := range waiting {
		waiting[i].DestinationMAC = found.mac
	}
	return waiting
}
