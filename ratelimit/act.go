package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// act carries out steps in a compartment.
type act struct {
	ctx context.Context
	h   *netlink.Handle
	raw *raw
}

func (a act) do(s step) error {
	switch s.do {
	case shape:
		return a.put(s.bucket, s.index, s.have)
	case addDevice:
		return a.addDevice(s)
	case shapeRx:
		d, err := a.device(s.device)
		if err != nil {
			return err
		}
		return a.put(s.bucket, d.Attrs().Index, s.have)
	case raise:
		d, err := a.device(s.device)
		if err != nil {
			return err
		}
		return wrap("bring up "+s.device, a.h.LinkSetUp(d))
	case redirect:
		return a.redirect(s)
	case release:
		return a.release(s)
	case releaseRx:
		return a.releaseRx(s)
	default:
		return a.removeDevice(s.device)
	}
}

// put gives a link the bucket with its lanes. A bucket that changes keeps its queues.
func (a act) put(b bucket, index int, have *shaped) error {
	if have == nil {
		err := a.h.QdiscReplace(b.qdisc(index))
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("this kernel has no token buckets (CONFIG_NET_SCH_TBF, module sch_tbf): %w", err)
		}
		if err != nil {
			return fmt.Errorf("make a token bucket: %w", err)
		}
	}
	switch {
	case have == nil || !have.lanes():
		if err := a.addLanes(b, index, have); err != nil {
			return err
		}
	case have.bucket.queue != b.queue:
		if err := a.boundLanes(b, index); err != nil {
			return err
		}
	}
	if have == nil || !have.rules {
		if err := a.addRules(index, have != nil && have.otherRules); err != nil {
			return err
		}
	}
	// The bucket last: what it says of its queue is how long the lanes are.
	if have != nil && have.bucket != b {
		return a.change(b, index)
	}
	return nil
}

func (a act) change(b bucket, index int) error {
	return wrap("change the token bucket", a.h.QdiscChange(b.qdisc(index)))
}

// addDevice makes the intermediate device. Nothing but what is redirected to it goes through it, so it has no addresses.
func (a act) addDevice(s step) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Alias = s.device, s.link+" receives"
	device := &netlink.Ifb{LinkAttrs: attrs}
	err := a.h.LinkAdd(device)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("this kernel has no intermediate devices (CONFIG_IFB, module ifb): %w", err)
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", s.device, err)
	}
	// Without IPv6 the kernel gives no addresses anyway.
	err = a.h.LinkSetIP6AddrGenMode(device, noAddresses)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("keep addresses from %s: %w", s.device, err)
	}
	return nil
}

// noAddresses keeps the kernel from giving a link an address of its own (IN6_ADDR_GEN_MODE_NONE).
const noAddresses = 1

// redirect sends all that the link receives to the device. What was there before is of a device that is gone.
func (a act) redirect(s step) error {
	d, err := a.device(s.device)
	if err != nil {
		return err
	}
	err = a.h.QdiscAdd(ingressOf(s.index))
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("this kernel cannot redirect what arrives (CONFIG_NET_SCH_INGRESS, module sch_ingress): %w", err)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("prepare the redirection to %s: %w", s.device, err)
	}
	err = a.h.FilterReplace(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: s.index, Parent: ingress, Priority: 1, Protocol: unix.ETH_P_ALL, Handle: firstRule,
		},
		Actions: []netlink.Action{netlink.NewMirredAction(d.Attrs().Index)},
	})
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("this kernel cannot redirect what arrives (CONFIG_NET_CLS_U32 and CONFIG_NET_ACT_MIRRED, modules"+
			" cls_u32 and act_mirred): %w", err)
	}
	return wrap("redirect to "+s.device, err)
}

// firstRule is the handle of the one u32 rule of a link: table 800, as the kernel names the first, rule 800.
const firstRule = 0x80000800

func ingressOf(index int) netlink.Qdisc {
	return &netlink.Ingress{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: ingress, Parent: netlink.HANDLE_INGRESS},
	}
}

func (a act) release(s step) error {
	if err := a.drain(s.index); err != nil {
		return err
	}
	return a.removeQdisc(fast().qdisc(s.index))
}

// releaseRx lets the queue out before the redirection goes, so that packets keep their order.
func (a act) releaseRx(s step) error {
	d, err := find(a.h, s.device)
	if err != nil {
		return err
	}
	if d != nil && s.have != nil {
		if err := a.drain(d.Attrs().Index); err != nil {
			return err
		}
	}
	if err := a.removeQdisc(ingressOf(s.index)); err != nil {
		return err
	}
	return a.removeDevice(s.device)
}

// drain makes a bucket fast and waits until its queue is out. A queue that does not get out, as of a link that is down,
// is lost.
func (a act) drain(index int) error {
	if err := a.change(fast(), index); err != nil {
		return err
	}
	const patience = time.Second
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
	for {
		qdiscs, err := dump(func() ([]netlink.Qdisc, error) { return a.h.QdiscList(link) })
		if err != nil {
			return fmt.Errorf("look at the token bucket's queue: %w", err)
		}
		if queued(qdiscs) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return a.ctx.Err()
		case <-poll.C:
		}
	}
}

// queued are the octets in the queues of a link's buckets.
func queued(qdiscs []netlink.Qdisc) (n uint64) {
	for _, q := range qdiscs {
		if _, ours := bucketOf(q); ours {
			n += statOf(q).BacklogBytes
		}
	}
	return n
}

func (a act) removeQdisc(q netlink.Qdisc) error {
	err := a.h.QdiscDel(q)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
		return nil // Gone already, perhaps with its link.
	}
	return wrap("remove a queueing discipline", err)
}

func (a act) removeDevice(name string) error {
	d, err := find(a.h, name)
	if err != nil || d == nil {
		return err
	}
	return wrap("remove "+name, a.h.LinkDel(d))
}

func (a act) device(name string) (netlink.Link, error) {
	d, err := find(a.h, name)
	if err == nil && d == nil {
		err = fmt.Errorf("%s went away", name)
	}
	return d, err
}

// find returns the link of this name, or nil.
func find(h *netlink.Handle, name string) (netlink.Link, error) {
	link, err := h.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return nil, nil
	}
	return link, wrap("find "+name, err)
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
