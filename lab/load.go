package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Sink takes whatever it is sent, by TCP and UDP, and counts the payload.
type Sink struct {
	bytes  atomic.Uint64
	tcp    net.Listener
	udp    *net.UDPConn
	done   sync.WaitGroup
	mu     sync.Mutex
	closed bool
	conns  []net.Conn
}

// ServeSink starts a sink on all addresses of the node. It stops with the lab.
func (n *Node) ServeSink(port uint16) (*Sink, error) {
	at := netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	tcp, err := n.Listen(at)
	if err != nil {
		return nil, err
	}
	udp, err := n.ListenPacket(at)
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	s := &Sink{tcp: tcp, udp: udp}
	s.done.Go(s.takeUDP)
	s.done.Go(s.takeTCP)
	n.lab.onClose(s.close)
	return s, nil
}

// Bytes is the payload that has come so far.
func (s *Sink) Bytes() uint64 { return s.bytes.Load() }

// Await waits until that much more payload has come, and says how long it took. The error is the context's (30 s without
// a deadline).
func (s *Sink) Await(ctx context.Context, bytes uint64) (time.Duration, error) {
	if _, ok := ctx.Deadline(); !ok {
		bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		ctx = bounded
	}
	start, before := time.Now(), s.Bytes()
	for s.Bytes()-before < bytes {
		wait(ctx, 5*time.Millisecond)
		if ctx.Err() != nil {
			return 0, fmt.Errorf("%d of %d bytes came: %w", s.Bytes()-before, bytes, ctx.Err())
		}
	}
	return time.Since(start), nil
}

func (s *Sink) takeUDP() {
	buffer := make([]byte, 1<<16)
	for {
		size, err := s.udp.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.bytes.Add(uint64(size))
	}
}

func (s *Sink) takeTCP() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		if !s.add(conn) {
			return
		}
		s.done.Go(func() {
			defer func() { _ = conn.Close() }()
			buffer := make([]byte, 1<<16)
			for {
				size, err := conn.Read(buffer)
				s.bytes.Add(uint64(size))
				if err != nil {
					return
				}
			}
		})
	}
}

// add keeps a connection for close, or ends it when that has been.
func (s *Sink) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return false
	}
	s.conns = append(s.conns, conn)
	return true
}

func (s *Sink) close() error {
	s.mu.Lock()
	s.closed = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	err := errors.Join(s.tcp.Close(), s.udp.Close())
	s.done.Wait()
	return err
}

// Load is traffic that a node makes until Stop.
type Load struct {
	conn   net.Conn
	stop   context.CancelFunc
	done   sync.WaitGroup
	sent   atomic.Uint64
	ending sync.Once
}

// Push sends by TCP as fast as it goes, to a sink.
func (n *Node) Push(ctx context.Context, to netip.AddrPort) (*Load, error) {
	return n.load(ctx, TCP, to, func(l *Load, ctx context.Context) {
		block := make([]byte, 1<<14)
		for ctx.Err() == nil {
			size, err := l.conn.Write(block)
			l.sent.Add(uint64(size))
			if err != nil {
				return
			}
		}
	})
}

// floodPayload is what a datagram of Flood carries: it fits every tunnel.
const floodPayload = 1200

// Flood sends UDP at a steady rate, in kbit/s of payload, whoever listens.
func (n *Node) Flood(ctx context.Context, to netip.AddrPort, kbps int) (*Load, error) {
	const tick = 5 * time.Millisecond
	return n.load(ctx, UDP, to, func(l *Load, ctx context.Context) {
		datagram := make([]byte, floodPayload)
		for start := time.Now(); ctx.Err() == nil; wait(ctx, tick) {
			due := uint64(time.Since(start).Seconds() * float64(kbps) * 1000 / 8)
			// What a full queue refuses, and ICMP's answers to what went before, are the flood's to lose.
			for ; l.sent.Load() < due; l.sent.Add(floodPayload) {
				_, _ = l.conn.Write(datagram)
			}
		}
	})
}

func (n *Node) load(ctx context.Context, protocol string, to netip.AddrPort, send func(*Load, context.Context)) (*Load, error) {
	conn, err := n.Dial(ctx, protocol, to)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		// What is queued when it stops is not to be sent, and sent again, while something else is measured.
		if err := tcp.SetLinger(0); err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name, errors.Join(err, conn.Close()))
		}
	}
	running, stop := context.WithCancel(context.Background())
	l := &Load{conn: conn, stop: stop}
	l.done.Go(func() { send(l, running) })
	n.lab.onClose(func() error { l.Stop(); return nil })
	return l, nil
}

// Stop ends the load and returns the payload sent. Stopping again does nothing more.
func (l *Load) Stop() uint64 {
	l.ending.Do(func() {
		l.stop()
		_ = l.conn.Close()
		l.done.Wait()
	})
	return l.sent.Load()
}
