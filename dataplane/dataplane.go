// Package dataplane is the two doors of the gateway: eBPF programs that are the only places where packets of more than
// one tenant meet.
//
// Door 1 stands on the provider network and speaks NVGRE (RFC 7637): a frame that comes in goes by its VSID into a
// compartment, a packet that leaves a compartment goes by its lookup record to a provider address. Door 2 stands on the
// Internet: a packet that comes in goes by public address, and port where tenants share one, into a compartment; one
// that leaves must come from what its tenant owns. Both answer ARP and neighbour discovery for their tenants, and count
// what they drop, by tenant and reason.
//
// Programs, maps and attachments are pinned below a folder in a BPF file system, so that they outlive the process:
// [Open] adopts what it finds there and replaces the programs without a gap. The process that opened a folder is the
// only one that writes to its maps. All calls must be made in the network namespace that has the links (the Default
// compartment).
package dataplane

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Dataplane is the doors as they are pinned in one folder. Its methods may be called concurrently.
type Dataplane struct {
	dir     string
	links   *netlink.Handle
	objects doorsObjects
	reasons map[uint32]Reason

	mu       sync.Mutex // guards what follows, and every change to the maps
	attached map[string]attachment
	tenants  map[uint32]identity

	local      *table[doorsAddress, doorsRole]
	vsids      *table[uint32, doorsVsid]
	ports      *table[uint32, doorsPort]
	interfaces *table[doorsVsidAddress, uint32]
	providers  *table[doorsTenantAddress, uint32]
	records    *table[doorsTenantAddress, doorsRecord]
	owners     *owners
}

// Open loads the doors and adopts what an earlier process pinned below dir: maps keep their contents, and attached
// programs are replaced by these atomically. It mounts a BPF file system at dir unless dir is in one already. Maps of
// another version, which these programs cannot use, are made anew and empty, and the log says so.
//
// An error that wraps [errors.ErrUnsupported] means that the kernel lacks what the doors need.
func Open(dir string) (*Dataplane, error) {
	if err := probe(); err != nil {
		return nil, err
	}
	if err := mountBPF(dir); err != nil {
		return nil, err
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink for the doors: %w", err)
	}
	d := &Dataplane{dir: dir, links: links, attached: make(map[string]attachment)}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Dataplane) open() error {
	if err := d.loadObjects(); err != nil {
		return err
	}
	if err := d.readMaps(); err != nil {
		return err
	}
	if err := d.adopt(); err != nil {
		return err
	}
	return d.forgetDeadPorts()
}

// readMaps reads what the kernel holds, so that later changes can be made as differences.
func (d *Dataplane) readMaps() error {
	m := &d.objects.doorsMaps
	var errs [8]error
	d.tenants, errs[0] = readTenants(m.Tenants)
	d.local, errs[1] = readTable(m.Local, "gateway address", func(doorsAddress, doorsRole) uint32 { return 0 })
	d.vsids, errs[2] = readTable(m.Vsids, "virtual subnet", func(_ uint32, v doorsVsid) uint32 { return v.Tenant })
	d.ports, errs[3] = readTable(m.Ports, "link", func(_ uint32, v doorsPort) uint32 { return v.Tenant })
	d.interfaces, errs[4] = readTable(m.Interfaces, "interface address",
		func(_ doorsVsidAddress, tenant uint32) uint32 { return tenant })
	d.providers, errs[5] = readTable(m.Providers, "provider address",
		func(k doorsTenantAddress, _ uint32) uint32 { return k.Tenant })
	d.records, errs[6] = readTable(m.Records, "lookup record",
		func(k doorsTenantAddress, _ doorsRecord) uint32 { return k.Tenant })
	d.owners, errs[7] = readOwners(m.Owners)
	return errors.Join(errs[:]...)
}

// Close lets go of the doors and leaves them running.
func (d *Dataplane) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, a := range d.attached {
		errs = append(errs, a.link.Close())
	}
	d.attached = nil
	if d.objects.Gateway != nil {
		errs = append(errs, d.objects.Close())
		d.objects = doorsObjects{}
	}
	d.links.Close()
	return errors.Join(errs...)
}

// each reads a whole map in batches.
func each[K, V any](m *ebpf.Map, fn func(K, V)) error {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]K, 4096), make([]V, 4096)
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !last {
			return fmt.Errorf("read map %v: %w", m, err)
		}
		for i := range n {
			fn(keys[i], values[i])
		}
		if last {
			return nil
		}
	}
}
