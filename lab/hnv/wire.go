package hnv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// readWire takes frames from the provider network until the socket is closed.
func (h *Host) readWire() {
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := h.conn.ReadFrom(buffer)
		// A closed packet socket says EBADF.
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EBADF) {
			return
		}
		// Another error, such as the link going down, concerns one read only.
		if err != nil || n < etherLen {
			continue
		}
		frame := buffer[:n]
		forUs := bytes.Equal(frame[:6], h.mac)
		if !forUs && frame[0]&1 == 0 {
			continue
		}
		if m, ok := parseMessage(frame); ok {
			h.neighbours.receive(m)
		} else if forUs && isIP(frame) {
			h.receive(frame)
		}
	}
}

// receive handles an IP frame from the wire: NVGRE to our provider address goes to the VM that it is for.
func (h *Host) receive(frame []byte) {
	ip := frame[etherLen:]
	var gre bool
	if binary.BigEndian.Uint16(frame[12:]) == etherIPv6 {
		gre = len(ip) >= ipv6Len && ip[6] == protoGRE
	} else {
		gre = len(ip) >= ipv4Len && ip[9] == protoGRE
	}
	if !gre {
		return
	}
	p, err := Parse(frame)
	if p.Destination != h.config.PA {
		return
	}
	if err == nil {
		err = h.deliver(p)
	}
	h.observe(p, false, h.count(err))
}

// deliver gives a packet's inner frame to the VM named by VSID and MAC, if the sender may speak for the routing domain.
func (h *Host) deliver(p Packet) error {
	h.mu.Lock()
	to, answer, err := h.ingress(p)
	h.mu.Unlock()
	if answer.Inner != nil {
		if err := h.write(answer); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	inner, err := decapsulateECN(p.TOS, p.Inner)
	if err != nil {
		return err
	}
	var errs []error
	for _, v := range to {
		errs = append(errs, v.write(inner))
	}
	return errors.Join(errs...)
}

// ingress decides about a packet from the wire: the VMs that get it, and the control message that goes back, if any.
// Must hold mu.
func (h *Host) ingress(p Packet) (to []*vm, answer Packet, err error) {
	subnet, known := h.policy.subnet(p.VSID)
	switch {
	case !known:
		return nil, Packet{}, DropUnknownVSID
	case !h.policy.names(subnet.RoutingDomain, p.Source):
		return nil, Packet{}, DropUnknownSource
	}
	if c, ok := parseControl(p.Inner); ok {
		return nil, Packet{}, h.believe(p, c)
	}
	m, ok := parseMessage(p.Inner)
	if ok {
		h.learn(subnet, m, p.Source)
		if m.asks {
			h.askers[asker{p.VSID, [6]byte(p.Inner[6:12])}] = p.Source
		}
	}
	var here bool
	for _, v := range h.vms {
		here = here || v.VSID == p.VSID
		if v.VSID == p.VSID && (bytes.Equal(v.MAC, p.Inner[:6]) || ok && m.announces() && p.Inner[0]&1 != 0) {
			to = append(to, v)
		}
	}
	if to != nil {
		return to, Packet{}, nil
	}
	answer, _ = h.answerMisdelivered(p, subnet.RoutingDomain)
	if !here {
		return nil, answer, DropUnknownVSID
	}
	return nil, answer, DropNoVM
}
