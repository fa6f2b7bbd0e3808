package hnv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/lab/ipflow"
)

// Port is a VM's connection to its host.
type Port struct {
	VSID uint32
	MAC  net.HardwareAddr
	// Device carries one Ethernet frame per Read and Write, as a TAP does. The host closes it.
	Device io.ReadWriteCloser
}

// Config is a host: where it is, what the controller told it and which VMs it runs.
type Config struct {
	Name      string           // for errors only
	Namespace *netns.Namespace // where Interface is; the kernel in there has no address on it
	Interface string           // on the provider network
	PA        netip.Addr       // the host's provider address, IPv4
	Policy    Policy
	Ports     []Port
}

// Host is a running host. Its methods may be called from everywhere.
type Host struct {
	config     Config
	mac        net.HardwareAddr
	conn       *packet.Conn
	recorder   *recorder
	neighbours neighbours
	done       sync.WaitGroup
}

// Start runs a host until Close.
func Start(config Config) (*Host, error) {
	h := &Host{config: config, recorder: newRecorder()}
	for _, port := range config.Ports {
		if _, ok := config.Policy.subnet(port.VSID); !ok {
			return nil, fmt.Errorf("start host %s: no virtual subnet has VSID %d", config.Name, port.VSID)
		}
	}
	err := config.Namespace.Do(func() error {
		nic, err := net.InterfaceByName(config.Interface)
		if err != nil {
			return err
		}
		h.mac = nic.HardwareAddr
		h.conn, err = packet.Listen(nic, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	if err == nil {
		err = GrowBuffer(h.conn)
	}
	if err != nil {
		return nil, fmt.Errorf("start host %s on %s: %w", config.Name, config.Interface, err)
	}
	h.neighbours = neighbours{host: h, known: map[netip.Addr]*neighbour{}}
	h.done.Go(h.readWire)
	for _, port := range config.Ports {
		h.done.Go(func() { h.readVM(port) })
	}
	return h, nil
}

// Close stops the host and closes its ports' devices.
func (h *Host) Close() error {
	errs := []error{h.conn.Close()}
	for _, port := range h.config.Ports {
		errs = append(errs, port.Device.Close())
	}
	h.done.Wait()
	return errors.Join(errs...)
}

// PA is the host's provider address.
func (h *Host) PA() netip.Addr { return h.config.PA }

// Packet is a correct NVGRE packet from this host; tests change what is to be wrong and give it to Send.
func (h *Host) Packet(to netip.Addr, vsid uint32, inner []byte) Packet {
	return Packet{
		SourceMAC: h.mac, Source: h.config.PA, Destination: to,
		Flags: Flags, Protocol: Protocol, VSID: vsid, FlowID: flowID(inner), Inner: inner,
	}
}

// Send sends a packet as it is; without DestinationMAC, to the MAC that ARP finds for its Destination.
func (h *Host) Send(p Packet) error {
	if p.DestinationMAC != nil {
		return h.write(p)
	}
	return h.neighbours.send(p)
}

// write puts a packet whose outer MAC is known on the wire.
func (h *Host) write(p Packet) error {
	h.observe(p, true, "")
	if err := h.writeFrame(p.Marshal(), p.DestinationMAC); err != nil {
		h.recorder.drop(DropSend)
		return err
	}
	return nil
}

func (h *Host) writeFrame(frame []byte, to net.HardwareAddr) error {
	if _, err := h.conn.WriteTo(frame, &packet.Addr{HardwareAddr: to}); err != nil {
		return fmt.Errorf("host %s sends a frame of %d bytes: %w", h.config.Name, len(frame), err)
	}
	return nil
}

func (h *Host) observe(p Packet, sent bool, dropped Drop) {
	h.recorder.observe(Observation{
		Time: time.Now(), Sent: sent, Source: p.Source, Destination: p.Destination, VSID: p.VSID, FlowID: p.FlowID,
		Inner: describe(p.Inner), Dropped: dropped,
	})
}

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
		switch binary.BigEndian.Uint16(frame[12:]) {
		case etherARP:
			if forUs || bytes.Equal(frame[:6], broadcast) {
				h.neighbours.receive(frame)
			}
		case etherIPv4:
			if forUs {
				h.receive(frame)
			}
		}
	}
}

// receive handles an IPv4 frame from the wire: NVGRE to our provider address goes to the VM that it is for.
func (h *Host) receive(frame []byte) {
	ip := frame[etherLen:]
	if len(ip) < 20 || ip[9] != protoGRE || netip.AddrFrom4([4]byte(ip[16:20])) != h.config.PA {
		return
	}
	p, err := Parse(frame)
	if err == nil {
		err = h.deliver(p)
	}
	var dropped Drop
	if errors.As(err, &dropped) {
		h.recorder.drop(dropped)
	}
	h.observe(p, false, dropped)
}

// deliver gives a packet's inner frame to the VM named by VSID and MAC, if the sender may speak for the routing domain.
func (h *Host) deliver(p Packet) error {
	var port *Port
	known := false
	for i, candidate := range h.config.Ports {
		if candidate.VSID != p.VSID {
			continue
		}
		known = true
		if bytes.Equal(candidate.MAC, p.Inner[:6]) {
			port = &h.config.Ports[i]
		}
	}
	subnet, _ := h.config.Policy.subnet(p.VSID)
	switch {
	case !known:
		return DropUnknownVSID
	case !h.config.Policy.names(subnet.RoutingDomain, p.Source):
		return DropUnknownSource
	case port == nil:
		return DropNoVM
	}
	return h.toVM(port, p.Inner)
}

func (h *Host) toVM(port *Port, frame []byte) error {
	if _, err := port.Device.Write(frame); err != nil {
		return DropSend
	}
	return nil
}

// readVM takes frames from a VM until its device is closed.
func (h *Host) readVM(port Port) {
	subnet, _ := h.config.Policy.subnet(port.VSID)
	buffer := make([]byte, 1<<16)
	for {
		n, err := port.Device.Read(buffer)
		if err != nil {
			return
		}
		err = h.fromVM(port, subnet, bytes.Clone(buffer[:n]))
		var dropped Drop
		if errors.As(err, &dropped) {
			h.recorder.drop(dropped)
		}
	}
}

func (h *Host) fromVM(port Port, subnet Subnet, frame []byte) error {
	v, err := h.config.Policy.egress(subnet, frame)
	switch {
	case err != nil:
		return err
	case v.answer != nil:
		return h.toVM(&port, v.answer)
	case v.to.PA != h.config.PA:
		return h.Send(h.Packet(v.to.PA, v.to.VSID, v.frame))
	}
	for i, local := range h.config.Ports {
		if local.VSID == v.to.VSID && bytes.Equal(local.MAC, v.to.MAC) {
			return h.toVM(&h.config.Ports[i], v.frame)
		}
	}
	return DropNoVM
}

// flowID hashes the inner flow into 8 bits (RFC 7637 section 3.2); 0 is for what has no flow.
func flowID(inner []byte) uint8 {
	if len(inner) < etherLen {
		return 0
	}
	flow, err := ipflow.Parse(inner[etherLen:])
	if err != nil {
		return 0
	}
	hash := flow.Hash()
	return uint8(hash ^ hash>>8 ^ hash>>16 ^ hash>>24)
}
