package dataplane

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// table is a map in the kernel and a copy of it by tenant, so that a change to one tenant costs nothing for the others.
// Entries of the gateway itself have tenant 0. Dataplane.mu must be held.
type table[K, V comparable] struct {
	kernel *ebpf.Map
	what   string
	have   map[uint32]map[K]V
}

func readTable[K, V comparable](m *ebpf.Map, what string, tenant func(K, V) uint32) (*table[K, V], error) {
	t := &table[K, V]{kernel: m, what: what, have: make(map[uint32]map[K]V)}
	err := each(m, func(k K, v V) { t.remember(tenant(k, v), k, v) })
	return t, err
}

func (t *table[K, V]) remember(tenant uint32, k K, v V) {
	if t.have[tenant] == nil {
		t.have[tenant] = make(map[K]V)
	}
	t.have[tenant][k] = v
}

// add writes the entries of want that differ from what the kernel has for the tenant.
func (t *table[K, V]) add(tenant uint32, want map[K]V) error {
	var errs []error
	for k, v := range want {
		errs = append(errs, t.put(tenant, k, v))
	}
	return few(errs)
}

// prune deletes the tenant's entries that want does not have.
func (t *table[K, V]) prune(tenant uint32, want map[K]V) error {
	var errs []error
	for k := range t.have[tenant] {
		if _, ok := want[k]; !ok {
			errs = append(errs, t.remove(tenant, k))
		}
	}
	return few(errs)
}

// remove deletes one entry of the tenant's.
func (t *table[K, V]) remove(tenant uint32, k K) error {
	if err := t.kernel.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete %s %v: %w", t.what, k, err)
	}
	delete(t.have[tenant], k)
	if len(t.have[tenant]) == 0 {
		delete(t.have, tenant)
	}
	return nil
}

// put writes one entry of the tenant's.
func (t *table[K, V]) put(tenant uint32, k K, v V) error {
	if old, ok := t.have[tenant][k]; ok && old == v {
		return nil
	}
	if err := t.kernel.Put(k, v); err != nil {
		return fmt.Errorf("write %s %v: %w", t.what, k, err)
	}
	t.remember(tenant, k, v)
	return nil
}

// taken is the other tenant that has the key.
func (t *table[K, V]) taken(tenant uint32, k K) (uint32, bool) {
	for other, entries := range t.have {
		if _, ok := entries[k]; ok && other != tenant {
			return other, true
		}
	}
	return 0, false
}

// few joins errors, of which a full map can make a million.
func few(errs []error) error {
	const enough = 5
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) > enough {
		errs = append(errs[:enough:enough], fmt.Errorf("and %d more of the kind", len(errs)-enough))
	}
	return errors.Join(errs...)
}
