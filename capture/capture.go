// Package capture records the packets of one network namespace as pcapng, the format of Wireshark. It knows namespaces
// only: what is in a tenant's compartment is that tenant's, without outer headers, and nothing else is there.
package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// DefaultSnapLength keeps every packet whole, those before segmentation included, in bytes.
const DefaultSnapLength = 256 << 10

// Options say what to record.
type Options struct {
	// Link by name, which may appear later; empty for all links but loopback and the devices of limits (ifb), those that
	// appear later too.
	Link string
	// SnapLength is how much of each packet is kept, in bytes; DefaultSnapLength where 0, and at most that.
	SnapLength int
	// Count is after how many packets to end; 0 for no limit.
	Count uint64
}

// Result tells how a capture went.
type Result struct {
	// Packets that were recorded.
	Packets uint64
	// Dropped are those that came faster than they could be recorded.
	Dropped uint64
}

// Capture is a socket in a namespace, to which packets come from Open on.
type Capture struct {
	options Options
	socket  *socket
	names   *netlink.Handle
	links   map[int]link // by index
}

// link is what is known of a link of the namespace.
type link struct {
	wanted bool
	id     int // in the file, of one that is wanted
}

// Open begins to receive packets of the namespace, which Record writes. The caller closes the Capture.
func Open(ns *netns.Namespace, o Options) (*Capture, error) {
	if o.SnapLength <= 0 || o.SnapLength > DefaultSnapLength {
		o.SnapLength = DefaultSnapLength
	}
	names, err := ns.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	c := &Capture{options: o, names: names, links: map[int]link{}}
	if c.socket, err = openSocket(ns, o.SnapLength); err != nil {
		names.Close()
		return nil, fmt.Errorf("capture: %w", err)
	}
	return c, nil
}

// Close ends the capture.
func (c *Capture) Close() error {
	c.names.Close()
	return c.socket.close()
}

// Missing says that the link to be recorded is not there yet, and which are; empty where there is nothing to say.
func (c *Capture) Missing() string {
	if c.options.Link == "" {
		return ""
	}
	all, err := c.names.LinkList()
	if err != nil {
		return ""
	}
	var names []string
	for _, l := range all {
		if l.Attrs().Name == c.options.Link {
			return ""
		}
		names = append(names, l.Attrs().Name)
	}
	return fmt.Sprintf("there is no interface %s yet, only %s; waiting for it", c.options.Link, strings.Join(names, ", "))
}

// Record writes packets to w as pcapng until ctx ends, the count is reached or w fails. What was received before is
// written. The result counts also with an error.
func (c *Capture) Record(ctx context.Context, w io.Writer) (Result, error) {
	out := &file{w: w, snapLength: c.options.SnapLength}
	packets, err := c.record(ctx, out)
	dropped, statErr := c.socket.dropped()
	closeErr := out.close(c.options.Link)
	return Result{Packets: packets, Dropped: dropped}, errors.Join(err, statErr, closeErr)
}

func (c *Capture) record(ctx context.Context, out *file) (packets uint64, err error) {
	defer context.AfterFunc(ctx, c.socket.interrupt)()
	ended := false
	for c.options.Count == 0 || packets < c.options.Count {
		if !ended && ctx.Err() != nil {
			ended = true
			if err := c.socket.shut(); err != nil {
				return packets, err
			}
		}
		p, err := c.next(out, !ended)
		switch {
		case errors.Is(err, errInterrupted):
			continue
		case errors.Is(err, errNone):
			return packets, nil
		case err != nil:
			return packets, err
		}
		l, err := c.link(p, out)
		if err != nil {
			return packets, err
		}
		if !l.wanted {
			continue
		}
		if err := out.write(l.id, p); err != nil {
			return packets, err
		}
		packets++
	}
	return packets, nil
}

// next is the next packet. Before it waits for one, whoever reads along gets to see all that came.
func (c *Capture) next(out *file, wait bool) (packet, error) {
	p, err := c.socket.receive(false)
	if wait && errors.Is(err, errNone) {
		if err := out.flush(); err != nil {
			return p, err
		}
		p, err = c.socket.receive(true)
	}
	if err != nil {
		return p, fmt.Errorf("receive packets: %w", err)
	}
	return p, nil
}

// link is the link that a packet passed. It is looked up with its first packet: from then on it has its name, which
// one that is still being made has not.
func (c *Capture) link(p packet, out *file) (link, error) {
	if l, known := c.links[p.link]; known {
		return l, nil
	}
	name, inner := fmt.Sprintf("if%d", p.link), false // of a link that is gone already
	if found, err := c.names.LinkByIndex(p.link); err == nil {
		name, inner = found.Attrs().Name, isInner(found)
	}
	l := link{wanted: name == c.options.Link || c.options.Link == "" && !inner}
	var err error
	if l.wanted {
		l.id, err = out.addLink(name, p.ethernet)
	} else {
		err = c.socket.exclude(p.link)
	}
	c.links[p.link] = l
	return l, err
}

// isInner tells whether packets of the link stay inside: loopback's, and those that another link received and that take
// turns at an intermediate device.
func isInner(l netlink.Link) bool {
	return l.Attrs().RawFlags&unix.IFF_LOOPBACK != 0 || l.Type() == "ifb"
}
