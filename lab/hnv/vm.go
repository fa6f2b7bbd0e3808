package hnv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
)

// Port is a VM's connection to its host.
type Port struct {
	VSID uint32
	MAC  net.HardwareAddr
	// Device carries one Ethernet frame per Read and Write, as a TAP does. The host closes it.
	Device io.ReadWriteCloser
}

// vm is a VM on the host that it lives on now.
type vm struct {
	Port
	host atomic.Pointer[Host]
	done chan struct{} // closed when its device is
}

// Attach runs another VM on the host.
func (h *Host) Attach(port Port) error {
	if err := h.knows(port.VSID); err != nil {
		return err
	}
	v := &vm{Port: port, done: make(chan struct{})}
	v.host.Store(h)
	h.mu.Lock()
	h.vms = append(h.vms, v)
	h.mu.Unlock()
	go v.read()
	return nil
}

func (h *Host) knows(vsid uint32) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.policy.subnet(vsid); !ok {
		return fmt.Errorf("host %s: no virtual subnet has VSID %d", h.config.Name, vsid)
	}
	return nil
}

// Migrate moves a VM to another host while it runs. The two hosts are told at once, as the controller does it; all
// others learn it by REDIRECT from this one, or by what the VM says.
func (h *Host) Migrate(vsid uint32, mac net.HardwareAddr, to *Host) error {
	if err := to.knows(vsid); err != nil {
		return err
	}
	h.mu.Lock()
	i := slices.IndexFunc(h.vms, func(v *vm) bool { return v.VSID == vsid && bytes.Equal(v.MAC, mac) })
	if i < 0 {
		h.mu.Unlock()
		return fmt.Errorf("migrate from host %s: no VM has MAC %v in VSID %d", h.config.Name, mac, vsid)
	}
	v := h.vms[i]
	h.vms = slices.Delete(h.vms, i, i+1)
	h.policy.move(vsid, mac, h.config.PA, to.config.PA)
	h.mu.Unlock()

	to.mu.Lock()
	defer to.mu.Unlock()
	to.vms = append(to.vms, v)
	to.policy.move(vsid, mac, h.config.PA, to.config.PA)
	v.host.Store(to)
	return nil
}

// local finds a VM of this host. Must hold mu.
func (h *Host) local(vsid uint32, mac net.HardwareAddr) *vm {
	i := slices.IndexFunc(h.vms, func(v *vm) bool { return v.VSID == vsid && bytes.Equal(v.MAC, mac) })
	if i < 0 {
		return nil
	}
	return h.vms[i]
}

// read takes frames from the VM until its device is closed.
func (v *vm) read() {
	defer close(v.done)
	buffer := make([]byte, 1<<16)
	for {
		n, err := v.Device.Read(buffer)
		if err != nil {
			return
		}
		h := v.host.Load()
		_ = h.count(h.fromVM(v, bytes.Clone(buffer[:n])))
	}
}

// write gives the VM a frame.
func (v *vm) write(frame []byte) error {
	if _, err := v.Device.Write(frame); err != nil {
		return DropSend
	}
	return nil
}

// fromVM does with a VM's frame what policy says.
func (h *Host) fromVM(from *vm, frame []byte) error {
	h.mu.Lock()
	subnet, _ := h.policy.subnet(from.VSID)
	v, err := h.egress(subnet, frame)
	h.mu.Unlock()
	if err != nil {
		return err
	}
	if v.answer != nil {
		return from.write(v.answer)
	}
	var errs []error
	for _, d := range v.out {
		if d.pa == h.config.PA {
			errs = append(errs, h.toVM(d.vsid, d.frame))
		} else {
			errs = append(errs, h.Send(h.Packet(d.pa, d.vsid, d.frame)))
		}
	}
	return errors.Join(errs...)
}

// toVM gives a frame to the VM of this host that it is for.
func (h *Host) toVM(vsid uint32, frame []byte) error {
	h.mu.Lock()
	v := h.local(vsid, frame[:6])
	h.mu.Unlock()
	if v == nil {
		return DropNoVM
	}
	return v.write(frame)
}
