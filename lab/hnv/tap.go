package hnv

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// OpenTAP makes a TAP device in the namespace. The device is gone when the file, which carries one Ethernet frame per
// read and write, is closed.
func OpenTAP(ns *netns.Namespace, name string) (*os.File, error) {
	var fd int
	err := ns.Do(func() error {
		var err error
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("make TAP device %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tap "+name), nil
}
