package trigger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// queueNumber of the kernel's queues, of which every namespace has its own.
	queueNumber = 1
	// readBuffer holds what the kernel tells about a few thousand packets until we have read it, in bytes.
	readBuffer = 2 << 20
)

// listen binds the queue and reads what is put into it, until Close. The kernel keeps the packets and tells us about
// them only. Should it have more of them than we ever hold, because this process hangs, it lets them pass (fail-open).
func (t *Trigger) listen() error {
	queue, err := nfqueue.Open(&nfqueue.Config{
		NetNS: t.ns.Fd(), NfQueue: queueNumber, Copymode: nfqueue.NfQnlCopyMeta,
		MaxQueueLen: uint32(2 * t.options.Total), Flags: nfqueue.NfQaCfgFlagFailOpen | nfqueue.NfQaCfgFlagGSO,
	})
	if err != nil {
		return fmt.Errorf("open netfilter's queue %d: %w", queueNumber, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.queue, t.stop = queue, stop
	err = errors.Join(queue.SetOption(netlink.NoENOBUFS, true), queue.Con.SetReadBuffer(readBuffer))
	if err == nil {
		err = queue.RegisterWithErrorFunc(ctx, t.arrived, func(err error) int { return t.trouble(ctx, err) })
	}
	if err != nil {
		stop()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
			err = fmt.Errorf("%w (another process may listen there)", err)
		}
		return errors.Join(fmt.Errorf("listen to netfilter's queue %d: %w", queueNumber, err), queue.Close())
	}
	return nil
}

// arrived takes a packet that the kernel has queued.
func (t *Trigger) arrived(a nfqueue.Attribute) int {
	if a.PacketID == nil {
		return 0
	}
	if name, ask := t.take(*a.PacketID, a.OutDev); ask {
		go t.options.Wanted(name)
	}
	return 0
}

func (t *Trigger) take(id uint32, out *uint32) (name string, ask bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		t.decide(id, markLate)
		return "", false
	}
	l := t.links[t.nameOf(out)]
	if l == nil { // no longer declared: the packet was queued before the rules said so
		t.decide(id, markNone)
		return "", false
	}
	return l.name, t.judge(l, id, time.Now())
}

// nameOf is the name of the link with the index; empty where there is none. mu must be held.
func (t *Trigger) nameOf(index *uint32) string {
	if index == nil {
		return ""
	}
	if name, known := t.names[*index]; known {
		return name
	}
	h, err := t.ns.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		t.options.Log.Warn("a packet passes unheld: its interface cannot be read", "error", err)
		return ""
	}
	defer h.Close()
	l, err := h.LinkByIndex(int(*index))
	if err != nil {
		return "" // it is gone, and the kernel drops what was to leave by it
	}
	t.names[*index] = l.Attrs().Name
	return l.Attrs().Name
}

// decide lets a packet go on, with a mark that says what the rules behind the queue are to do with it. The kernel
// answers nothing unless the packet is gone meanwhile, with its link.
func (t *Trigger) decide(id, mark uint32) {
	var err error
	if mark == markNone {
		err = t.queue.SetVerdict(id, nfqueue.NfAccept)
	} else {
		err = t.queue.SetVerdictWithOption(id, nfqueue.NfAccept, nfqueue.WithMark(mark))
	}
	if err != nil {
		t.options.Log.Warn("a held packet is stuck until the gateway stops", "error", err)
	}
}

// trouble takes an error of the queue's socket, and returns 0 to go on reading. When reading stops, the queue is
// unbound, and packets pass.
func (t *Trigger) trouble(ctx context.Context, err error) int {
	switch {
	case ctx.Err() != nil || errors.Is(err, os.ErrClosed):
		return 1
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0 // ENOENT: the packet went with its link before we decided on it
	}
	t.options.Log.Error("packets are held no longer: restart the gateway", "error", err)
	return 1
}
