package dataplane

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
)

// Probe is a packet that is traced and never sent.
type Probe struct {
	From, To netip.Addr
	// Protocol is TCP, UDP, ICMP or ICMPv6 by its number (IANA). A traced ICMP packet is an echo request.
	Protocol uint8
	// SourcePort is the identifier of an echo request; DestinationPort does not count for one.
	SourcePort, DestinationPort uint16
}

// Outcome is what a door does with a packet.
type Outcome uint8

const (
	// Dropped packets end here, for Hop.Reason.
	Dropped Outcome = iota
	// Passed packets are left to the kernel of the Default compartment.
	Passed
	// Entered packets go into the compartment behind Hop.Link.
	Entered
	// ToHost packets go to the host at Hop.Outer.PA.
	ToHost
	// ToInternet packets go out of the external link.
	ToInternet
)

// Hop is what a door does with a traced packet, and the packet afterwards.
type Hop struct {
	Probe
	Outcome Outcome
	// Reason is why it was dropped, and Tenant whose counter would say so; empty where that would be nobody's.
	Reason Reason
	Tenant string
	// Link is the Default compartment's end of the link that it entered a compartment by.
	Link string
	// Outer is around a packet for a host.
	Outer Outer
}

// Outer is what NVGRE puts around a packet.
type Outer struct {
	// Local is the gateway's own provider address, PA the host's.
	Local, PA netip.Addr
	// VSID is 0 where nothing is put around the packet (rule rewrite).
	VSID uint32
	// From and To are the MAC addresses of the inner frame.
	From, To net.HardwareAddr
}

// TraceFromInternet passes a packet from the Internet to door 2, which counts nothing, and tells what it would do.
func (d *Dataplane) TraceFromInternet(p Probe) (Hop, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	gateway, err := d.gateway()
	if err != nil {
		return Hop{}, err
	}
	return d.traceDoor2(d.objects.Door2Wire, gateway.External, gateway.ExternalMac[:], p)
}

// TraceFromCompartment passes a packet that leaves a compartment to the door at its link, named by the Default
// compartment's end, and tells what the door would do. Nothing is counted.
func (d *Dataplane) TraceFromCompartment(link string, p Probe) (Hop, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ifindex, mac, err := d.link(link)
	if err != nil {
		return Hop{}, err
	}
	var port doorsPort
	if err := d.objects.Ports.Lookup(ifindex, &port); err != nil {
		return Hop{}, fmt.Errorf("link %s is at no door: %w", link, err)
	}
	tenant := d.tenants[port.Tenant].name
	if port.Vsid == 0 {
		h, err := d.traceDoor2(d.objects.Door2Tenant, ifindex, mac[:], p)
		h.Tenant = tenant
		return h, err
	}
	frame, err := serialize(mac[:], port.Mac[:], p)
	if err != nil {
		return Hop{}, err
	}
	h, out, err := d.trace(d.objects.Door1Tenant, ifindex, frame)
	h.Tenant = tenant
	if err != nil || h.Outcome == Dropped {
		h.Probe = p
		return h, err
	}
	err = h.read(out)
	if h.Outcome != ToHost {
		// Without anything around it, its addresses are provider addresses.
		h.Outcome, h.Outer = ToHost, Outer{Local: h.From, PA: h.To}
	}
	return h, err
}

// traceDoor2 runs one of door 2's programs. A packet for a tenant gets the MAC address of the compartment's end, one for
// the Internet is left as it is.
func (d *Dataplane) traceDoor2(program *ebpf.Program, ifindex uint32, mac net.HardwareAddr, p Probe) (Hop, error) {
	frame, err := serialize(mac, net.HardwareAddr{2, 0, 0, 0, 0, 2}, p)
	if err != nil {
		return Hop{}, err
	}
	h, out, err := d.trace(program, ifindex, frame)
	h.Probe = p
	if err != nil || h.Outcome != ToInternet || string(out[:6]) == string(frame[:6]) {
		return h, err
	}
	h.Outcome = Entered
	owner, err := d.owner(p)
	if err != nil {
		return h, err
	}
	h.Link, err = d.linkName(owner.Ifindex)
	return h, err
}

// owner is whose the destination is at door 2.
func (d *Dataplane) owner(p Probe) (o doorsOwner, err error) {
	k := doorsOwnerKey{Prefixlen: addressBits, Ip: toAddress(p.To)}
	if err := d.objects.Owners.Lookup(k, &o); err != nil {
		return o, fmt.Errorf("trace at door 2: whose %v is: %w", p.To, err)
	}
	if o.Flags&doorsOwnerFlagsOWNER_TENANT != 0 {
		return o, nil
	}
	k.Prefixlen, k.Proto, k.Port = portBits+16, p.Protocol, networkOrder(p.DestinationPort)
	if p.Echo() {
		k.Port = networkOrder(p.SourcePort)
	}
	if err := d.objects.Owners.Lookup(k, &o); err != nil {
		return o, fmt.Errorf("trace at door 2: whose port %d of %v is: %w", p.DestinationPort, p.To, err)
	}
	return o, nil
}

// gateway is the doors' own side. d.mu must be held.
func (d *Dataplane) gateway() (g doorsGateway, err error) {
	if err := d.objects.Gateway.Lookup(uint32(0), &g); err != nil {
		return g, fmt.Errorf("read the gateway's entry: %w", err)
	}
	return g, nil
}

func (d *Dataplane) linkName(ifindex uint32) (string, error) {
	l, err := d.links.LinkByIndex(int(ifindex))
	if err != nil {
		return "", fmt.Errorf("find the link that the packet goes to: %w", err)
	}
	return l.Attrs().Name, nil
}

// Places of fields in struct __sk_buff (linux/bpf.h).
const (
	skbMark    = 8
	skbIfindex = 40
	skbLength  = 256 // and more, as the kernel writes all of it
)

// trace runs a program on a frame that came in on a link, under the mark that keeps it from counting and telling.
func (d *Dataplane) trace(program *ebpf.Program, ifindex uint32, frame []byte) (h Hop, out []byte, err error) {
	before, after := make([]byte, skbIfindex+4), make([]byte, skbLength)
	binary.NativeEndian.PutUint32(before[skbMark:], uint32(doorsMarkTRACE))
	binary.NativeEndian.PutUint32(before[skbIfindex:], ifindex)
	options := &ebpf.RunOptions{
		Data: frame, DataOut: make([]byte, len(frame)+256), Context: before, ContextOut: after,
	}
	verdict, err := program.Run(options)
	if err != nil {
		return h, nil, fmt.Errorf("run %v on a traced packet: %w", program, err)
	}
	switch verdict {
	case verdictPass:
		h.Outcome = Passed
	case verdictRedirected:
		h.Outcome = ToInternet
	default:
		mark := binary.NativeEndian.Uint32(after[skbMark:])
		number := mark &^ uint32(doorsMarkTRACE_RESULT)
		reason, ok := d.reasons[number]
		if mark&^0xffff != uint32(doorsMarkTRACE_RESULT) || !ok {
			return h, nil, fmt.Errorf("run %v on a traced packet: verdict %d without a reason (mark %#x)", program,
				int32(verdict), mark)
		}
		h.Reason = reason
	}
	return h, options.DataOut, nil
}

// What the programs return (enum verdict; TC_ACT_REDIRECT).
const (
	verdictPass       = 0xffffffff
	verdictRedirected = 7
)
