package fib

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// receiveBuffer holds the kernel's answers to one write, or news until they are read, in bytes.
const receiveBuffer = 8 << 20

// conn is a netlink socket in a namespace.
type conn struct {
	fd   int
	port uint32
	seq  uint32
	buf  []byte
}

// dial opens a socket and joins groups of news.
func dial(ns *netns.Namespace, groups ...int) (*conn, error) {
	c := &conn{buf: make([]byte, 1<<16)}
	err := ns.Do(func() (err error) {
		c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if err := c.prepare(groups); err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink: %w", err), unix.Close(c.fd))
	}
	return c, nil
}

func (c *conn) prepare(groups []int) error {
	// Without the right to more (CAP_NET_ADMIN in the first user namespace) the machine's limit does.
	if unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
			return err
		}
	}
	for _, option := range []int{unix.NETLINK_GET_STRICT_CHK, unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK} {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, option, 1); err != nil {
			return err
		}
	}
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	address, err := unix.Getsockname(c.fd)
	if err != nil {
		return err
	}
	c.port = address.(*unix.SockaddrNetlink).Pid
	for _, g := range groups {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) close() { _ = unix.Close(c.fd) }

// next is the number of the next message.
func (c *conn) next() uint32 {
	c.seq++
	return c.seq
}

// kernelError is what the kernel refused a message with.
type kernelError struct {
	errno unix.Errno
	text  string
}

func (e *kernelError) Error() string {
	if e.text == "" {
		return e.errno.Error()
	}
	return e.errno.Error() + " (" + e.text + ")"
}

func (e *kernelError) Unwrap() error { return e.errno }

// mostOctets is how much is sent at once: the kernel takes no more than a socket's send buffer holds.
const mostOctets = 96 << 10

// write sends messages and yields what the kernel refused, by number. It carries them out in order, and holds its lock for
// each message alone.
func (c *conn) write(b []byte) (map[uint32]error, error) {
	refused := map[uint32]error{}
	for len(b) > 0 {
		size, last := 0, 0
		for size < len(b) {
			length := align(int(native.Uint32(b[size:])))
			if size > 0 && size+length > mostOctets {
				break
			}
			last, size = size, size+length
		}
		// The last message alone is answered also when it succeeds.
		flags := b[last+6:]
		native.PutUint16(flags, native.Uint16(flags)|unix.NLM_F_ACK)
		if err := c.send(b[:size]); err != nil {
			return nil, err
		}
		if err := c.answers(native.Uint32(b[last+8:]), refused); err != nil {
			return nil, err
		}
		b = b[size:]
	}
	return refused, nil
}

// answers reads what was refused, up to the answer to the last message.
func (c *conn) answers(last uint32, refused map[uint32]error) error {
	for ended := false; !ended; {
		err := c.receive(func(m message) {
			if m.kind != unix.NLMSG_ERROR {
				return
			}
			if err := m.err(); err != nil {
				refused[m.seq] = err
			}
			ended = ended || m.seq == last
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dumpTries bounds how often a table that changes while it is read is read again.
const dumpTries = 10

// dump asks for a table and yields what it holds. A table that changed meanwhile is read again: begin is called before
// each reading.
func (c *conn) dump(request func(w *writer, seq uint32), begin func(), each func(message)) error {
	var err error
	for range dumpTries {
		begin()
		if err = c.dumpOnce(request, each); !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return err
}

var errInterrupted = errors.New("the kernel's table changes faster than it can be read")

func (c *conn) dumpOnce(request func(w *writer, seq uint32), each func(message)) error {
	var w writer
	seq := c.next()
	request(&w, seq)
	if err := c.send(w.buf); err != nil {
		return err
	}
	interrupted := false
	var failed error
	for ended := false; !ended; {
		err := c.receive(func(m message) {
			if m.seq != seq {
				return
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.kind {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				// A table that was never used is not there.
				if err := m.err(); err != nil && !errors.Is(err, unix.ENOENT) {
					failed = err
				}
				ended = true
			default:
				each(m)
			}
		})
		if err != nil {
			return err
		}
	}
	if failed == nil && interrupted {
		return errInterrupted
	}
	return failed
}

func (c *conn) send(b []byte) error {
	for {
		err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return err
		}
	}
}

// receive reads once and yields the messages.
func (c *conn) receive(each func(message)) error {
	for {
		n, _, flags, _, err := unix.Recvmsg(c.fd, c.buf, nil, unix.MSG_TRUNC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case flags&unix.MSG_TRUNC != 0:
			c.buf = make([]byte, 2*n)
			return fmt.Errorf("a message of %d octets is too long", n)
		}
		return messages(c.buf[:n], each)
	}
}
