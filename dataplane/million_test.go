//go:build !vm

// Bookkeeping that no kernel does differently: not repeated in the VM.

package dataplane

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// manyRecords are records of customer addresses that no other test uses, at 200 hosts.
func manyRecords(n int) []Record {
	all := make([]Record, n)
	for i := range all {
		var ca [4]byte
		binary.BigEndian.PutUint32(ca[:], 0x0b000000+uint32(i))
		pa := netip.AddrFrom4([4]byte{192, 168, 0, byte(22 + i%200)})
		all[i] = Record{CA: netip.AddrFrom4(ca), VSID: 5001, MAC: vmMAC, PA: pa}
	}
	return all
}

// recordBytes is the kernel's memory for records.
func (d *doors) recordBytes(t testing.TB) uint64 {
	t.Helper()
	info, err := d.objects.Records.Info()
	if err != nil {
		t.Fatal(err)
	}
	bytes, ok := info.Memlock()
	if !ok {
		t.Fatal("the kernel does not tell how much memory a map takes")
	}
	return bytes
}

func TestManyRecordsLoadInBatchesTakeLittleMemoryAndChangeOneByOne(t *testing.T) {
	const many = 200_000
	d := fabrikamDoors(t)
	empty := d.recordBytes(t)
	c := contoso()
	own := len(c.Records)
	c.Records = append(c.Records, manyRecords(many)...)
	d.set(t, c)
	full := d.recordBytes(t)
	// At a million, the table of buckets adds its fixed size divided by a million.
	if each := (full-empty)/many + empty/1e6; each > 150 {
		t.Errorf("%d bytes per record, of which %d are fixed", each, empty/1e6)
	}
	before := d.snapshot(t)
	start := time.Now()
	for i := range 1000 {
		r := c.Records[own+i*100]
		r.PA = addr("192.168.0.230")
		if err := d.SetRecord(contosoID, r); err != nil {
			t.Fatal(err)
		}
	}
	if each := time.Since(start) / 1000; each > time.Millisecond {
		t.Errorf("a record takes %v to change", each)
	}
	if records, err := d.Records(contosoID); err != nil || len(records) != many+own {
		t.Errorf("%d records, %v", len(records), err)
	}
	d.set(t, c)
	now := d.snapshot(t)
	for k, v := range before.Records {
		if now.Records[k] != v {
			t.Fatalf("record for %v: %+v, want %+v", fromAddress(k.Ip), now.Records[k], v)
		}
	}
	c.Records = c.Records[:own]
	d.set(t, c)
	if left := d.snapshot(t); len(left.Records) != 6 || len(left.Hosts) != 2 || len(left.Providers) != 3 {
		t.Errorf("%d records, %d hosts and %d provider addresses are left", len(left.Records), len(left.Hosts),
			len(left.Providers))
	}
}
