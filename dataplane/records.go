package dataplane

import (
	"slices"

	"github.com/google/uuid"
)

// Records are the lookup records of a routing domain as the kernel has them, in order of customer address. There are
// none of a tenant that the doors do not know.
func (d *Dataplane) Records(rdid uuid.UUID) ([]Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, known := d.id(rdid)
	if !known {
		return nil, nil
	}
	var all []Record
	err := each(d.objects.Records, func(k doorsTenantAddress, v doorsRecord) {
		if k.Tenant == id {
			all = append(all, Record{CA: fromAddress(k.Ip), VSID: v.Vsid, MAC: v.Mac[:], PA: fromAddress(v.Pa)})
		}
	})
	slices.SortFunc(all, func(a, b Record) int { return a.CA.Compare(b.CA) })
	return all, err
}
