package compartments

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"

	"github.com/vishvananda/netlink"

	"bulkhead/internal/netns"
)

// MissingNICs names those NICs of the declaration that the Default compartment does not have.
func (m *Manager) MissingNICs(want Default) ([]string, error) {
	h, err := m.def.Netlink()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	var missing []string
	for _, n := range want.NICs {
		link, err := find(h, n.Name)
		if err != nil {
			return nil, err
		}
		if link == nil {
			missing = append(missing, n.Name)
		}
	}
	return missing, nil
}

// SetDefault brings the Default compartment to what is declared of it, writing only what differs, and sweeps what a
// predecessor left over there. It touches no address and no route without our mark, and no NIC that is not declared.
// A declaration that names a NIC which is not there changes nothing: to take up the rest of it would cut off what runs
// on the NICs that it no longer names. Otherwise it carries on past items that fail and returns their errors joined.
func (m *Manager) SetDefault(ctx context.Context, want Default) error {
	h, err := m.def.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	s := setting{ctx: ctx, m: m, ns: m.def, h: h}
	links := make([]netlink.Link, len(want.NICs))
	for i, n := range want.NICs {
		if links[i], err = find(h, n.Name); err == nil && links[i] == nil {
			err = fmt.Errorf("NIC %s: the Default compartment has no interface of this name (see `ip link`)", n.Name)
		}
		s.try(err)
	}
	if len(s.errs) > 0 {
		return errors.Join(s.errs...)
	}
	s.try(setSysctls(m.def, defaultSysctls()))
	nics := s.nics(want.NICs, links)
	stale := s.routes(want.Routes)
	s.removeRoutes(stale)
	s.try(removeMarkedAddresses(ctx, m.def, h, nics))
	s.try(m.removeVLANs(ctx, h, nics))
	s.try(m.sweep(ctx, h))
	return errors.Join(s.errs...)
}

// nics brings the NICs, and then the VLANs on them, to what is declared: a VLAN's device can be neither larger than its
// NIC nor up without it. It returns them all.
func (s *setting) nics(want []NIC, links []netlink.Link) []NIC {
	all := slices.Clone(want)
	var vlans []netlink.Link
	s.bring(want, links)
	for i, n := range want {
		for _, v := range n.VLANs {
			all = append(all, n.vlanNIC(v))
			link, err := s.m.ensureVLAN(s.h, links[i], v)
			s.try(err)
			vlans = append(vlans, link)
		}
	}
	s.bring(all[len(want):], vlans)
	return all
}

// bring gives NICs their settings and addresses and brings them up. One that could not be made is nil, and has been
// reported.
func (s *setting) bring(want []NIC, links []netlink.Link) {
	var named []Link
	for i, n := range want {
		if links[i] != nil {
			s.try(configureNIC(s.ns, s.h, links[i], n))
			named = append(named, Link{Name: n.Name, Addresses: n.Addresses})
		}
	}
	s.addresses(named)
	for _, n := range named {
		s.try(bringUp(s.h, n.Name))
	}
}

func configureNIC(ns *netns.Namespace, h *netlink.Handle, link netlink.Link, want NIC) error {
	errs := []error{setSysctls(ns, nicSysctls(want))}
	if want.MTU != 0 && link.Attrs().MTU != want.MTU {
		if err := h.LinkSetMTU(link, want.MTU); err != nil {
			errs = append(errs, fmt.Errorf("NIC %s: set MTU %d: %w", want.Name, want.MTU, err))
		}
	}
	return errors.Join(errs...)
}

// removeMarkedAddresses removes the addresses that we put on any interface and that are declared no longer.
func removeMarkedAddresses(ctx context.Context, ns *netns.Namespace, h *netlink.Handle, nics []NIC) error {
	have, err := listAddresses(ns)
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range have {
		if a.proto != Protocol {
			continue
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		link, err := h.LinkByIndex(a.index)
		if err != nil {
			continue // It went with its interface.
		}
		name := link.Attrs().Name
		if slices.ContainsFunc(nics, func(n NIC) bool { return n.Name == name && slices.Contains(n.Addresses, a.prefix) }) {
			continue
		}
		if err := deleteAddress(ns, a); err != nil {
			errs = append(errs, fmt.Errorf("NIC %s: remove address %v: %w", name, a.prefix, err))
		}
	}
	return errors.Join(errs...)
}

// doorEnd matches the names that the ends of compartments' pairs have at the doors.
var doorEnd = regexp.MustCompile(`^bh(i[0-9]+|x[0-9a-f]{12})$`)

// sweep removes what a predecessor that crashed left in the Default compartment: links under temporary names, and door
// ends whose other end is in no compartment that stands.
func (m *Manager) sweep(ctx context.Context, def *netlink.Handle) error {
	m.links.Lock() // A compartment that is made meanwhile would not be known to stand.
	defer m.links.Unlock()
	standing, err := m.namespaceIDs(def)
	if err != nil {
		return fmt.Errorf("sweep the Default compartment: %w", err)
	}
	return removeEachLocked(ctx, def, func(l netlink.Link) bool {
		name := l.Attrs().Name
		if isPair(l) {
			return doorEnd.MatchString(name) && !standing[l.Attrs().NetNsID]
		}
		return isTemporary(name) && (l.Type() == string(XFRM) || l.Type() == vlanType)
	})
}

// namespaceIDs are the numbers by which the Default compartment knows the compartments that stand.
func (m *Manager) namespaceIDs(def *netlink.Handle) (map[int]bool, error) {
	names, err := m.Names()
	if err != nil {
		return nil, err
	}
	ids := make(map[int]bool, len(names))
	for _, name := range names {
		ns, err := m.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		id, err := def.GetNetNsIdByFd(ns.Fd())
		if err := errors.Join(err, ns.Close()); err != nil {
			return nil, fmt.Errorf("compartment %s: %w", name, err)
		}
		if id >= 0 {
			ids[id] = true
		}
	}
	return ids, nil
}
