package hnv

import (
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

// neighbours resolves provider addresses by ARP and ND on the provider network: the host's kernel has no part in it.
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
		request := message{asks: true, sender: n.host.mac, from: n.host.config.PA, target: p.Destination}
		all := askAll(p.Destination)
		if err := n.host.writeFrame(request.frame(all), all); err != nil {
			return err
		}
	}
	if full {
		return DropNoNeighbour
	}
	return nil
}

// receive answers for our own provider address and learns from answers, and from questions to us.
func (n *neighbours) receive(m message) {
	if m.target != n.host.config.PA || m.from.IsUnspecified() {
		return
	}
	for _, p := range n.learn(m) {
		_ = n.host.write(p) // counted there; nobody waits for the result
	}
	if m.asks {
		if err := n.host.writeFrame(m.answer(n.host.mac).frame(m.sender), m.sender); err != nil {
			n.host.recorder.drop(DropSend)
		}
	}
}

// learn keeps the sender's MAC and returns the packets that waited for it.
func (n *neighbours) learn(m message) []Packet {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.known[m.from]
	if found == nil {
		found = &neighbour{}
		n.known[m.from] = found
	}
	found.mac = m.sender
	waiting := found.waiting
	found.waiting = nil
	for i := range waiting {
		waiting[i].DestinationMAC = found.mac
	}
	return waiting
}
