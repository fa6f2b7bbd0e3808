package compartments

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// temporary begins the names that links have in the Default compartment until they are moved or marked.
const temporary = "bht"

// ensureLink makes the link, or adopts one that stands and is the right one, and gives it its properties. It comes up
// later.
func (m *Manager) ensureLink(ns *netns.Namespace, h *netlink.Handle, want Link) error {
	def, err := m.def.Netlink()
	if err != nil {
		return err
	}
	defer def.Close()
	m.links.Lock()
	defer m.links.Unlock()
	have, err := find(h, want.Name)
	if err != nil {
		return err
	}
	if have != nil {
		right, err := isRight(def, ns, have, want)
		if err != nil {
			return err
		}
		if !right {
			if err := h.LinkDel(have); err != nil {
				return fmt.Errorf("link %s: remove the %s that stands in its place: %w", want.Name, have.Type(), err)
			}
			have = nil
		}
	}
	if have == nil {
		if err := m.makeLink(def, ns, h, want); err != nil {
			return fmt.Errorf("link %s: %w", want.Name, err)
		}
		if have, err = h.LinkByName(want.Name); err != nil {
			return fmt.Errorf("link %s: find what was just made: %w", want.Name, err)
		}
	}
	err = configure(h, have, want)
	if want.Kind == Pair {
		err = errors.Join(err, m.ensurePeer(def, want))
	}
	return err
}

// isRight tells whether a standing link can be adopted.
func isRight(def *netlink.Handle, ns *netns.Namespace, have netlink.Link, want Link) (bool, error) {
	if want.Kind == XFRM {
		x, ok := have.(*netlink.Xfrmi)
		return ok && x.Ifid == want.IfID, nil
	}
	return isRightPair(def, ns, have, want)
}

func (m *Manager) makeLink(def *netlink.Handle, ns *netns.Namespace, h *netlink.Handle, want Link) error {
	if want.Kind == XFRM {
		return makeXFRM(def, ns, h, want)
	}
	return m.makePair(def, ns, want)
}

// makeXFRM makes the link in the Default compartment, where SAs and policies stay, and moves it. It gets its name after
// the move, because other tenants' links of the same name may be on their way too.
func makeXFRM(def *netlink.Handle, ns *netns.Namespace, h *netlink.Handle, want Link) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Alias = fmt.Sprintf("%s%x", temporary, want.IfID), want.Alias
	if old, err := find(def, attrs.Name); err != nil {
		return err
	} else if old != nil {
		if err := def.LinkDel(old); err != nil {
			return fmt.Errorf("remove %s, left over in the Default compartment: %w", attrs.Name, err)
		}
	}
	link := &netlink.Xfrmi{LinkAttrs: attrs, Ifid: want.IfID}
	if err := def.LinkAdd(link); errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("if_id %#x is taken by another xfrm link: %w", want.IfID, err)
	} else if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("this kernel has no xfrm interfaces (CONFIG_XFRM_INTERFACE, module xfrm_interface): %w", err)
	} else if err != nil {
		return fmt.Errorf("make xfrm link with if_id %#x: %w", want.IfID, err)
	}
	if err := def.LinkSetNsFd(link, ns.Fd()); err != nil {
		return errors.Join(fmt.Errorf("move xfrm link into the compartment: %w", err), def.LinkDel(link))
	}
	moved, err := h.LinkByName(attrs.Name)
	if err != nil {
		return fmt.Errorf("find xfrm link %s after its move: %w", attrs.Name, err)
	}
	if err := h.LinkSetName(moved, want.Name); err != nil {
		return errors.Join(fmt.Errorf("rename xfrm link: %w", err), h.LinkDel(moved))
	}
	return nil
}

// configure gives the end in the compartment what it lacks.
func configure(h *netlink.Handle, have netlink.Link, want Link) error {
	var errs []error
	try := func(what string, differs bool, set func() error) {
		if !differs {
			return
		}
		if err := set(); err != nil {
			errs = append(errs, fmt.Errorf("link %s: set %s: %w", want.Name, what, err))
		}
	}
	a := have.Attrs()
	try("MTU", want.MTU != 0 && a.MTU != want.MTU, func() error { return h.LinkSetMTU(have, want.MTU) })
	try("MAC", want.MAC != nil && !bytes.Equal(a.HardwareAddr, want.MAC), func() error {
		return h.LinkSetHardwareAddr(have, want.MAC)
	})
	noARP := a.RawFlags&unix.IFF_NOARP != 0
	try("NOARP", want.Kind == Pair && want.NoARP && !noARP, func() error { return h.LinkSetARPOff(have) })
	try("ARP", want.Kind == Pair && !want.NoARP && noARP, func() error { return h.LinkSetARPOn(have) })
	try("alias", a.Alias != want.Alias, func() error { return h.LinkSetAlias(have, want.Alias) })
	return errors.Join(errs...)
}

// ensurePeer keeps the end at the door: up, as large as the other end, and without addresses of its own.
func (m *Manager) ensurePeer(def *netlink.Handle, want Link) error {
	peer, err := def.LinkByName(want.Peer)
	if err != nil {
		return fmt.Errorf("link %s: find its peer %s in the Default compartment: %w", want.Name, want.Peer, err)
	}
	end := Link{Name: want.Peer, Kind: Pair, MTU: want.MTU, Alias: want.Alias}
	errs := []error{configure(def, peer, end), setSysctls(m.def, peerSysctls(want.Peer))}
	return errors.Join(append(errs, bringUp(def, want.Peer))...)
}

// releaseIfIDs removes the xfrm links that hold an if_id which is declared for a link of another name: one that was
// renamed, two that swapped, or one that a predecessor left on its way. The kernel gives no if_id twice.
func (m *Manager) releaseIfIDs(ctx context.Context, h *netlink.Handle, want []Link) error {
	return m.removeEach(ctx, h, func(l netlink.Link) bool {
		x, ok := l.(*netlink.Xfrmi)
		return ok && slices.ContainsFunc(want, func(w Link) bool { return w.IfID == x.Ifid && w.Name != x.Name })
	})
}

// removeUndeclared removes pairs and xfrm links that nobody declares, the temporary names of a predecessor that crashed
// among them.
func (m *Manager) removeUndeclared(ctx context.Context, h *netlink.Handle, want []Link) error {
	return m.removeEach(ctx, h, func(l netlink.Link) bool { return undeclared(l, want) })
}

func undeclared(l netlink.Link, want []Link) bool {
	declared := slices.ContainsFunc(want, func(w Link) bool { return w.Name == l.Attrs().Name })
	return !declared && (isPair(l) || l.Type() == string(XFRM))
}

// ShutUndeclared takes down the links that Set would remove, so that nothing passes them any more. Routes by them go; what
// they led to is unreachable until Set has made its new routes.
// leave, unless nil, is called with their names before, where there are any.
func (m *Manager) ShutUndeclared(ns *netns.Namespace, want []Link, leave func(links []string) error) error {
	h, err := ns.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := dump(h.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	links = slices.DeleteFunc(links, func(l netlink.Link) bool { return !undeclared(l, want) || !isUp(l) })
	var errs []error
	if len(links) > 0 && leave != nil {
		var names []string
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		errs = append(errs, leave(names))
	}
	for _, l := range links {
		if err := h.LinkSetDown(l); err != nil {
			errs = append(errs, fmt.Errorf("link %s: take down: %w", l.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

// removeLinks removes every link of a compartment that can be removed.
func (m *Manager) removeLinks(ctx context.Context, ns *netns.Namespace) error {
	h, err := ns.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	return m.removeEach(ctx, h, func(l netlink.Link) bool {
		// Devices without a kind are loopback and hardware.
		return l.Attrs().Flags&net.FlagLoopback == 0 && l.Type() != "device"
	})
}

// removeEach removes the links that match. Deleting a link waits until nothing in the kernel holds it any more.
func (m *Manager) removeEach(ctx context.Context, h *netlink.Handle, match func(netlink.Link) bool) error {
	m.links.Lock()
	defer m.links.Unlock()
	return removeEachLocked(ctx, h, match)
}

// removeEachLocked is removeEach for a caller that holds Manager.links.
func removeEachLocked(ctx context.Context, h *netlink.Handle, match func(netlink.Link) bool) error {
	links, err := dump(h.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		if !match(l) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("link %s: remove: %w", l.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

// isTemporary tells whether a name is one that only links on their way have.
func isTemporary(name string) bool { return strings.HasPrefix(name, temporary) }

func isUp(l netlink.Link) bool { return l.Attrs().Flags&net.FlagUp != 0 }

// find returns the link of this name, or nil.
func find(h *netlink.Handle, name string) (netlink.Link, error) {
	link, err := h.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", name, err)
	}
	return link, nil
}
