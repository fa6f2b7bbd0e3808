package hnv

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// receiveBuffer is in bytes. The kernel's own choice, about 200 kB, is 250 frames, which come in no time when a machine
// that stood still for a moment, as an emulated one does, goes on.
const receiveBuffer = 8 << 20

// GrowBuffer makes room for what a socket's reader has not come to read yet, past the system's limit (root only), so
// that what is missing at the end went missing in the network and not on its way out of the kernel. A socket that
// cannot have it is closed.
func GrowBuffer(conn interface {
	syscall.Conn
	io.Closer
}) error {
	var failed error
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
		})
	}
	if err := errors.Join(err, failed); err != nil {
		return errors.Join(fmt.Errorf("grow a socket's receive buffer: %w", err), conn.Close())
	}
	return nil
}
