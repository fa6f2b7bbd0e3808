package rawpeer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"bulkhead/internal/netns"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"golang.org/x/sys/unix"
)

// Options are what a peer is.
type Options struct {
	// Namespace that the peer lives in; nil: that of the process.
	Namespace *netns.Namespace
	// Local is the peer's address, Remote the speaker's.
	Local, Remote netip.Addr
	// ASN that the peer claims, and Identifier that it calls itself by.
	ASN        uint32
	Identifier netip.Addr
	// HoldTime that it offers, in seconds.
	HoldTime uint16
	// Families that it offers; none: a peer that knows no capability for them, hence IPv4 alone.
	Families []bgp.Family
	// Capabilities that it has besides.
	Capabilities []bgp.ParameterCapabilityInterface
	// OldASN leaves the capability for 4-byte numbers out (RFC 6793).
	OldASN bool
	// Password of the TCP MD5 signature; empty: none.
	Password string
	// TTL of what it sends; 0: the kernel's.
	TTL int
	// Deaf: it reads nothing once the session is established, with a small receive buffer, so that the speaker's soon fills.
	Deaf bool
}

// Dial connects to the speaker.
func Dial(ctx context.Context, options Options) (*Peer, error) {
	var conn net.Conn
	dialer := net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(options.Local, 0)),
		Timeout:   3 * time.Second,
		Control:   options.control,
	}
	dialer.SetMultipathTCP(false)
	err := options.do(func() error {
		var err error
		conn, err = dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(options.Remote, bgp.BGP_PORT).String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return newPeer(options, conn.(*net.TCPConn)), nil
}

// Listener is where a peer waits for the speaker to dial.
type Listener struct {
	options  Options
	listener *net.TCPListener
}

// Await listens for the speaker.
func Await(options Options) (*Listener, error) {
	config := net.ListenConfig{Control: options.control}
	config.SetMultipathTCP(false) // it excludes MD5
	var l net.Listener
	err := options.do(func() error {
		var err error
		l, err = config.Listen(context.Background(), "tcp", netip.AddrPortFrom(options.Local, bgp.BGP_PORT).String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Listener{options: options, listener: l.(*net.TCPListener)}, nil
}

// Accept waits until the speaker dials.
func (l *Listener) Accept() (*Peer, error) {
	conn, err := l.listener.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return newPeer(l.options, conn), nil
}

// Close ends the listening.
func (l *Listener) Close() { _ = l.listener.Close() }

// do runs fn where the peer lives.
func (o Options) do(fn func() error) error {
	if o.Namespace == nil {
		return fn()
	}
	return o.Namespace.Do(fn)
}

// control sets what the options ask of the socket before it is used.
func (o Options) control(_, _ string, c syscall.RawConn) error {
	var result error
	set := func(what string, err error) {
		if err != nil {
			result = errors.Join(result, fmt.Errorf("set %s: %w", what, err))
		}
	}
	err := c.Control(func(fd uintptr) {
		if o.TTL != 0 && o.Local.Is4() {
			set("TTL", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, o.TTL))
		}
		if o.TTL != 0 && o.Local.Is6() {
			set("hop limit", unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, o.TTL))
		}
		if o.Password != "" {
			set("MD5 password", unix.SetsockoptTCPMD5Sig(int(fd), unix.IPPROTO_TCP, unix.TCP_MD5SIG, o.signature()))
		}
		if o.Deaf {
			set("receive buffer", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096))
		}
	})
	return errors.Join(err, result)
}

// signature is the key of the TCP MD5 signature (RFC 2385) as Linux takes it.
func (o Options) signature() *unix.TCPMD5Sig {
	sig := &unix.TCPMD5Sig{Keylen: uint16(len(o.Password))}
	copy(sig.Key[:], o.Password)
	if o.Remote.Is4() {
		sig.Addr.Family = unix.AF_INET
		copy(sig.Addr.Data[2:], o.Remote.AsSlice()) // after the port
	} else {
		sig.Addr.Family = unix.AF_INET6
		copy(sig.Addr.Data[6:], o.Remote.AsSlice()) // after the port and the flow label
	}
	return sig
}

// readFull reads until b is full.
func readFull(conn net.Conn, b []byte) error {
	_, err := io.ReadFull(conn, b)
	return err
}
