package hnv

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"bulkhead/internal/netns"
	"bulkhead/lab/ipflow"
)

// Config is a host: where it is, what the controller told it and which VMs it runs.
type Config struct {
	Name      string           // for errors only
	Namespace *netns.Namespace // where Interface is; the kernel in there has no address on it
	Interface string           // on the provider network
	PA        netip.Addr       // the host's provider address, IPv4 or IPv6
	Policy    Policy
	Ports     []Port
}

// Host is a running host. Its methods may be called from everywhere.
type Host struct {
	config     Config // but for Policy and Ports, which change
	mac        net.HardwareAddr
	conn       *packet.Conn
	recorder   *recorder
	neighbours neighbours
	done       sync.WaitGroup
	controls   *rate.Limiter // of the control messages that it sends

	mu     sync.Mutex
	policy Policy
	vms    []*vm
	askers map[asker]netip.Addr // provider addresses of who asked VMs of this host
}

// asker is who asked by ARP or ND: a MAC in a virtual subnet.
type asker struct {
	vsid uint32
	mac  [6]byte
}

// Start runs a host until Close.
func Start(config Config) (*Host, error) {
	h := &Host{
		config: config, policy: config.Policy.clone(), recorder: newRecorder(), askers: map[asker]netip.Addr{},
		controls: rate.NewLimiter(controlsPerSecond, controlsPerSecond),
	}
	h.neighbours = neighbours{host: h, known: map[netip.Addr]*neighbour{}}
	for _, port := range config.Ports {
		if err := h.knows(port.VSID); err != nil {
			return nil, fmt.Errorf("start: %w", err)
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
	h.done.Go(h.readWire)
	for _, port := range config.Ports {
		err = errors.Join(err, h.Attach(port))
	}
	return h, err
}

// controlsPerSecond bounds the control messages that a host sends.
const controlsPerSecond = 20

// Close stops the host and closes the devices of its VMs.
func (h *Host) Close() error {
	errs := []error{h.conn.Close()}
	h.mu.Lock()
	vms := h.vms
	h.mu.Unlock()
	for _, v := range vms {
		errs = append(errs, v.Device.Close())
		<-v.done
	}
	h.done.Wait()
	return errors.Join(errs...)
}

// PA is the host's provider address.
func (h *Host) PA() netip.Addr { return h.config.PA }

// SetPolicy tells the host what the controller says now; what was learned before is forgotten.
func (h *Host) SetPolicy(p Policy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.policy = p.clone()
}

// Policy is what the host goes by now, with what it learned.
func (h *Host) Policy() Policy {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.policy.clone()
}

// learn takes note of what an ARP or ND message from a provider address tells. Must hold mu.
func (h *Host) learn(in Subnet, m message, pa netip.Addr) {
	if r, ok := h.policy.learn(in, m, pa); ok {
		h.recorder.event(Event{Learned, r, pa})
	}
}

// Packet is a correct NVGRE packet from this host; tests change what is to be wrong and give it to Send.
func (h *Host) Packet(to netip.Addr, vsid uint32, inner []byte) Packet {
	return Packet{
		SourceMAC: h.mac, Source: h.config.PA, Destination: to, TOS: tos(inner),
		Flags: Flags, Protocol: Protocol, VSID: vsid, FlowID: flowID(inner), Inner: inner,
	}
}

// Send sends a packet as it is; without DestinationMAC, to the MAC that ARP or ND finds for its Destination.
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
		TOS: p.TOS, Inner: describe(p.Inner), Dropped: dropped,
	})
}

// count counts an error that is a Drop and returns it.
func (h *Host) count(err error) Drop {
	var dropped Drop
	if errors.As(err, &dropped) {
		h.recorder.drop(dropped)
	}
	return dropped
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
