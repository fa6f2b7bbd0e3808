package bench_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"bulkhead/dataplane"
)

// BenchmarkRecords measures a tenant with many lookup records: the seconds that they take to load, the kernel's memory
// for one (of the map, its unused buckets included), and how long one change of them takes.
func BenchmarkRecords(b *testing.B) {
	b.Run("1M", func(b *testing.B) {
		for b.Loop() {
			manyRecords(b, 1_000_000, 1001)
		}
	})
}

func manyRecords(b *testing.B, count, changes int) {
	b.Helper()
	f := newFabric(b, func(t testing.TB, f *fabric) { f.inner(t) })
	d := doorsIn(b, f.gateway, gatewayAt(gatewayPA))
	tenant := contoso(count)
	var took time.Duration
	must(b, "load records", f.gateway.Do(func() error {
		start := time.Now()
		err := d.SetTenant(tenant)
		took = time.Since(start)
		return err
	}))
	info, err := mapOf(b, programsOf(b, f.gateway, "bhi0")[0], "records").Info()
	must(b, "read about the map", err)
	memory, _ := info.Memlock()
	other := netip.MustParseAddr("192.168.0.33")
	each := make([]time.Duration, changes)
	for i := range each {
		r := dataplane.Record{CA: customer(i * (count / changes)), VSID: vmVSID, MAC: vmMAC, PA: other}
		start := time.Now()
		err := d.SetRecord(tenant.RoutingDomain, r)
		each[i] = time.Since(start)
		must(b, "change a record", err)
	}
	slices.Sort(each)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.Seconds(), "load_seconds")
	b.ReportMetric(float64(memory)/float64(count), "bytes/record")
	b.ReportMetric(float64(each[len(each)/2].Nanoseconds())/1000, "us/change")
	b.ReportMetric(float64(each[len(each)-1-len(each)/100].Nanoseconds())/1000, "us/change_p99")
}
