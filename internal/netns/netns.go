// Package netns opens, makes and enters network namespaces.
//
// A namespace is held by an open file, so that it can be used without a name and is immune to a path that is unmounted
// meanwhile. Prefer sockets opened in a namespace ([Namespace.Netlink]) to [Namespace.Do], which moves a thread.
package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is an open network namespace. Close releases the handle, never the namespace of a pinned path.
type Namespace struct {
	file *os.File
}

// Current opens the namespace of the calling thread. In a process that never switches threads by other means than
// this package, it is the namespace that the process was started in.
func Current() (*Namespace, error) {
	return Open("/proc/thread-self/ns/net")
}

// Open opens the namespace pinned at path. The error matches [os.ErrNotExist] where none is pinned there, be it that
// a file without its mount is, as while one is made or removed.
func Open(path string) (*Namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	// A plain file is what a pin leaves behind when its mount is gone, for instance after a reboot onto kept files.
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != unix.NSFS_MAGIC {
		return nil, errors.Join(fmt.Errorf("open network namespace: %s is not a namespace (%w)", path, os.ErrNotExist), err, f.Close())
	}
	return &Namespace{file: f}, nil
}

// New makes a namespace without a name. It lives as long as the handle, a process in it or a socket of it.
func New() (*Namespace, error) {
	var ns *Namespace
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		var err error
		ns, err = Current()
		return err
	})
	return ns, err
}

// Create makes a namespace and pins it at path by a bind mount, in the mount namespace of the process, making the
// parent folder where needed. It is an error if a namespace is pinned there already.
func Create(path string) (*Namespace, error) {
	if ns, err := Open(path); err == nil {
		return nil, errors.Join(fmt.Errorf("make network namespace: %s exists", path), ns.Close())
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o400)
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	ns, err := New()
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	source := fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
	if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("pin network namespace at %s: %w", path, err), ns.Close(), os.Remove(path))
	}
	return ns, nil
}

// Remove unpins the namespace at path. The kernel frees it, with its links, once no handle, process or socket holds
// it. Removing a path that is not there is no error.
func Remove(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unpin network namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpin network namespace: %w", err)
	}
	return nil
}

// Close releases the handle.
func (n *Namespace) Close() error { return n.file.Close() }

// Fd is the descriptor of the namespace, valid until Close.
func (n *Namespace) Fd() int { return int(n.file.Fd()) }

// Equal tells whether both handles are of the same namespace.
func (n *Namespace) Equal(other *Namespace) bool {
	a, errA := n.file.Stat()
	b, errB := other.file.Stat()
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// Netlink opens a netlink handle of the families asked for (route and xfrm when none is named) in the namespace,
// without moving a thread for longer than the opening. The caller closes it.
func (n *Namespace) Netlink(families ...int) (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(n.Fd()), families...)
	if err != nil {
		return nil, fmt.Errorf("open netlink in a network namespace: %w", err)
	}
	return h, nil
}

// Do runs fn on a thread that is in the namespace. fn must not leave work to other goroutines: a goroutine that it
// starts is not in the namespace, but sockets and processes that it makes stay there.
func (n *Namespace) Do(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(n.Fd(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return fn()
	})
}

// Start starts cmd inside the namespace.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	return n.Do(cmd.Start)
}

// onThread runs fn on a thread of its own that nothing else uses afterwards: it stays locked when its goroutine ends,
// so the runtime discards it and there is no way back that could fail. The process's first thread is left out: the
// runtime cannot discard it and would park it for ever in the namespace, which then outlives its removal, and
// /proc/PID/ns/net would name it.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onThread(fn) // on another thread, as this one is locked until then
			return
		}
		done <- fn()
	}()
	return <-done
}
