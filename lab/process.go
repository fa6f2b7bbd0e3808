package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Process is a running program of the lab that tells when it is ready: by sd_notify's READY=1, or by a socket that answers.
type Process struct {
	// LogPath is the file with what the program printed, both streams; a later start appends.
	LogPath string
	name    string
	cmd     *exec.Cmd
	exited  chan struct{}
	err     error // of Wait, valid once exited is closed
}

// startProcess starts a program in a node and waits until it is ready, at most until the context ends (60 s without a
// deadline). Its log is dir/name.log. Extra environment goes over the lab's own.
func startProcess(ctx context.Context, n *Node, dir, name string, env []string, argv ...string) (*Process, error) {
	notify := filepath.Join(dir, name+".notify")
	_ = os.Remove(notify)
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = ready.Close(); _ = os.Remove(notify) }()
	return launch(ctx, n, dir, name, append([]string{"NOTIFY_SOCKET=" + notify}, env...), argv,
		func(ctx context.Context, p *Process) error { return p.awaitReady(ctx, ready) })
}

// launch starts a program and waits for what tells that it is ready.
func launch(ctx context.Context, n *Node, dir, name string, env, argv []string,
	await func(context.Context, *Process) error) (*Process, error) {
	if _, ok := ctx.Deadline(); !ok {
		bounded, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		ctx = bounded
	}
	p := &Process{LogPath: filepath.Join(dir, name+".log"), name: name, exited: make(chan struct{})}
	log, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = log.Close() }()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal's Ctrl-C is the lab's to handle
	if err := n.NS.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", name, n.Name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	if err := await(ctx, p); err != nil {
		_ = p.Kill()
		return nil, fmt.Errorf("start %s in %s: %w; the end of its log:\n%s", name, n.Name, err, p.LogTail(20))
	}
	n.lab.onClose(p.Stop)
	return p, nil
}

// awaitReady reads notifications until one says READY=1, the program ends or the context does.
func (p *Process) awaitReady(ctx context.Context, ready *net.UnixConn) error {
	told := make(chan struct{})
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := ready.Read(buffer)
			if err != nil {
				return
			}
			if bytes.Contains(append([]byte("\n"), buffer[:n]...), []byte("\nREADY=1")) {
				close(told)
				return
			}
		}
	}()
	select {
	case <-told:
		return nil
	case <-p.exited:
		return fmt.Errorf("it ended before it was ready: %w", errors.Join(p.err, errors.New(p.cmd.ProcessState.String())))
	case <-ctx.Done():
		return fmt.Errorf("it did not become ready: %w", ctx.Err())
	}
}

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the program has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop asks the program to end (SIGTERM) and waits for it, 10 s at most, then kills it and says so. Stopping what has
// ended does nothing.
func (p *Process) Stop() error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-p.exited:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("stop %s: still running 10 s after SIGTERM, killed", p.name), p.Kill())
	}
}

// Kill ends the program at once (SIGKILL) and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.exited
	return nil
}

// LogTail is the last lines of the program's log.
func (p *Process) LogTail(lines int) string {
	b, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
