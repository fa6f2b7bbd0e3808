package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"

	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/lab/hnv"
)

// Node is a machine of the lab: a network namespace with a name. Its sockets can be used from everywhere. One made by
// hand from a namespace, such as a compartment, works too.
type Node struct {
	Name string
	NS   *netns.Namespace
	lab  *Lab
}

// Dial opens a connection from the node. network is tcp or udp.
func (n *Node) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var conn net.Conn
	err := n.NS.Do(func() error {
		var err error
		conn, err = new(net.Dialer).DialContext(ctx, network, to.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	return conn, nil
}

// Listen opens a TCP listener on the node. The caller closes it.
func (n *Node) Listen(at netip.AddrPort) (net.Listener, error) {
	var listener net.Listener
	err := n.NS.Do(func() error {
		var config net.ListenConfig
		config.SetMultipathTCP(false)
		var err error
		listener, err = config.Listen(context.Background(), "tcp", at.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	return listener, nil
}

// ListenPacket opens a UDP socket on the node, with room for bursts. The caller closes it.
func (n *Node) ListenPacket(at netip.AddrPort) (*net.UDPConn, error) {
	var conn *net.UDPConn
	err := n.NS.Do(func() error {
		var err error
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	})
	if err == nil {
		err = hnv.GrowBuffer(conn)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	return conn, nil
}

// SendIP sends an IPv4 packet as it is, header and a possibly forged source included, by the node's routes.
func (n *Node) SendIP(packet []byte) error {
	if len(packet) < 20 {
		return fmt.Errorf("%s sends a raw packet: %d bytes are no IPv4 header", n.Name, len(packet))
	}
	return n.NS.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return fmt.Errorf("%s opens a raw socket: %w", n.Name, err)
		}
		defer func() { _ = unix.Close(fd) }()
		to := &unix.SockaddrInet4{Addr: [4]byte(packet[16:20])}
		if err := unix.Sendto(fd, packet, 0, to); err != nil {
			return fmt.Errorf("%s sends a raw packet: %w", n.Name, err)
		}
		return nil
	})
}

// Run runs a command in the node and returns what it printed, both streams. The error holds the output too.
func (n *Node) Run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var output []byte
	err := n.NS.Do(func() error {
		var err error
		output, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		return string(output), fmt.Errorf("%s: %s: %w\n%s", n.Name, name, errors.Join(err, ctx.Err()), output)
	}
	return string(output), nil
}

// bounded gives a context without a deadline one of defaultTimeout.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, defaultTimeout)
}
