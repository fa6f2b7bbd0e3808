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

// attachment is a program on the ingress of a link. Its pin is named PROGRAM-IFINDEX: a link's name may hold a dot,
// which a BPF file system refuses.
type attachment struct {
	program string
	ifindex int
	link    link.Link
}

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
	name, number, _ := strings.Cut(pin, "-")
	program := d.program(name)
	ifindex, err := strconv.Atoi(number)
	if program == nil || err != nil || !lives(l, ifindex) {
		return errors.Join(l.Unpin(), l.Close())
	}
	if err := l.Update(program); err != nil {
		return errors.Join(fmt.Errorf("replace the program of attachment %s: %w", pin, err), l.Close())
	}
	d.attached[pin] = attachment{program: name, ifindex: ifindex, link: l}
	return nil
}

// lives tells whether an attachment still is on the link with the ifindex; the kernel lets go of a deleted link.
func lives(l link.Link, ifindex int) bool {
	info, err := l.Info()
	return err == nil && info.TCX() != nil && int(info.TCX().Ifindex) == ifindex
}

// attach puts a program on the ingress of a link, unless it is there. d.mu must be held.
func (d *Dataplane) attach(program string, ifindex int) error {
	pin := pinName(program, ifindex)
	if a, ok := d.attached[pin]; ok {
		if lives(a.link, ifindex) {
			return nil
		}
		if err := d.detach(pin); err != nil {
			return err
		}
	}
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: ifindex, Program: d.program(program), Attach: ebpf.AttachTCXIngress,
	})
	if err != nil {
		return fmt.Errorf("attach %s to link %d: %w", program, ifindex, err)
	}
	if err := l.Pin(filepath.Join(d.linksDir(), pin)); err != nil {
		return errors.Join(fmt.Errorf("pin attachment %s: %w", pin, err), l.Close())
	}
	d.attached[pin] = attachment{program: program, ifindex: ifindex, link: l}
	return nil
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
		if ofTenant && !known[a.ifindex] && !lives(a.link, a.ifindex) {
			errs = append(errs, d.detach(pin))
		}
	}
	return errors.Join(errs...)
}
