package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// loopback is the ifindex that `lo` has in every network namespace.
const loopback = 1

// probe tells whether the kernel has tcx, which is the youngest thing that the doors need.
func probe() error {
	if _, err := link.QueryPrograms(link.QueryOptions{Target: loopback, Attach: ebpf.AttachTCXIngress}); err != nil {
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("query eBPF programs: run as root (CAP_BPF and CAP_NET_ADMIN): %w", err)
		}
		return fmt.Errorf("the doors need tcx: Linux 6.6 or later with CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_ACT: %w",
			errors.Join(errors.ErrUnsupported, err))
	}
	return nil
}

// mountBPF mounts a BPF file system at dir, unless dir is in one.
func mountBPF(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder for pinned eBPF objects: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if uint32(st.Type) == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount a BPF file system at %s: %w", dir, err)
	}
	return nil
}

func (d *Dataplane) mapsDir() string  { return filepath.Join(d.dir, "maps") }
func (d *Dataplane) linksDir() string { return filepath.Join(d.dir, "links") }

// loadObjects loads the programs, over the pinned maps where they fit.
func (d *Dataplane) loadObjects() error {
	for _, dir := range []string{d.mapsDir(), d.linksDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make folder for pinned eBPF objects: %w", err)
		}
	}
	spec, err := loadDoors()
	if err != nil {
		return err
	}
	if d.reasons, err = reasonsOf(spec); err != nil {
		return err
	}
	options := &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: d.mapsDir()}}
	err = d.checkLayout()
	if err == nil {
		err = spec.LoadAndAssign(&d.objects, options)
	}
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		slog.Warn("pinned eBPF maps are of another version and are made anew: tenants pass again once they are set",
			"folder", d.mapsDir(), "reason", err)
		if err := unpinAll(d.mapsDir()); err != nil {
			return err
		}
		err = spec.LoadAndAssign(&d.objects, options)
	}
	if err != nil {
		return fmt.Errorf("load the doors: %w", err)
	}
	return d.markLayout()
}

// checkLayout refuses pinned maps whose contents mean something else to these programs although their sizes are equal.
func (d *Dataplane) checkLayout() error {
	m, err := ebpf.LoadPinnedMap(filepath.Join(d.mapsDir(), doorsMapGateway), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open a pinned map: %w", err)
	}
	defer func() { _ = m.Close() }()
	var g doorsGateway
	if err := m.Lookup(uint32(0), &g); err != nil {
		return fmt.Errorf("read map gateway (%w): %w", err, ebpf.ErrMapIncompatible)
	}
	if g.Layout != 0 && g.Layout != doorsLayoutLAYOUT {
		return fmt.Errorf("maps have layout %d, the programs %d: %w", g.Layout, doorsLayoutLAYOUT, ebpf.ErrMapIncompatible)
	}
	return nil
}

func (d *Dataplane) markLayout() error {
	var g doorsGateway
	if err := d.objects.Gateway.Lookup(uint32(0), &g); err != nil {
		return fmt.Errorf("read map gateway: %w", err)
	}
	if g.Layout == doorsLayoutLAYOUT {
		return nil
	}
	g.Layout = doorsLayoutLAYOUT
	if err := d.objects.Gateway.Put(uint32(0), g); err != nil {
		return fmt.Errorf("write map gateway: %w", err)
	}
	return nil
}

// unpinAll removes every pin in a folder.
func unpinAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list pinned eBPF objects: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}

// Destroy detaches the doors, forgets everything that they know, and closes d. The BPF file system goes too, if it is
// mounted at the folder itself and nothing else is pinned in it.
func (d *Dataplane) Destroy() error {
	errs := []error{unpinAll(d.linksDir()), unpinAll(d.mapsDir()), d.Close()}
	errs = append(errs, os.Remove(d.linksDir()), os.Remove(d.mapsDir()))
	left, err := os.ReadDir(d.dir)
	// The kernel's own *.debug files are in every BPF file system.
	left = slices.DeleteFunc(left, func(e fs.DirEntry) bool { return filepath.Ext(e.Name()) == ".debug" })
	if err != nil || len(left) > 0 {
		return errors.Join(append(errs, err)...)
	}
	// EINVAL: the folder is not a mount point, but in a BPF file system that is another's.
	if err := unix.Unmount(d.dir, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		errs = append(errs, fmt.Errorf("unmount %s: %w", d.dir, err))
	}
	return errors.Join(errs...)
}
