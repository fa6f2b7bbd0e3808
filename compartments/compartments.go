// Package compartments keeps the tenants' compartments: network namespaces, the links in them, addresses, routes and kernel
// settings; and those parts of the Default compartment that the gateway declares.
//
// The kernel is the memory: a [Manager] keeps no state of its own, adopts what an earlier process made, and writes only
// what differs from what is declared.
package compartments

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"

	"bulkhead/internal/netns"
)

// Manager makes, finds, changes and removes compartments. Its methods may be called at the same time.
type Manager struct {
	dir string
	def *netns.Namespace
	// links is held while links are made in or removed from the Default compartment: the temporary names and
	// half-made pairs there belong to whoever holds it, and to nobody else they are leftovers.
	links sync.Mutex
	// noNetkit tells that the kernel was tried and has none; links guards it.
	noNetkit bool
}

// New returns a manager of the compartments that are pinned in dir, one file per name. The calling thread's namespace
// is the Default compartment.
func New(dir string) (*Manager, error) {
	def, err := netns.Current()
	if err != nil {
		return nil, fmt.Errorf("compartments: %w", err)
	}
	return &Manager{dir: dir, def: def}, nil
}

// Close releases the manager's handle. Everything that it made stays.
func (m *Manager) Close() error { return m.def.Close() }

// Ensure opens the compartment, making it where it does not stand. The caller closes the handle.
func (m *Manager) Ensure(name string) (*netns.Namespace, error) {
	path, err := m.path(name)
	if err != nil {
		return nil, err
	}
	// Anything but a namespace at this path is a pin that lost its mount, as after a reboot, and is pinned over.
	if ns, err := netns.Open(path); err == nil {
		return ns, nil
	}
	ns, err := netns.Create(path)
	if err != nil {
		return nil, fmt.Errorf("compartment %s: %w", name, err)
	}
	return ns, nil
}

// Open opens a compartment that stands; the error matches [os.ErrNotExist] where none has this name. The caller closes
// the handle.
func (m *Manager) Open(name string) (*netns.Namespace, error) {
	path, err := m.path(name)
	if err != nil {
		return nil, err
	}
	ns, err := netns.Open(path)
	if err != nil {
		return nil, fmt.Errorf("compartment %s: %w", name, err)
	}
	return ns, nil
}

// Names lists the compartments that stand, sorted.
func (m *Manager) Names() ([]string, error) {
	entries, err := os.ReadDir(m.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list compartments: %w", err)
	}
	var names []string
	for _, e := range entries {
		ns, err := netns.Open(filepath.Join(m.dir, e.Name()))
		if err != nil {
			continue
		}
		names = append(names, e.Name())
		if err := ns.Close(); err != nil {
			return nil, fmt.Errorf("list compartments: %w", err)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Remove takes a compartment down: first the links, so that their if_ids and names in the Default compartment are free
// when it returns, whoever else still holds the namespace; then the namespace. Its SAs and workers must be gone before.
// A compartment that does not stand is no error.
func (m *Manager) Remove(ctx context.Context, name string) error {
	path, err := m.path(name)
	if err != nil {
		return err
	}
	ns, err := netns.Open(path)
	if err != nil {
		// Nothing to take down; a pin without its mount may be left.
		return netns.Remove(path)
	}
	if err := m.removeLinks(ctx, ns); err != nil {
		// Unpinned now, the compartment would keep its if_ids with nobody able to find it.
		return errors.Join(fmt.Errorf("remove compartment %s: %w", name, err), ns.Close())
	}
	if err := errors.Join(ns.Close(), netns.Remove(path)); err != nil {
		return fmt.Errorf("remove compartment %s: %w", name, err)
	}
	return nil
}

// IfIDs reads which if_ids the xfrm links of all compartments hold: compartment, then link name, then if_id. It is how
// a daemon that was restarted learns what it gave away.
func (m *Manager) IfIDs() (map[string]map[string]uint32, error) {
	names, err := m.Names()
	if err != nil {
		return nil, err
	}
	all := make(map[string]map[string]uint32, len(names))
	var errs []error
	for _, name := range names {
		ids, err := m.ifIDs(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // It was removed meanwhile.
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read if_ids of compartment %s: %w", name, err))
			continue
		}
		all[name] = ids
	}
	return all, errors.Join(errs...)
}

func (m *Manager) ifIDs(name string) (map[string]uint32, error) {
	ns, err := m.Open(name)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	h, err := ns.Netlink()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	links, err := dump(h.LinkList)
	if err != nil {
		return nil, err
	}
	ids := map[string]uint32{}
	for _, l := range links {
		if x, ok := l.(*netlink.Xfrmi); ok {
			ids[x.Name] = x.Ifid
		}
	}
	return ids, nil
}

// path is where a compartment is pinned. A name that would leave the folder is refused.
func (m *Manager) path(name string) (string, error) {
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\x00") {
		return "", fmt.Errorf("compartment %q: not a name that a file can have", name)
	}
	return filepath.Join(m.dir, name), nil
}

// dump repeats a netlink listing that was interrupted by a change, because its result may lack something that was there
// all along.
func dump[T any](list func() (T, error)) (T, error) {
	const attempts = 20
	for i := 1; ; i++ {
		got, err := list()
		if err == nil || i == attempts || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return got, err
		}
	}
}
