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
	tcpSlice = 60 * time.Millisecond
	tcpWarm  = 15 * time.Millisecond
)

// Two fabrics alike differ by more than slices of one: each way is joined this many times.
const tcpFabrics = 8

var tcpEffort = effort{rounds: 19, budget: 8 * time.Second}

// stream is one TCP connection, with a thread at either end that does nothing but write and read. The receiver lets the
// kernel drop what came instead of copying it, so that the way across is what bounds the rate. The ends stay on two
// CPUs: where the scheduler puts them would make more of a difference than the way across.
type stream struct {
	sender, receiver int // descriptors
	counters         [2]*counters
	begin            chan struct{}
	stop             atomic.Bool
	ended            chan error
	sent             uint64
	received         atomic.Uint64
}

func newStream(t testing.TB, from, to *machine, address string, number int) *stream {
	t.Helper()
	s := &stream{begin: make(chan struct{}), ended: make(chan error)}
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
	ready := make(chan *counters)
	for i, work := range []func(){s.send, s.receive} {
		go func() {
			runtime.LockOSThread()
			settle(number + i)
			c := openCounters(number == 0 && i == 0)
			defer c.close()
			ready <- c
			work()
		}()
		s.counters[i] = <-ready
	}
	t.Cleanup(func() {
		close(s.begin)
		_ = unix.Close(s.sender) // and the receiver ends
	})
	return s
}

// settle keeps the thread on one CPU, before others' threads. Neither is more than a help to steady figures.
func settle(number int) {
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return
	}
	number %= all.Count()
	for cpu := 0; ; cpu++ {
		if all.IsSet(cpu) && number == 0 {
			one.Set(cpu)
			break
		} else if all.IsSet(cpu) {
			number--
		}
	}
	_ = unix.SchedSetaffinity(0, &one)
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
	data := make([]byte, 1<<18)
	for range s.begin {
		var err error
		for first := true; err == nil && (first || !s.stop.Load()); first = false {
			var n int
			if n, err = unix.Write(s.sender, data); n > 0 {
				s.sent += uint64(n)
			}
		}
		s.ended <- err
	}
}

func (s *stream) receive() {
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

func counted(all []*stream) (c counts) {
	for _, s := range all {
		c = c.plus(s.counters[0].read()).plus(s.counters[1].read())
	}
	return c
}

func received(all []*stream) (n uint64) {
	for _, s := range all {
		n += s.received.Load()
	}
	return n
}

// pour runs all streams at once for a while; "packets" of the result are bytes.
func pour(all []*stream, long time.Duration) (r result) {
	for _, s := range all {
		s.stop.Store(false)
		s.begin <- struct{}{}
	}
	<-time.After(tcpWarm)
	counters := counted(all)
	before, start := received(all), time.Now()
	<-time.After(long)
	r.packets, r.elapsed = received(all)-before, time.Since(start)
	r.counters = counted(all).plus(counters.times(-1))
	for _, s := range all {
		s.stop.Store(true)
	}
	for _, s := range all {
		r.err = errors.Join(r.err, <-s.ended)
	}
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

// tcp compares the ways of joining by streams from the client to the VM, or the reverse: by the clock, and (_cpu) by the
// CPU time that both ends and all between them take for a byte.
func tcp(b *testing.B, streams int, reverse bool) {
	b.Helper()
	var all []*contender
	for range tcpFabrics {
		for i, w := range ways(10) {
			if len(all) == i {
				all = append(all, &contender{name: w.name})
			}
			all[i].slice = newFabric(b, w.join).tcp(b, streams, reverse, tcpSlice)
		}
		alternate(b, tcpEffort, all)
	}
	compare(b, "gbit/s", 8e-9, all)
	for _, c := range all[1:] {
		b.ReportMetric(c.median(busy)/all[0].median(busy), "x_"+c.name+"_cpu")
	}
}

// tcp connects the streams and is what pours them.
func (f *fabric) tcp(t testing.TB, streams int, reverse bool, long time.Duration) func() result {
	t.Helper()
	all := make([]*stream, streams)
	for i := range all {
		if reverse {
			all[i] = newStream(t, f.vm, f.client, clientIP.String(), i)
		} else {
			all[i] = newStream(t, f.client, f.vm, vmCA.String(), i)
		}
	}
	return func() result { return pour(all, long) }
}
