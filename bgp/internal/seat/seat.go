// Package seat is the place that one speaker for each compartment takes: a lock that its process holds for as long as it
// lives, and a socket beside it, by which it is found. Both are files of one folder that root alone may enter: TENANT.lock
// and TENANT.sock.
//
// The lock is one of an open file (F_OFD_SETLK): it does not end when a copy of the descriptor is closed, and looking does
// not take it. The socket's other end is asked of the kernel (SO_PEERCRED): no file can name a process that is gone.
package seat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The names' ends.
const (
	socketEnd = ".sock"
	lockEnd   = ".lock"
)

// ErrTaken says that a live process has the seat.
var ErrTaken = errors.New("another speaker has the compartment")

// ErrUnreachable says that a live process has the seat, and no socket: it has just begun, or somebody removed it.
var ErrUnreachable = errors.New("a live speaker has no socket")

// Path is a seat's, in a folder.
func Path(dir, tenant string) string { return filepath.Join(dir, tenant+socketEnd) }

// Tenants are those that have a seat in the folder, be it that nobody sits there any more. A folder that is not there has
// none.
func Tenants(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list BGP speakers: %w", err)
	}
	var out []string
	for _, e := range entries {
		for _, end := range []string{socketEnd, lockEnd} {
			if name, ok := strings.CutSuffix(e.Name(), end); ok {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Seat is taken until it is closed, or the process ends.
type Seat struct {
	// Listener is the socket's.
	Listener net.Listener
	lock     *os.File
}

// Take takes the seat at path, and opens its socket in place of one that a predecessor left. The error is ErrTaken where a
// live process has it.
func Take(path string) (*Seat, error) {
	lock, err := takeLock(lockPath(path))
	if err != nil {
		return nil, fmt.Errorf("take the place of %s: %w", path, err)
	}
	l, err := listen(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the socket %s: %w", path, err), lock.Close())
	}
	return &Seat{Listener: l, lock: lock}, nil
}

// Close gives the seat up: another speaker may come, so it is for one that speaks no more.
func (s *Seat) Close() error {
	err := s.Listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // by who served it
	}
	return errors.Join(err, s.lock.Close())
}

// Dial connects to the process that has the seat.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	short, dir, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var d net.Dialer
	return d.DialContext(ctx, "unix", short)
}

// Holder is the process that has the seat; 0: none. The error is ErrUnreachable where it cannot be told.
func Holder(ctx context.Context, path string) (int, error) {
	f, err := os.OpenFile(lockPath(path), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for a BGP speaker: %w", err)
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return 0, fmt.Errorf("look for a BGP speaker: %s: %w", f.Name(), err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, nil
	}
	conn, err := Dial(ctx, path)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("%w (%s is locked, %s does not answer)", ErrUnreachable, f.Name(), path)
	}
	if err != nil {
		return 0, fmt.Errorf("look for a BGP speaker: %w", err)
	}
	defer conn.Close()
	return listener(conn)
}

// listener is the process that opened the socket at the other end.
func listener(conn net.Conn) (int, error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("look for a BGP speaker: %w", err)
	}
	var who *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { who, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("look for a BGP speaker: ask whose its socket is: %w", err)
	}
	return int(who.Pid), nil
}

// Clear removes the files of a seat that nobody has. The error is ErrTaken where somebody has.
func Clear(path string) error {
	// Where there is nothing, nothing is made: a folder that is full hurts nobody who wants nothing of it.
	if _, err := os.Lstat(lockPath(path)); errors.Is(err, os.ErrNotExist) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("clear the place of a BGP speaker: %w", err)
		}
		return nil
	}
	lock, err := takeLock(lockPath(path))
	if err != nil {
		return fmt.Errorf("clear the place of %s: %w", path, err)
	}
	defer lock.Close()
	for _, file := range []string{path, lock.Name()} {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("clear the place of a BGP speaker: %w", err)
		}
	}
	return nil
}

func lockPath(path string) string { return strings.TrimSuffix(path, socketEnd) + lockEnd }

// takeLock locks the file at path, and makes sure that it is still the file at path then: one that was removed meanwhile
// keeps nobody out.
func takeLock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, errors.Join(ErrTaken, f.Close())
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		mine, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		there, err := os.Stat(path)
		if err == nil && os.SameFile(mine, there) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// listen opens the socket, which root alone may use.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	short, dir, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the short name is not valid then; a successor replaces the file
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// shorten names a path by an open folder, valid until that is closed: a socket's name has 108 bytes (unix(7)), a runtime
// folder's may have more.
func shorten(path string) (string, *os.File, error) {
	dir, err := os.OpenFile(filepath.Dir(path), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), dir, nil
}
