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
	"github.com/google/uuid"
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
	ids      map[uuid.UUID]uint32 // the other way round
	learners map[uint32]int       // L2Only records by VSID
	lessons  lessons

	local      *table[doorsAddress, doorsLocal]
	vsids      *table[uint32, doorsVsid]
	ports      *table[uint32, doorsPort]
	interfaces *table[doorsVsidAddress, doorsInterface]
	hosts      *hosts
	records    *recordTable
	l2only     *table[doorsVsidMac, doorsL2only]
	standIns   *table[doorsAddress, doorsStandIn]
	routes     *routeTable
	owners     *owners
	policers   map[doorsAddress]policerRate
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
	d := &Dataplane{dir: dir, links: links, attached: make(map[string]attachment), lessons: newLessons()}
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
	var errs [10]error
	d.tenants, errs[0] = readTenants(m.Tenants)
	d.ids = make(map[uuid.UUID]uint32)
	for id, t := range d.tenants {
		d.ids[t.routingDomain] = id
	}
	d.local, errs[1] = readTable(m.Local, "gateway address", func(doorsAddress, doorsLocal) uint32 { return 0 })
	d.vsids, errs[2] = readTable(m.Vsids, "virtual subnet", func(_ uint32, v doorsVsid) uint32 { return v.Tenant })
	d.ports, errs[3] = readTable(m.Ports, "link", func(_ uint32, v doorsPort) uint32 { return v.Tenant })
	d.interfaces, errs[4] = readTable(m.Interfaces, "interface address",
		func(_ doorsVsidAddress, v doorsInterface) uint32 { return v.Tenant })
	d.hosts, errs[5] = readHosts(m.Hosts, m.Providers)
	d.records, errs[6] = readRecords(m.Records, m.Declared, m.Rewrites, d.hosts)
	d.routes, errs[7] = readRoutes(m.Routes)
	d.owners, errs[8] = readOwners(m.Owners)
	d.standIns, errs[9] = readTable(m.StandIns, "provider address that stands for an interface's",
		func(_ doorsAddress, v doorsStandIn) uint32 { return v.Tenant })
	return errors.Join(append(errs[:], d.readL2Only(), d.readPolicers())...)
}

func (d *Dataplane) readL2Only() (err error) {
	d.l2only, err = readTable(d.objects.L2only, "L2Only record",
		func(_ doorsVsidMac, v doorsL2only) uint32 { return v.Tenant })
	d.learners = make(map[uint32]int)
	for tenant, entries := range d.l2only.have {
		for k, v := range entries {
			d.learners[k.Vsid]++
			d.hosts.count(tenant, v.Host)
		}
	}
	return err
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
