package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// recordTable is the map of lookup records. There may be a million of them, so that only their addresses are kept here;
// what they say is asked of the kernel. Dataplane.mu must be held.
type recordTable struct {
	kernel   *ebpf.Map
	rewrites *ebpf.Map // what the provider addresses of records with the rule rewrite stand for
	hosts    *hosts
	declared *table[doorsTenantAddress, uint32] // hosts that policy names for records that moved
	tenants  map[uint32]*addressSet
	total    int
}

// addressSet is a set of customer addresses that takes little memory.
type addressSet struct {
	v4 map[uint32]struct{}
	v6 map[doorsAddress]struct{}
}

func isMapped(a doorsAddress) bool {
	return a.W[0] == 0 && a.W[1] == 0 && a.W[2] == binary.NativeEndian.Uint32([]byte{0, 0, 0xff, 0xff})
}

func (s *addressSet) add(a doorsAddress) bool {
	before := s.len()
	if isMapped(a) {
		s.v4[a.W[3]] = struct{}{}
	} else {
		s.v6[a] = struct{}{}
	}
	return s.len() > before
}

func (s *addressSet) remove(a doorsAddress) bool {
	before := s.len()
	if isMapped(a) {
		delete(s.v4, a.W[3])
	} else {
		delete(s.v6, a)
	}
	return s.len() < before
}

func (s *addressSet) has(a doorsAddress) bool {
	if s == nil {
		return false
	}
	_, v6 := s.v6[a]
	if !isMapped(a) {
		return v6
	}
	_, v4 := s.v4[a.W[3]]
	return v4
}

func (s *addressSet) len() int {
	if s == nil {
		return 0
	}
	return len(s.v4) + len(s.v6)
}

func (s *addressSet) each(fn func(doorsAddress)) {
	if s == nil {
		return
	}
	prefix := binary.NativeEndian.Uint32([]byte{0, 0, 0xff, 0xff})
	for a := range s.v4 {
		fn(doorsAddress{W: [4]uint32{0, 0, prefix, a}})
	}
	for a := range s.v6 {
		fn(a)
	}
}

func readRecords(m, declared, rewrites *ebpf.Map, h *hosts) (*recordTable, error) {
	t := &recordTable{kernel: m, rewrites: rewrites, hosts: h, tenants: make(map[uint32]*addressSet)}
	var err error
	t.declared, err = readTable(declared, "declared host", func(k doorsTenantAddress, _ uint32) uint32 { return k.Tenant })
	for _, entries := range t.declared.have {
		for _, host := range entries {
			h.hold(host)
		}
	}
	return t, errors.Join(err, each(m, func(k doorsTenantAddress, v doorsRecord) {
		t.note(k)
		if v.rewritten() {
			h.hold(v.Host)
		} else {
			h.count(k.Tenant, v.Host)
		}
	}))
}

// note remembers that there is a record.
func (t *recordTable) note(k doorsTenantAddress) {
	s := t.tenants[k.Tenant]
	if s == nil {
		s = &addressSet{v4: make(map[uint32]struct{}), v6: make(map[doorsAddress]struct{})}
		t.tenants[k.Tenant] = s
	}
	if s.add(k.Ip) {
		t.total++
	}
}

func (t *recordTable) forget(k doorsTenantAddress) {
	s := t.tenants[k.Tenant]
	if s == nil || !s.remove(k.Ip) {
		return
	}
	t.total--
	if s.len() == 0 {
		delete(t.tenants, k.Tenant)
	}
}

// get is the record that the kernel has.
func (t *recordTable) get(k doorsTenantAddress) (v doorsRecord, ok bool, err error) {
	if !t.tenants[k.Tenant].has(k.Ip) {
		return v, false, nil
	}
	if err := t.kernel.Lookup(k, &v); err != nil {
		return v, false, fmt.Errorf("read record for %v: %w", fromAddress(k.Ip), err)
	}
	return v, true, nil
}

// put writes one record.
func (t *recordTable) put(k doorsTenantAddress, v doorsRecord) error {
	old, had, err := t.get(k)
	if err != nil || had && old == v {
		return err
	}
	if err := t.use(k, v); err != nil {
		return errors.Join(err, t.release(k, v, old))
	}
	if err := t.kernel.Put(k, v); err != nil {
		err = fmt.Errorf("write record for %v: %w", fromAddress(k.Ip), err)
		return errors.Join(err, t.release(k, v, old))
	}
	t.note(k)
	if had {
		return t.release(k, old, v)
	}
	return nil
}

// remove deletes one record.
func (t *recordTable) remove(k doorsTenantAddress) error {
	old, had, err := t.get(k)
	if err != nil || !had {
		return err
	}
	if err := t.kernel.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete record for %v: %w", fromAddress(k.Ip), err)
	}
	t.forget(k)
	return errors.Join(t.release(k, old, doorsRecord{}), t.settle(k))
}

// move points a record at another host without forgetting which one policy names.
func (t *recordTable) move(k doorsTenantAddress, host uint32) error {
	v, ok, err := t.get(k)
	if err != nil || !ok {
		return err
	}
	if _, moved := t.declared.have[k.Tenant][k]; !moved {
		if err := t.declared.put(k.Tenant, k, v.Host); err != nil {
			return err
		}
		t.hosts.hold(v.Host)
	}
	v.Host = host
	v.Vsid = (v.Vsid | uint32(doorsRecordFlagsRECORD_MOVED)) &^ uint32(doorsRecordFlagsRECORD_STALE)
	return t.put(k, v)
}

// settle forgets what policy said of a record that moved.
func (t *recordTable) settle(k doorsTenantAddress) error {
	host, moved := t.declared.have[k.Tenant][k]
	if !moved {
		return nil
	}
	err := t.declared.remove(k.Tenant, k)
	if err == nil {
		t.hosts.letGo(host)
	}
	return err
}

// found adds to a declared record what was found out about it, as long as the declaration is what that was found out
// about.
func (t *recordTable) found(k doorsTenantAddress, want, have doorsRecord) doorsRecord {
	const findings = uint32(doorsRecordFlagsRECORD_MOVED | doorsRecordFlagsRECORD_STALE)
	if want.Vsid != have.Vsid&^findings || want.Mac != have.Mac {
		return want
	}
	if host, moved := t.declared.have[k.Tenant][k]; moved && host == want.Host {
		want.Host, want.Vsid = have.Host, have.Vsid
	} else if want.Host == have.Host {
		// Declared where it had moved to: a declaration as any other, but what its host denied is denied still.
		want.Vsid = have.Vsid &^ uint32(doorsRecordFlagsRECORD_MOVED)
	}
	return want
}

// set writes one declared record.
func (t *recordTable) set(k doorsTenantAddress, want doorsRecord) error {
	have, had, err := t.get(k)
	if err != nil {
		return err
	}
	if had {
		want = t.found(k, want, have)
	}
	if err := t.put(k, want); err != nil {
		return err
	}
	return t.settleUnlessMoved(k, want)
}

func (t *recordTable) settleUnlessMoved(k doorsTenantAddress, v doorsRecord) error {
	if v.Vsid&uint32(doorsRecordFlagsRECORD_MOVED) != 0 {
		return nil
	}
	return t.settle(k)
}

// eachOf reads a tenant's records. Where the tenant has a good part of all, the whole map is read in batches.
func (t *recordTable) eachOf(tenant uint32, fn func(doorsTenantAddress, doorsRecord)) error {
	mine := t.tenants[tenant]
	if mine.len() > t.total/8 && mine.len() > 64 {
		return each(t.kernel, func(k doorsTenantAddress, v doorsRecord) {
			if k.Tenant == tenant {
				fn(k, v)
			}
		})
	}
	var errs []error
	mine.each(func(a doorsAddress) {
		k := doorsTenantAddress{Tenant: tenant, Ip: a}
		v, ok, err := t.get(k)
		if err != nil {
			errs = append(errs, err)
		} else if ok {
			fn(k, v)
		}
	})
	return few(errs)
}

// recordChange is what makes a tenant's records as declared.
type recordChange struct {
	puts map[doorsTenantAddress]doorsRecord
	old  map[doorsTenantAddress]doorsRecord // what puts replaces
	gone []doorsTenantAddress
}

// diff takes out of want what the kernel has already. Records that are not wanted go, unless keep says otherwise.
func (t *recordTable) diff(tenant uint32, want map[doorsTenantAddress]doorsRecord, keep func(doorsRecord) bool) (
	recordChange, error,
) {
	c := recordChange{puts: want, old: make(map[doorsTenantAddress]doorsRecord)}
	err := t.eachOf(tenant, func(k doorsTenantAddress, have doorsRecord) {
		w, ok := want[k]
		if !ok {
			if !keep(have) {
				c.gone = append(c.gone, k)
			}
			return
		}
		if w = t.found(k, w, have); w == have {
			delete(want, k)
		} else {
			c.puts[k], c.old[k] = w, have
		}
	})
	return c, err
}

// batch is how many records are written by one call of the kernel's.
const batch = 4096

// write makes the puts of a change, in batches. It carries on past one that fails.
func (t *recordTable) write(c recordChange) error {
	var errs []error
	keys, values := make([]doorsTenantAddress, 0, batch), make([]doorsRecord, 0, batch)
	flush := func() {
		errs = append(errs, t.writeBatch(keys, values, c.old))
		keys, values = keys[:0], values[:0]
	}
	for k, v := range c.puts {
		if err := t.use(k, v); err != nil {
			errs = append(errs, err, t.release(k, v, c.old[k]))
			continue
		}
		if keys, values = append(keys, k), append(values, v); len(keys) == batch {
			flush()
		}
	}
	flush()
	return few(errs)
}

func (t *recordTable) writeBatch(keys []doorsTenantAddress, values []doorsRecord,
	old map[doorsTenantAddress]doorsRecord) error {
	var errs []error
	for len(keys) > 0 {
		n, err := t.kernel.BatchUpdate(keys, values, nil)
		if err != nil && n >= len(keys) {
			n = 0
		}
		for i, k := range keys[:n] {
			t.note(k)
			if was, had := old[k]; had {
				errs = append(errs, t.release(k, was, values[i]), t.settleUnlessMoved(k, values[i]))
			}
		}
		keys, values = keys[n:], values[n:]
		if err != nil {
			errs = append(errs, fmt.Errorf("write record for %v: %w", fromAddress(keys[0].Ip), err),
				t.release(keys[0], values[0], old[keys[0]]))
			keys, values = keys[1:], values[1:]
		}
	}
	return few(errs)
}

// removeAll deletes records.
func (t *recordTable) removeAll(gone []doorsTenantAddress) error {
	var errs []error
	for _, k := range gone {
		errs = append(errs, t.remove(k))
	}
	return few(errs)
}

// rebind makes the records of virtual subnets, whose own provider address is another now, refer to their hosts by that.
func (t *recordTable) rebind(changed map[uint32]doorsVsid) error {
	again := make(map[doorsTenantAddress]doorsRecord)
	err := each(t.kernel, func(k doorsTenantAddress, v doorsRecord) {
		if _, ok := changed[v.Vsid>>8]; ok {
			again[k] = v
		}
	})
	errs := []error{err}
	for k, v := range again {
		bound := changed[v.Vsid>>8].bound()
		host, err := t.hosts.intern(hostKey{pa: t.hosts.pa(v.Host), bound: bound})
		if err != nil {
			errs = append(errs, fmt.Errorf("record for %v: %w", fromAddress(k.Ip), err))
			continue
		}
		v.Host = host
		errs = append(errs, t.put(k, v))
		if declared, moved := t.declared.have[k.Tenant][k]; moved {
			errs = append(errs, t.redeclare(k, hostKey{pa: t.hosts.pa(declared), bound: bound}, declared))
		}
	}
	return few(errs)
}

// redeclare makes the host that policy names for a record that moved another entry of the same host.
func (t *recordTable) redeclare(k doorsTenantAddress, key hostKey, old uint32) error {
	host, err := t.hosts.intern(key)
	if err == nil {
		err = t.declared.put(k.Tenant, k, host)
	}
	if err != nil {
		return fmt.Errorf("declared host of the record for %v: %w", fromAddress(k.Ip), err)
	}
	t.hosts.hold(host)
	t.hosts.letGo(old)
	return nil
}
