package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// attachment is a program at a hook of a link. Its pin is named PROGRAM-IFINDEX, with the hook where it is not the
// link's ingress: a link's name may hold a dot, which a BPF file system refuses.
type attachment struct {
	program string
	ifindex int
	hook    hook
	link    link.Link
}

// hook is where on a link a program runs.
type hook string

const (
	// ingress (tcx) sees what the link receives: of a veth pair's end, what the other end sends.
	ingress hook = ""
	// sending sees what a netkit pair's other end sends, while it still is being sent: that saves the packet a queue.
	sending hook = "netkit"
)

// hooks are where a program belongs on a link. What a compartment sends into a netkit pair meets the program at once.
// Its own end receives nothing but what the program sends around to itself; without a program the pair passes nothing.
func (d *Dataplane) hooks(program string, ifindex int) ([]hook, error) {
	if program != doorsProgDoor1Tenant && program != doorsProgDoor2Tenant {
		return []hook{ingress}, nil
	}
	l, err := d.links.LinkByIndex(ifindex)
	if err != nil {
		return nil, fmt.Errorf("find link %d: %w", ifindex, err)
	}
	if l.Type() == "netkit" {
		return []hook{ingress, sending}, nil
	}
	return []hook{ingress}, nil
}

// pinName is the name of the pin of a program at a link's ingress.
func pinName(program string, ifindex int) string { return program + "-" + strconv.Itoa(ifindex) }

func (d *Dataplane) program(name string) *ebpf.Program {
	switch name {
	case doorsProgDoor1Wire:
		return d.objects.Door1Wire
	case doorsProgDoor1Tenant:
		return d.objects.Door1Tenant
	case doorsProgDoor2Wire:
		return d.objects.Door2Wire
	case doorsProgDoor2Tenant:
		return d.objects.Door2Tenant
	}
	return nil
}

// adopt takes over the pinned attachments: those that live run these programs from now on, those whose link is gone or
// whose program these doors no longer have are unpinned.
func (d *Dataplane) adopt() error {
	entries, err := os.ReadDir(d.linksDir())
	if err != nil {
		return fmt.Errorf("list pinned attachments: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, d.adoptOne(e.Name()))
	}
	return errors.Join(errs...)
}

func (d *Dataplane) adoptOne(pin string) error {
	l, err := link.LoadPinnedLink(filepath.Join(d.linksDir(), pin), nil)
	if err != nil {
		return fmt.Errorf("open pinned attachment %s: %w", pin, err)
	}
	name, rest, _ := strings.Cut(pin, "-")
	number, at, _ := strings.Cut(rest, "-")
	ifindex, err := strconv.Atoi(number)
	a := attachment{program: name, ifindex: ifindex, hook: hook(at), link: l}
	program := d.program(name)
	if program == nil || err != nil || !a.lives() {
		return errors.Join(l.Unpin(), l.Close())
	}
	if err := l.Update(program); err != nil {
		return errors.Join(fmt.Errorf("replace the program of attachment %s: %w", pin, err), l.Close())
	}
	d.attached[pin] = a
	return nil
}

// lives tells whether an attachment still is on its link; the kernel lets go of a deleted one.
func (a attachment) lives() bool {
	info, err := a.link.Info()
	if err != nil {
		return false
	}
	if n := info.Netkit(); n != nil {
		return a.hook == sending && n.Ifindex != 0 // It is the other end's number, in the compartment.
	}
	t := info.TCX()
	return t != nil && a.hook == ingress && int(t.Ifindex) == a.ifindex
}

// attach puts a program on a link, wherever it is not yet. d.mu must be held.
func (d *Dataplane) attach(program string, ifindex int) error {
	hooks, err := d.hooks(program, ifindex)
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range hooks {
		errs = append(errs, d.attachAt(program, ifindex, h))
	}
	return errors.Join(errs...)
}

func (d *Dataplane) attachAt(program string, ifindex int, h hook) error {
	pin := pinName(program, ifindex)
	if h != ingress {
		pin += "-" + string(h)
	}
	if a, ok := d.attached[pin]; ok {
		if a.lives() {
			return nil
		}
		if err := d.detach(pin); err != nil {
			return err
		}
	}
	l, err := d.attachTo(program, ifindex, h)
	if err != nil {
		return fmt.Errorf("attach %s to link %d: %w", program, ifindex, err)
	}
	if err := l.Pin(filepath.Join(d.linksDir(), pin)); err != nil {
		return errors.Join(fmt.Errorf("pin attachment %s: %w", pin, err), l.Close())
	}
	d.attached[pin] = attachment{program: program, ifindex: ifindex, hook: h, link: l}
	return nil
}

func (d *Dataplane) attachTo(program string, ifindex int, h hook) (link.Link, error) {
	if h == sending {
		return link.AttachNetkit(link.NetkitOptions{
			Interface: ifindex, Program: d.program(program), Attach: ebpf.AttachNetkitPeer,
		})
	}
	return link.AttachTCX(link.TCXOptions{
		Interface: ifindex, Program: d.program(program), Attach: ebpf.AttachTCXIngress,
	})
}

func (d *Dataplane) detach(pin string) error {
	l := d.attached[pin].link
	delete(d.attached, pin)
	if err := errors.Join(l.Unpin(), l.Close()); err != nil {
		return fmt.Errorf("detach %s: %w", pin, err)
	}
	return nil
}

// forgetDeadPorts deletes the entries of tenants' links that are gone. Their numbers may be others' by now, where the
// namespace of the links itself was made anew.
func (d *Dataplane) forgetDeadPorts() error {
	alive := make(map[uint32]bool)
	for _, a := range d.attached {
		alive[uint32(a.ifindex)] = true
	}
	var errs []error
	for tenant, ports := range d.ports.have {
		keep := maps.Clone(ports)
		maps.DeleteFunc(keep, func(ifindex uint32, _ doorsPort) bool { return !alive[ifindex] })
		errs = append(errs, d.ports.prune(tenant, keep))
	}
	return errors.Join(errs...)
}

// sweep unpins attachments of tenants' links that are gone. One whose link lives on without a tenant stays: the program
// drops all that comes from there, whereas without it the Default compartment would take the packets for its own. d.mu
// must be held.
func (d *Dataplane) sweep() error {
	known := make(map[int]bool)
	for _, ports := range d.ports.have {
		for ifindex := range ports {
			known[int(ifindex)] = true
		}
	}
	var errs []error
	for pin, a := range d.attached {
		ofTenant := a.program == doorsProgDoor1Tenant || a.program == doorsProgDoor2Tenant
		if ofTenant && !known[a.ifindex] && !a.lives() {
			errs = append(errs, d.detach(pin))
		}
	}
	return errors.Join(errs...)
}
