package bench_test

import (
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	tcpSlice = 100 * time.Millisecond
	tcpWarm  = 20 * time.Millisecond
)

var tcpEffort = effort{rounds: 51, budget: 40 * time.Second}

// stream is one TCP connection, with a thread at either end that does nothing but write and read. The receiver lets the
// kernel drop what came instead of copying it, so that the way across is what bounds the rate.
type stream struct {
	sender, receiver int // descriptors
	begin            chan struct{}
	stop             atomic.Bool
	ended            chan error
	first            bool // counts ksoftirqd's work too
	sent             uint64
	counted          counts // in the sender's thread, of the last slice
	received         atomic.Uint64
}

func newStream(t testing.TB, from, to *machine, address string, first bool) *stream {
	t.Helper()
	s := &stream{first: first, begin: make(chan struct{}), ended: make(chan error)}
	var listener net.Listener
	must(t, "listen", to.Do(func() (err error) {
		var config net.ListenConfig
		listener, err = config.Listen(t.Context(), "tcp4", net.JoinHostPort(address, "0"))
		return err
	}))
	defer func() { _ = listener.Close() }()
	var out net.Conn
	must(t, "connect", from.Do(func() (err error) {
		dialer := net.Dialer{Timeout: 5 * time.Second}
		out, err = dialer.DialContext(t.Context(), "tcp4", listener.Addr().String())
		return err
	}))
	in, err := listener.Accept()
	must(t, "accept", err)
	s.sender, s.receiver = descriptor(t, out), descriptor(t, in)
	go s.send()
	go s.receive()
	t.Cleanup(func() {
		close(s.begin)
		_ = unix.Close(s.sender) // and the receiver ends
	})
	return s
}

// descriptor is a blocking descriptor of a connection, which is closed by itself.
func descriptor(t testing.TB, c net.Conn) int {
	t.Helper()
	f, err := c.(*net.TCPConn).File()
	must(t, "take a connection's descriptor", err)
	fd, err := unix.Dup(int(f.Fd())) // Fd makes it blocking
	must(t, "take a connection's descriptor", errors.Join(err, f.Close(), c.Close()))
	return fd
}

// send writes from begin to stop, again and again.
func (s *stream) send() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
	p := openCounters(s.first)
	defer p.close()
	data := make([]byte, 1<<18)
	for range s.begin {
		var err error
		before := p.read()
		for first := true; err == nil && (first || !s.stop.Load()); first = false {
			var n int
			if n, err = unix.Write(s.sender, data); n > 0 {
				s.sent += uint64(n)
			}
		}
		s.counted = p.read().minus(before)
		s.ended <- err
	}
}

func (s *stream) receive() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
	defer func() { _ = unix.Close(s.receiver) }()
	data := make([]byte, 1<<20)
	for {
		n, _, err := unix.Recvfrom(s.receiver, data, unix.MSG_TRUNC)
		if n <= 0 || err != nil {
			return
		}
		s.received.Add(uint64(n))
	}
}

func received(all []*stream) (n uint64) {
	for _, s := range all {
		n += s.received.Load()
	}
	return n
}

// pour runs all streams at once for a while; "packets" of the result are bytes.
func pour(all []*stream, long time.Duration) (r result) {
	var sent uint64
	for _, s := range all {
		sent -= s.sent
		s.stop.Store(false)
		s.begin <- struct{}{}
	}
	<-time.After(tcpWarm)
	before, start := received(all), time.Now()
	<-time.After(long)
	r.packets, r.elapsed = received(all)-before, time.Since(start)
	for _, s := range all {
		s.stop.Store(true)
	}
	for _, s := range all {
		r.err = errors.Join(r.err, <-s.ended)
		sent += s.sent
		r.counters = r.counters.minus(s.counted)
	}
	// The counters went on when the slice's begin and end were not looked at.
	r.counters = r.counters.times(-float64(r.packets) / float64(sent))
	// What is on its way would run into the next slice.
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(5 * time.Second); ; <-poll.C {
		var total uint64
		for _, s := range all {
			total += s.sent
		}
		if received(all) == total || r.err != nil {
			return r
		}
		if time.Now().After(end) {
			r.err = errors.New("in 5 s not all that was sent came")
		}
	}
}

// tcp compares the ways of joining by streams from the client to the VM, or the reverse.
func tcp(b *testing.B, streams int, reverse bool) {
	b.Helper()
	var all []*contender
	for _, w := range ways(10) {
		all = append(all, &contender{name: w.name, slice: newFabric(b, w.join).tcp(b, streams, reverse, tcpSlice)})
	}
	alternate(b, tcpEffort, all)
	compare(b, "gbit/s", 8e-9, all)
}

// tcp connects the streams and is what pours them.
func (f *fabric) tcp(t testing.TB, streams int, reverse bool, long time.Duration) func() result {
	t.Helper()
	all := make([]*stream, streams)
	for i := range all {
		if reverse {
			all[i] = newStream(t, f.vm, f.client, clientIP.String(), i == 0)
		} else {
			all[i] = newStream(t, f.client, f.vm, vmCA.String(), i == 0)
		}
	}
	return func() result { return pour(all, long) }
}
