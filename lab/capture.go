package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"bulkhead/lab/hnv"
	"bulkhead/lab/ipflow"
)

// Capture records the IP packets that pass a link, both ways.
type Capture struct {
	conn    *packet.Conn
	done    sync.WaitGroup
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every packet
	seen    []ipflow.Flow
}

// Capture starts to record the packets on a link of the node. It stops with Close, or with the lab.
func (n *Node) Capture(link string) (*Capture, error) {
	c := &Capture{changed: make(chan struct{})}
	err := n.NS.Do(func() error {
		nic, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		// Datagram: without the link's header.
		c.conn, err = packet.Listen(nic, packet.Datagram, unix.ETH_P_ALL, nil)
		return err
	})
	if err == nil {
		err = hnv.GrowBuffer(c.conn)
	}
	if err != nil {
		return nil, fmt.Errorf("capture on %s of %s: %w", link, n.Name, err)
	}
	c.done.Go(c.read)
	n.lab.onClose(c.Close)
	return c, nil
}

func (c *Capture) read() {
	buffer := make([]byte, 1<<16)
	for {
		size, _, err := c.conn.ReadFrom(buffer)
		// A closed packet socket says EBADF.
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EBADF) {
			return
		}
		if err != nil {
			continue
		}
		flow, err := ipflow.Parse(buffer[:size])
		if err != nil {
			continue
		}
		c.mu.Lock()
		c.seen = append(c.seen, flow)
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
	}
}

// Packets are the packets seen since the start or the last Forget, in order.
func (c *Capture) Packets() []ipflow.Flow {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

// Forget empties the list of packets.
func (c *Capture) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = nil
}

// Await returns the first packet, already seen or still to come, that matches; the error is the context's.
func (c *Capture) Await(ctx context.Context, match func(ipflow.Flow) bool) (ipflow.Flow, error) {
	for {
		c.mu.Lock()
		i := slices.IndexFunc(c.seen, match)
		changed := c.changed
		var found ipflow.Flow
		if i >= 0 {
			found = c.seen[i]
		}
		c.mu.Unlock()
		if i >= 0 {
			return found, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ipflow.Flow{}, fmt.Errorf("no such packet was captured: %w", ctx.Err())
		}
	}
}

// Close stops the capture; its packets stay readable. Closing it again does nothing.
func (c *Capture) Close() error {
	err := c.conn.Close()
	c.done.Wait()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EBADF) {
		return nil
	}
	return err
}
