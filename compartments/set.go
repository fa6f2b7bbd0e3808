package compartments

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
)

// Prepare does what Set does before any link comes up: settings, the source filter and the links themselves. What is to
// stand on a link before its first packet, such as a rate limit, goes between the two.
func (m *Manager) Prepare(ctx context.Context, ns *netns.Namespace, want Config) error {
	h, err := ns.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	s := setting{ctx: ctx, m: m, ns: ns, h: h}
	s.prepare(want)
	return errors.Join(s.errs...)
}

// Set brings a compartment to the declared state, writing only what differs. Settings and the source filter come before
// the links, links come up last, and what is no longer declared goes after what is new stands. It carries on past items
// that fail and returns their errors joined; each names its link or route, the caller adds the compartment.
func (m *Manager) Set(ctx context.Context, ns *netns.Namespace, want Config) error {
	h, err := ns.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	s := setting{ctx: ctx, m: m, ns: ns, h: h}
	if !s.prepare(want) {
		return errors.Join(s.errs...)
	}
	s.addresses(want.Links)
	s.up(want.Links)
	stale := s.routes(want.Routes)
	s.removeRoutes(stale)
	s.removeAddresses(want.Links)
	s.try(m.removeUndeclared(ctx, h, want.Links))
	return errors.Join(s.errs...)
}

// SetRoutes brings the compartment's routes alone to the declared state, as Set does.
func (m *Manager) SetRoutes(ctx context.Context, ns *netns.Namespace, routes []Route) error {
	h, err := ns.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	s := setting{ctx: ctx, m: m, ns: ns, h: h}
	s.removeRoutes(s.routes(routes))
	return errors.Join(s.errs...)
}

// prepare tells whether links may come up: without its filter none may (law 4). Links that are up keep the filter that
// stood.
func (s *setting) prepare(want Config) bool {
	s.try(setSysctls(s.ns, compartmentSysctls()))
	if _, err := nft.Apply(s.ns, sourceFilter(want)); err != nil {
		s.try(err)
		return false
	}
	s.links(want.Links)
	return true
}

// setting is one run of Set: what it works with, and the errors so far.
type setting struct {
	ctx  context.Context
	m    *Manager
	ns   *netns.Namespace
	h    *netlink.Handle
	errs []error
}

func (s *setting) try(err error) {
	if err != nil {
		s.errs = append(s.errs, err)
	}
}

// stopped tells whether the context has ended, noting why once.
func (s *setting) stopped() bool {
	err := s.ctx.Err()
	if err != nil && !errors.Is(errors.Join(s.errs...), err) {
		s.errs = append(s.errs, err)
	}
	return err != nil
}

func (s *setting) links(want []Link) {
	s.try(s.m.releaseIfIDs(s.ctx, s.h, want))
	for _, l := range want {
		if s.stopped() {
			return
		}
		if err := l.check(); err != nil {
			s.try(err)
			continue
		}
		s.try(s.m.ensureLink(s.ns, s.h, l))
	}
}

func (s *setting) addresses(want []Link) {
	have, err := listAddresses(s.ns)
	if err != nil {
		s.try(err)
		return
	}
	for _, l := range want {
		link, err := s.h.LinkByName(l.Name)
		if err != nil || s.stopped() {
			continue // A link that could not be made has been reported.
		}
		for _, a := range l.Addresses {
			if have.find(link.Attrs().Index, a) != nil {
				continue
			}
			if err := addAddress(s.ns, link.Attrs().Index, a); err != nil {
				s.try(fmt.Errorf("link %s: add address %v: %w", l.Name, a, err))
			}
		}
	}
}

func (s *setting) removeAddresses(want []Link) {
	have, err := listAddresses(s.ns)
	if err != nil {
		s.try(err)
		return
	}
	for _, l := range want {
		link, err := s.h.LinkByName(l.Name)
		if err != nil || s.stopped() {
			continue
		}
		for _, a := range have.undeclared(link.Attrs().Index, l.Addresses) {
			if err := deleteAddress(s.ns, a); err != nil {
				s.try(fmt.Errorf("link %s: remove address %v: %w", l.Name, a.prefix, err))
			}
		}
	}
}

func (s *setting) up(want []Link) {
	for _, l := range want {
		if s.stopped() {
			return
		}
		s.try(bringUp(s.h, l.Name))
	}
	s.try(bringUp(s.h, "lo"))
}

// bringUp brings a link up; one that is not there has been reported where it could not be made.
func bringUp(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	if isUp(link) {
		return nil
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s: bring up: %w", name, err)
	}
	return nil
}
