package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/bgp/internal/seat"
	"bulkhead/bgp/internal/wire"
	"bulkhead/internal/netns"
)

// process is a live speaker's, be it our child or not. It is held by a descriptor: a number may be another process's by
// the time that it is used.
type process struct {
	pid   int
	file  *os.File
	since time.Time     // that we know it
	gone  chan struct{} // closed when the process is gone
	why   string        // how it ended, as far as it is known; read it when gone is closed
}

// connectPause is between two attempts to reach a socket that is about to be opened.
const connectPause = 10 * time.Millisecond

// holder finds the process that has the seat at path; nil: none. It waits for one that has just begun.
func holder(ctx context.Context, path string) (*process, error) {
	for {
		pid, err := seat.Holder(ctx, path)
		if errors.Is(err, seat.ErrUnreachable) {
			select {
			case <-time.After(connectPause):
				continue
			case <-ctx.Done():
				return nil, err
			}
		}
		if err != nil || pid == 0 {
			return nil, err
		}
		p, err := watch(pid, nil)
		if errors.Is(err, unix.ESRCH) {
			continue // it ended just now
		}
		if err != nil {
			return nil, err
		}
		// It may have ended before it was held, and its number be another's.
		if again, err := seat.Holder(ctx, path); err == nil && again == pid {
			return p, nil
		}
	}
}

// watch holds the process with the number; cmd is set where it is our child.
func watch(pid int, cmd *exec.Cmd) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("hold process %d: %w", pid, err)
	}
	p := &process{pid: pid, file: os.NewFile(uintptr(fd), "pidfd"), since: time.Now(), gone: make(chan struct{})}
	conn, err := p.file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch process %d: %w", pid, err), p.file.Close())
	}
	go func() {
		defer close(p.gone)
		defer p.file.Close()
		// The descriptor is readable when the process is gone; no thread waits meanwhile.
		_ = conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
		})
		if cmd != nil {
			_ = cmd.Wait()
			p.why = cmd.ProcessState.String()
		}
	}()
	return p, nil
}

// alive tells whether the process is there.
func (p *process) alive() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// kill ends the process without a word, and waits until it is gone.
func (p *process) kill(ctx context.Context) error {
	if err := p.signal(unix.SIGKILL); err != nil {
		return err
	}
	return p.wait(ctx)
}

// wait waits until the process is gone.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("process %d has not ended: %w", p.pid, ctx.Err())
	}
}

func (p *process) signal(signal unix.Signal) error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return nil //nolint:nilerr // closed: it is gone
	}
	var sent error
	err = conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), signal, nil, 0) })
	if err != nil || errors.Is(sent, unix.ESRCH) {
		return nil //nolint:nilerr // closed, or just ended
	}
	if sent != nil {
		return fmt.Errorf("send %s to process %d: %w", signal, p.pid, sent)
	}
	return nil
}

// in tells whether the process is in the namespace.
func (p *process) in(ns *netns.Namespace) (bool, error) {
	theirs, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", p.pid))
	if err != nil {
		return false, err
	}
	defer theirs.Close()
	return ns.Equal(theirs), nil
}

// start starts a speaker in the namespace and returns when its socket is open. It tells by its standard output that
// it is ready, or why it cannot be. It has a session of its own, so that what is sent to the daemon's group does not reach it,
// and nothing of the daemon's environment.
func start(ctx context.Context, ns *netns.Namespace, binary, tenant, socket string) (*process, error) {
	socket, err := filepath.Abs(socket)
	if err != nil {
		return nil, err
	}
	// Descriptors that the daemon itself was born with, a lock say, are not for a process that outlives it.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("start a speaker: keep files from it: %w", err)
	}
	told, telling, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start a speaker: %w", err)
	}
	defer told.Close()
	cmd := exec.Command(binary, "bgp-speaker", "--tenant", tenant, "--socket", socket) //nolint:noctx // it outlives everything
	cmd.Args[0] = "bulkhead"
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.Stdout, cmd.Stderr = telling, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = ns.Start(cmd)
	if err := errors.Join(err, telling.Close()); err != nil {
		return nil, fmt.Errorf("start a speaker: %w", err)
	}
	p, err := watch(cmd.Process.Pid, cmd)
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	ready := context.AfterFunc(ctx, func() { _ = told.SetReadDeadline(time.Unix(1, 0)) })
	defer ready()
	reason, err := io.ReadAll(io.LimitReader(told, 1<<12))
	if err == nil && string(reason) == wire.Ready {
		return p, nil
	}
	// It is hung, or about to end by itself.
	err = errors.Join(ctx.Err(), p.kill(context.WithoutCancel(ctx)))
	if text := strings.TrimSpace(string(reason)); text != "" {
		err = errors.New(text)
	} else if err == nil {
		err = fmt.Errorf("%s (the log may tell why)", p.why)
	}
	return nil, fmt.Errorf("start a speaker: it did not get ready: %w", err)
}
