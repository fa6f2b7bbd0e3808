package compartments

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// The kinds of pairs, as the kernel names them. What a compartment sends into a netkit pair meets the door's program
// while it is being sent, without a queue on the way.
const (
	veth   = "veth"
	netkit = "netkit"
)

func isPair(l netlink.Link) bool { return l.Type() == veth || l.Type() == netkit }

// isRightPair tells whether a standing link is the declared pair, of whatever kind.
func isRightPair(def *netlink.Handle, ns *netns.Namespace, have netlink.Link, want Link) (bool, error) {
	if !isPair(have) {
		return false, nil
	}
	peer, err := find(def, want.Peer)
	if err != nil || peer == nil || peer.Type() != have.Type() || !isDoorEnd(peer) {
		return false, err
	}
	id, err := def.GetNetNsIdByFd(ns.Fd())
	if err != nil {
		return false, fmt.Errorf("link %s: find the namespace of its peer: %w", want.Name, err)
	}
	// Indexes are unique in a namespace only, hence both ends must name each other.
	here, there := have.Attrs(), peer.Attrs()
	return here.ParentIndex == there.Index && there.ParentIndex == here.Index && there.NetNsID == id, nil
}

// isDoorEnd tells whether a pair's end in the Default compartment is one that a door can guard. Programs are given to
// a netkit's primary end; without one, nothing that the compartment sends may pass, and never the marks of its packets.
func isDoorEnd(l netlink.Link) bool {
	n, ok := l.(*netlink.Netkit)
	if !ok {
		return true
	}
	scrubs := n.PeerScrub == netlink.NETKIT_SCRUB_DEFAULT || !n.SupportsScrub() // Older kernels always do.
	return n.IsPrimary() && n.Mode == netlink.NETKIT_MODE_L2 && n.PeerPolicy == netlink.NETKIT_POLICY_BLACKHOLE && scrubs
}

// makePair makes a pair with its ends where they belong. m.links must be held.
func (m *Manager) makePair(def *netlink.Handle, ns *netns.Namespace, want Link) error {
	// The name at the door may be held by an end whose pair lost its use, or that another tenant gave up just now.
	if old, err := find(def, want.Peer); err != nil {
		return err
	} else if old != nil {
		if !isPair(old) {
			return fmt.Errorf("the Default compartment has a %s named %s already: rename it", old.Type(), want.Peer)
		}
		if err := def.LinkDel(old); err != nil {
			return fmt.Errorf("remove the old %s from the Default compartment: %w", want.Peer, err)
		}
	}
	if !m.noNetkit {
		err := def.LinkAdd(netkitPair(ns, want))
		// Asked for what it has not, the kernel looks for a module each time.
		if m.noNetkit = errors.Is(err, unix.EOPNOTSUPP); !m.noNetkit {
			return pairError(netkit, want, err)
		}
	}
	return pairError(veth, want, def.LinkAdd(vethPair(ns, want)))
}

func pairError(kind string, want Link, err error) error {
	if err != nil {
		return fmt.Errorf("make %s pair with %s: %w", kind, want.Peer, err)
	}
	return nil
}

func netkitPair(ns *netns.Namespace, want Link) netlink.Link {
	inside := netlink.NewLinkAttrs()
	inside.Name, inside.MTU, inside.HardwareAddr = want.Name, want.MTU, want.MAC
	inside.Namespace = netlink.NsFd(ns.Fd())
	pair := &netlink.Netkit{
		LinkAttrs: doorEndAttrs(want), Mode: netlink.NETKIT_MODE_L2,
		Policy: netlink.NETKIT_POLICY_FORWARD, PeerPolicy: netlink.NETKIT_POLICY_BLACKHOLE,
		Scrub: netlink.NETKIT_SCRUB_DEFAULT, PeerScrub: netlink.NETKIT_SCRUB_DEFAULT,
	}
	pair.SetPeerAttrs(&inside)
	return pair
}

func vethPair(ns *netns.Namespace, want Link) netlink.Link {
	pair := netlink.NewVeth(doorEndAttrs(want))
	pair.PeerName, pair.PeerNamespace = want.Name, netlink.NsFd(ns.Fd())
	pair.PeerHardwareAddr, pair.PeerMTU = want.MAC, uint32(want.MTU)
	return pair
}

func doorEndAttrs(want Link) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = want.Peer, want.MTU
	return attrs
}
