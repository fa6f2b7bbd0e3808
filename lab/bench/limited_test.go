package bench_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/ratelimit"
)

// A compartment with a tunnel that is limited, and room for more of them:
//
//	vm                compartment               site
//	+------+     +--------------------+     +--------+
//	| eth0 |-----|IfCi1         IfCe1 |-----| eth0   |
//	+------+     |      forwards      |     +--------+
//	10.0.0.10    +--------------------+     10.2.0.2
//
// The links are veths: packets count with their Ethernet headers, 14 octets more than inside a real tunnel.
const (
	tunnelMTU = 1400
	limitKbps = 5120 // of an interface that declares none
	lostAfter = time.Second
)

type limited struct{ vm, compartment, site *machine }

func newLimited(t testing.TB) *limited {
	t.Helper()
	l := &limited{vm: newMachine(t), compartment: newMachine(t), site: newMachine(t)}
	cable(t, plug{l.vm, "eth0", vmMAC, innerMTU}, plug{l.compartment, "IfCi1", insideMAC, innerMTU})
	cable(t, plug{l.site, "eth0", clientMAC, tunnelMTU}, plug{l.compartment, "IfCe1", extMAC, tunnelMTU})
	l.vm.address(t, "eth0", vmCA.String()+"/24")
	l.compartment.address(t, "IfCi1", "10.0.0.1/24")
	l.compartment.address(t, "IfCe1", extIP.String()+"/24")
	l.site.address(t, "eth0", clientIP.String()+"/24")
	l.vm.route(t, clientNet, netip.MustParseAddr("10.0.0.1"), "eth0")
	l.site.route(t, vmNet, extIP, "eth0")
	l.compartment.forward(t)
	must(t, "limit", ratelimit.Set(t.Context(), l.compartment.Namespace,
		[]ratelimit.Limit{{Link: "IfCe1", TxKbps: limitKbps, RxKbps: limitKbps}}))
	return l
}

// ends are who sends and who receives, with the address to send to.
func (l *limited) ends(d ratelimit.Direction) (from, to *netns.Namespace, target string) {
	if d == ratelimit.Tx {
		return l.vm.Namespace, l.site.Namespace, net.JoinHostPort(clientIP.String(), "0")
	}
	return l.site.Namespace, l.vm.Namespace, net.JoinHostPort(vmCA.String(), "0")
}

// tcp sends as fast as TCP lets it; what arrives is counted.
func (l *limited) tcp(t testing.TB, d ratelimit.Direction) *atomic.Uint64 {
	t.Helper()
	from, to, target := l.ends(d)
	var listener net.Listener
	must(t, "listen", to.Do(func() (err error) {
		listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp4", target)
		return err
	}))
	defer listener.Close()
	var out net.Conn
	must(t, "connect", from.Do(func() (err error) {
		out, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp4", listener.Addr().String())
		return err
	}))
	in, err := listener.Accept()
	must(t, "accept", err)
	t.Cleanup(func() { _, _ = out.Close(), in.Close() })
	return carry(out, in, make([]byte, 1<<16))
}

// udp sends that many kbit/s, in packets of the tunnel's MTU; what arrives is counted.
func (l *limited) udp(t testing.TB, d ratelimit.Direction, kbps float64) *atomic.Uint64 {
	t.Helper()
	in, out := l.datagrams(t, d)
	return carry(&paced{Conn: out, rate: kbps * 1000 / 8, start: time.Now()}, in, make([]byte, tunnelMTU-28))
}

// flood is udp until it is stopped.
func (l *limited) flood(t testing.TB, d ratelimit.Direction, kbps float64) (stop func()) {
	t.Helper()
	in, out := l.datagrams(t, d)
	carry(&paced{Conn: out, rate: kbps * 1000 / 8, start: time.Now()}, in, make([]byte, tunnelMTU-28))
	return func() { _, _ = out.Close(), in.Close() }
}

func (l *limited) datagrams(t testing.TB, d ratelimit.Direction) (in *net.UDPConn, out net.Conn) {
	t.Helper()
	from, to, target := l.ends(d)
	must(t, "listen", to.Do(func() (err error) {
		in, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(target)))
		return err
	}))
	must(t, "connect", from.Do(func() (err error) {
		out, err = (&net.Dialer{}).DialContext(t.Context(), "udp4", in.LocalAddr().String())
		return err
	}))
	t.Cleanup(func() { _, _ = out.Close(), in.Close() })
	return in, out
}

// pinger sends UDP of a length and class (IPv4's TOS) to the site, each packet after the answer to the last, and tells how
// long each took, in seconds.
func (l *limited) pinger(t testing.TB, length, class int) func(packets int) []float64 {
	t.Helper()
	in, out := l.datagrams(t, ratelimit.Tx)
	for _, c := range []net.Conn{in, out} {
		raw, err := c.(*net.UDPConn).SyscallConn()
		must(t, "mark", err)
		must(t, "mark", raw.Control(func(fd uintptr) {
			must(t, "mark", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, class))
		}))
	}
	go func() {
		buffer := make([]byte, length)
		for {
			n, from, err := in.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			_, _ = in.WriteToUDPAddrPort(buffer[:n], from)
		}
	}()
	return func(packets int) (all []float64) {
		buffer := make([]byte, length)
		for range packets {
			start := time.Now()
			_ = out.SetReadDeadline(start.Add(lostAfter)) // a packet that is lost took that long
			_, _ = out.Write(buffer)
			_, _ = out.Read(buffer)
			all = append(all, time.Since(start).Seconds())
			<-time.After(10 * time.Millisecond)
		}
		return all
	}
}

// paced writes no faster than its rate, in octets a second.
type paced struct {
	net.Conn
	rate, sent float64
	start      time.Time
}

func (p *paced) Write(b []byte) (int, error) {
	ahead := time.Duration(p.sent/p.rate*1e9) - time.Since(p.start)
	if ahead > time.Millisecond {
		<-time.After(ahead)
	}
	p.sent += float64(len(b))
	n, err := p.Conn.Write(b)
	if errors.Is(err, unix.ENOBUFS) {
		return len(b), nil
	}
	return n, err
}

// carry writes data again and again until the connection is closed, and counts what arrives.
func carry(out io.Writer, in io.Reader, data []byte) *atomic.Uint64 {
	var arrived atomic.Uint64
	go func() {
		for {
			if _, err := out.Write(data); err != nil {
				return
			}
		}
	}()
	go func() {
		buffer := make([]byte, 1<<18)
		for {
			n, err := in.Read(buffer)
			if err != nil {
				return
			}
			arrived.Add(uint64(n))
		}
	}()
	return &arrived
}
