package bench_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// generator makes the kernel receive small frames on a link as from the queue of a NIC: in batches of 64 (a NAPI
// poll's), in buffers with a NIC's headroom, by a program in BPF_PROG_RUN's live mode. It costs less than a twentieth
// of what the gateway does per packet, so that it hardly evens out what is compared. All of a packet's way is gone
// within the generator's thread; only what the kernel puts off to ksoftirqd is not.
type generator struct {
	slices chan uint32
	done   chan result
}

type result struct {
	packets  uint64        // that came out at the sink
	elapsed  time.Duration // of a generator: in which a CPU worked for it
	counters counts
	err      error
}

// newGenerator makes a generator of the frames, which are alike in length. They are taken in turn, each one so many times
// in a row.
func newGenerator(t testing.TB, m *machine, name string, frames [][]byte, row int, s *sink) *generator {
	t.Helper()
	program := generatorProgram(t, frames, row)
	g := &generator{slices: make(chan uint32), done: make(chan result)}
	ready, index := make(chan error), m.index(t, name)
	go func() {
		err := m.Do(func() error { return g.work(index, program, len(frames[0]), s, ready) })
		if err != nil {
			ready <- err
		}
	}()
	must(t, "start a packet generator", <-ready)
	t.Cleanup(func() { close(g.slices) })
	return g
}

// liveFrames lets a generator's frames arrive on a link, which the kernel allows where XDP is on. Nothing passes through
// this program. At the other end it turns segmentation offload off.
func (m *machine) liveFrames(t testing.TB, name string) {
	t.Helper()
	const xdpPass = 2
	index := m.index(t, name)
	program := newProgram(t, ebpf.XDP, asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()})
	must(t, "turn XDP on at "+name, m.Do(func() error {
		x, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: index, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { _ = x.Close() })
		}
		return err
	}))
}

// run sends so many frames and waits until they are gone.
func (g *generator) run(frames uint32) result {
	g.slices <- frames
	return <-g.done
}

// work serves run on a thread in the link's namespace.
func (g *generator) work(ifindex int, program *ebpf.Program, length int, s *sink, ready chan<- error) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20); err != nil {
		return fmt.Errorf("raise the thread's priority: %w", err)
	}
	p := openCounters(true)
	defer p.close()
	md := make([]byte, 24) // struct xdp_md
	binary.NativeEndian.PutUint32(md[4:], uint32(length))
	binary.NativeEndian.PutUint32(md[12:], uint32(ifindex))
	data := make([]byte, length)
	ready <- nil
	for frames := range g.slices {
		var r result
		before, errBefore := s.count()
		counters := p.read()
		_, r.err = program.Run(&ebpf.RunOptions{
			Data: data, Context: md, Repeat: frames, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES,
		})
		r.counters = p.read().plus(counters.times(-1))
		r.elapsed = r.counters.busy
		after, errAfter := s.count()
		r.packets = after - before
		if r.err = errors.Join(r.err, errBefore, errAfter); r.err == nil && r.packets < uint64(frames)/1000*999 {
			r.err = fmt.Errorf("of %d frames sent, %d came out", frames, r.packets)
		}
		g.done <- r
	}
	return nil
}

// generatorProgram writes the next of the frames over each buffer and passes it to the kernel. Buffers come back as the
// last packet left them, so the whole frame is written, as a NIC does.
func generatorProgram(t testing.TB, frames [][]byte, row int) *ebpf.Program {
	t.Helper()
	length, count := len(frames[0]), uint32(len(frames))
	templates := newArray(t, uint32(length), count)
	for i, f := range frames {
		must(t, "write a frame", templates.Put(uint32(i), f))
	}
	next := newArray(t, 8, 1)
	code := asm.Instructions{
		asm.LoadMem(asm.R7, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R8, asm.R1, 4, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.Add.Imm(asm.R1, int32(length)),
		asm.JGT.Reg(asm.R1, asm.R8, "aborted"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
	}
	code = append(code, lookup(next)...)
	code = append(code,
		asm.LoadMem(asm.R9, asm.R0, 0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.Add.Imm(asm.R1, 1),
		asm.JLT.Imm(asm.R1, int32(count)*int32(row), "store"),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord).WithSymbol("store"),
		asm.Div.Imm(asm.R9, int32(row)),
		asm.StoreMem(asm.RFP, -4, asm.R9, asm.Word),
	)
	code = append(code, lookup(templates)...)
	for at := 0; at < length; {
		size := asm.DWord
		for size.Sizeof() > length-at {
			size = map[asm.Size]asm.Size{asm.DWord: asm.Word, asm.Word: asm.Half, asm.Half: asm.Byte}[size]
		}
		code = append(code,
			asm.LoadMem(asm.R1, asm.R0, int16(at), size), asm.StoreMem(asm.R7, int16(at), asm.R1, size))
		at += size.Sizeof()
	}
	const xdpAborted, xdpPass = 0, 2
	code = append(code,
		asm.Mov.Imm(asm.R0, xdpPass), asm.Return(),
		asm.Mov.Imm(asm.R0, xdpAborted).WithSymbol("aborted"), asm.Return())
	return newProgram(t, ebpf.XDP, code)
}

// lookup leaves the value in R0 whose number is on the stack; there always is one.
func lookup(m *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "aborted"),
	}
}

func newArray(t testing.TB, size, entries uint32) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: size, MaxEntries: entries})
	must(t, "make a map", err)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func newProgram(t testing.TB, kind ebpf.ProgramType, code asm.Instructions) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: kind, Instructions: code, License: "Apache-2.0"})
	must(t, "load a program", err)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// sink counts the frames of one length that come in on links, and drops them.
type sink struct {
	counted *ebpf.Map
	program *ebpf.Program
}

func newSink(t testing.TB, length int) *sink {
	t.Helper()
	const tcxNext, tcxDrop = -1, 2
	s := &sink{counted: newArray(t, 8, 1)}
	code := asm.Instructions{
		asm.LoadMem(asm.R3, asm.R1, 0, asm.Word), // the length in struct __sk_buff
		asm.JNE.Imm(asm.R3, int32(length), "aborted"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
	}
	code = append(code, lookup(s.counted)...)
	code = append(code,
		asm.Mov.Imm(asm.R1, 1), asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, tcxDrop), asm.Return(),
		asm.Mov.Imm(asm.R0, tcxNext).WithSymbol("aborted"), asm.Return())
	s.program = newProgram(t, ebpf.SchedCLS, code)
	return s
}

// stand puts the sink before everything else on a link.
func (s *sink) stand(t testing.TB, m *machine, name string) {
	t.Helper()
	index := m.index(t, name)
	must(t, "attach a sink to "+name, m.Do(func() error {
		l, err := link.AttachTCX(link.TCXOptions{
			Interface: index, Program: s.program, Attach: ebpf.AttachTCXIngress, Anchor: link.Head(),
		})
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	}))
}

func (s *sink) count() (n uint64, err error) {
	err = s.counted.Lookup(uint32(0), &n)
	return n, err
}
