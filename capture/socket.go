package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// receiveBuffer holds what comes while the writer is busy, in bytes.
const receiveBuffer = 32 << 20

var (
	// errNone says that no packet waits.
	errNone = errors.New("no packet waits")
	// errInterrupted says that interrupt was called.
	errInterrupted = errors.New("interrupted")
)

// packet is one packet as it passed a link. data is valid until the next one is received.
type packet struct {
	at       time.Time
	link     int // index
	ethernet bool
	leaving  bool
	data     []byte
	length   int // of the whole packet, bytes
}

// socket is a packet socket (packet(7)) on all links of a namespace.
type socket struct {
	file       *os.File
	raw        syscall.RawConn
	buffer     []byte
	control    []byte
	snapLength int
	excluded   []int // indexes of links
	ended      bool
}

func openSocket(ns *netns.Namespace, snapLength int) (*socket, error) {
	s := &socket{buffer: make([]byte, snapLength), control: make([]byte, 256), snapLength: snapLength}
	err := ns.Do(func() error {
		// Without a protocol nothing comes before everything is set.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open a packet socket: %w", err)
		}
		s.file = os.NewFile(uintptr(fd), "capture")
		return s.prepare(fd)
	})
	if err == nil {
		s.raw, err = s.file.SyscallConn()
	}
	if err != nil && s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	return s, err
}

func (s *socket) prepare(fd int) error {
	// Beyond the machine's limit where that is allowed.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
			return fmt.Errorf("set the receive buffer: %w", err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return fmt.Errorf("ask for the lengths of packets: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("ask for timestamps: %w", err)
	}
	if err := s.filter(fd); err != nil {
		return err
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all}); err != nil {
		return fmt.Errorf("bind the packet socket: %w", err)
	}
	return nil
}

// filter lets the kernel pass on the first snapLength bytes of what did not pass an excluded link; nothing in the end.
func (s *socket) filter(fd int) error {
	program := []bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtInterfaceIndex}}
	most := s.snapLength
	if s.ended {
		most = 0
	}
	for _, index := range s.excluded {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(index), SkipTrue: 1}, bpf.RetConstant{Val: 0})
	}
	assembled, err := bpf.Assemble(append(program, bpf.RetConstant{Val: uint32(most)}))
	if err != nil {
		return fmt.Errorf("make the capture's filter: %w", err)
	}
	code := make([]unix.SockFilter, len(assembled))
	for i, a := range assembled {
		code[i] = unix.SockFilter{Code: a.Op, Jt: a.Jt, Jf: a.Jf, K: a.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
		return fmt.Errorf("attach the capture's filter: %w", err)
	}
	return nil
}

// mostExcluded keeps the filter within what the kernel takes (BPF_MAXINSNS); the oldest link goes first.
const mostExcluded = 1000

// exclude makes the kernel hold back what passes a link.
func (s *socket) exclude(index int) error {
	if len(s.excluded) >= mostExcluded {
		s.excluded = slices.Delete(s.excluded, 0, 1)
	}
	s.excluded = append(s.excluded, index)
	return s.refilter()
}

// shut lets no more packets come; those that wait can be received.
func (s *socket) shut() error {
	s.ended = true
	return s.refilter()
}

func (s *socket) refilter() error {
	var err error
	if controlErr := s.raw.Control(func(fd uintptr) { err = s.filter(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}

// receive takes the next packet. Without wait it does not wait for one.
func (s *socket) receive(wait bool) (p packet, err error) {
	var n, controls int
	var from unix.Sockaddr
	readErr := s.raw.Read(func(fd uintptr) bool {
		for {
			n, controls, _, from, err = unix.Recvmsg(int(fd), s.buffer, s.control, 0)
			// A link that goes down is told to its sockets once; the others go on.
			if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENETDOWN) {
				break
			}
		}
		return !wait || !errors.Is(err, unix.EAGAIN)
	})
	switch {
	case errors.Is(err, unix.EAGAIN) && readErr == nil:
		return p, errNone
	case errors.Is(readErr, os.ErrDeadlineExceeded):
		return p, s.resume()
	case errors.Join(readErr, err) != nil:
		return p, errors.Join(readErr, err)
	}
	return s.packet(n, s.control[:controls], from)
}

func (s *socket) packet(n int, control []byte, from unix.Sockaddr) (packet, error) {
	link, ok := from.(*unix.SockaddrLinklayer)
	if !ok {
		return packet{}, fmt.Errorf("the kernel names no link (%T)", from)
	}
	p := packet{
		at: time.Now(), link: link.Ifindex, leaving: link.Pkttype == unix.PACKET_OUTGOING, data: s.buffer[:n], length: n,
		ethernet: link.Hatype == unix.ARPHRD_ETHER || link.Hatype == unix.ARPHRD_LOOPBACK,
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return packet{}, fmt.Errorf("read what the kernel says of a packet: %w", err)
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS &&
			len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})):
			at := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			p.at = time.Unix(at.Unix())
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 8:
			// struct tpacket_auxdata: status, then the length of the whole packet.
			p.length = int(binary.NativeEndian.Uint32(m.Data[4:]))
		}
	}
	return p, nil
}

// interrupt ends a wait for packets, once.
func (s *socket) interrupt() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) }

// resume undoes interrupt, so that what waits already can be received.
func (s *socket) resume() error {
	if err := s.file.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return errInterrupted
}

// dropped is how many packets found the receive buffer full.
func (s *socket) dropped() (drops uint64, err error) {
	var stats *unix.TpacketStats
	controlErr := s.raw.Control(func(fd uintptr) {
		stats, err = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	if err := errors.Join(controlErr, err); err != nil {
		return 0, fmt.Errorf("read how many packets were dropped: %w", err)
	}
	return uint64(stats.Drops), nil
}

func (s *socket) close() error { return s.file.Close() }
