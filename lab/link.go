package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link names and sizes of the lab.
const (
	providerMTU = 1600 // room for 42 bytes of NVGRE around what a VM sends
	plainMTU    = 1500
	tapQueue    = 10_000 // frames of a VM that wait for its host, as a socket's buffer does
)

// connect makes a veth pair between two nodes, both ends up.
func connect(a *Node, nameA string, b *Node, nameB string, mtu int) error {
	handle, err := a.NS.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = nameA, mtu
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(b.NS.Fd()), PeerMTU: uint32(mtu)}
	if err := handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("connect %s of %s to %s of %s: %w", nameA, a.Name, nameB, b.Name, err)
	}
	return errors.Join(a.configure(nameA), b.configure(nameB))
}

// bridge makes a bridge on a node, up, with addresses.
func (n *Node) bridge(name string, mtu int, addresses ...netip.Prefix) error {
	handle, err := n.NS.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	if err := handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("make bridge %s on %s: %w", name, n.Name, err)
	}
	return n.configure(name, addresses...)
}

// plug makes a link of the node a port of its bridge.
func (n *Node) plug(port, bridge string) error {
	return n.link(port, func(handle *netlink.Handle, link netlink.Link) error {
		master, err := handle.LinkByName(bridge)
		if err != nil {
			return err
		}
		return handle.LinkSetMaster(link, master)
	})
}

// configure gives a link addresses and sets it up.
func (n *Node) configure(name string, addresses ...netip.Prefix) error {
	return n.link(name, func(handle *netlink.Handle, link netlink.Link) error {
		for _, a := range addresses {
			address := &netlink.Addr{IPNet: ipNet(a)}
			if err := handle.AddrReplace(link, address); err != nil {
				return fmt.Errorf("address %v: %w", a, err)
			}
		}
		return handle.LinkSetUp(link)
	})
}

// pair gives a link an address with that of the only other end.
func (n *Node) pair(name string, near, far netip.Addr) error {
	return n.link(name, func(handle *netlink.Handle, link netlink.Link) error {
		host := func(a netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(a, a.BitLen())) }
		if err := handle.AddrReplace(link, &netlink.Addr{IPNet: host(near), Peer: host(far)}); err != nil {
			return fmt.Errorf("address %v towards %v: %w", near, far, err)
		}
		return nil
	})
}

// flushRoutes takes the routes of the main table off a link, but for those that the kernel made of its addresses.
func flushRoutes(handle *netlink.Handle, link netlink.Link) error {
	routes, err := handle.RouteList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Protocol != unix.RTPROT_KERNEL {
			err = errors.Join(err, handle.RouteDel(&r))
		}
	}
	return err
}

// setMAC gives a link its hardware address and MTU.
func (n *Node) setMAC(name string, mac net.HardwareAddr, mtu int) error {
	return n.link(name, func(handle *netlink.Handle, link netlink.Link) error {
		return errors.Join(handle.LinkSetHardwareAddr(link, mac), handle.LinkSetMTU(link, mtu))
	})
}

// setQueue sets how many frames of a link may wait to be sent.
func (n *Node) setQueue(name string, frames int) error {
	return n.link(name, func(handle *netlink.Handle, link netlink.Link) error {
		return handle.LinkSetTxQLen(link, frames)
	})
}

// route adds a route by next hop, or on the link itself where the next hop is not valid.
func (n *Node) route(name string, to netip.Prefix, via netip.Addr) error {
	return n.link(name, func(handle *netlink.Handle, link netlink.Link) error {
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Scope: netlink.SCOPE_LINK}
		if via.IsValid() {
			r.Gw, r.Scope = via.AsSlice(), netlink.SCOPE_UNIVERSE
		}
		if err := handle.RouteReplace(r); err != nil {
			return fmt.Errorf("route to %v: %w", to, err)
		}
		return nil
	})
}

// unreachable adds a route of last resort that refuses a prefix.
func (n *Node) unreachable(to netip.Prefix) error {
	handle, err := n.NS.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	r := &netlink.Route{Dst: ipNet(to), Type: unix.RTN_UNREACHABLE, Priority: 1 << 30}
	if err := handle.RouteReplace(r); err != nil {
		return fmt.Errorf("refuse %v on %s: %w", to, n.Name, err)
	}
	return nil
}

// link runs do with a link of the node.
func (n *Node) link(name string, do func(*netlink.Handle, netlink.Link) error) error {
	handle, err := n.NS.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	link, err := handle.LinkByName(name)
	if err == nil {
		err = do(handle, link)
	}
	if err != nil {
		return fmt.Errorf("set up %s on %s: %w", name, n.Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// sysctl sets kernel parameters below /proc/sys/net in the node: "ipv4/ip_forward=1".
func (n *Node) sysctl(settings ...string) error {
	return n.NS.Do(func() error {
		for _, s := range settings {
			key, value, _ := strings.Cut(s, "=")
			if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0); err != nil {
				return fmt.Errorf("set %s on %s: %w", key, n.Name, err)
			}
		}
		return nil
	})
}

// Commands of the kernel's ethtool interface that switch an offload (linux/ethtool.h).
var offloads = []uint32{
	0x17, // ETHTOOL_STXCSUM
	0x1f, // ETHTOOL_STSO
	0x24, // ETHTOOL_SGSO
	0x2c, // ETHTOOL_SGRO
}

// noOffloads makes the kernel finish checksums and segments before a frame leaves by the link. A raw socket on the
// other end of a veth pair otherwise sees what only a NIC would have finished.
func (n *Node) noOffloads(name string) error {
	return n.NS.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("switch off offloads: %w", err)
		}
		defer func() { _ = unix.Close(fd) }()
		for _, command := range offloads {
			value := struct{ command, data uint32 }{command: command}
			request := struct {
				name [unix.IFNAMSIZ]byte
				data unsafe.Pointer
				_    [16]byte // a struct ifreq is larger than its pointer
			}{data: unsafe.Pointer(&value)}
			copy(request.name[:unix.IFNAMSIZ-1], name)
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL,
				uintptr(unsafe.Pointer(&request)))
			if errno != 0 {
				return fmt.Errorf("switch off offload %#x of %s on %s: %w", command, name, n.Name, errno)
			}
		}
		return nil
	})
}
