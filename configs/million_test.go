package configs_test

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"bulkhead/configs"
)

const million = 1_000_000

// millionFolder is a folder whose policy file has a lookup record in each of a million lines.
func millionFolder(t testing.TB) string {
	t.Helper()
	var text strings.Builder
	for n := range million {
		fmt.Fprintf(&text, "lookup-record 10.%d.%d.%d vsid 5001 mac 60:00:61:%02x:%02x:%02x pa 192.168.0.%d\n",
			1+n>>16, n>>8&255, n&255, n>>16, n>>8&255, n&255, 20+n%200)
	}
	return policyFolder(t, map[string]string{"Contoso": text.String()})
}

// memory is what the heap holds after everything that nobody needs has gone.
func memory() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// peak watches the heap until the function that it gives is called, which tells how large it was at most.
func peak() func() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	most, stop := uint64(0), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	return func() uint64 {
		close(stop)
		wg.Wait()
		return most
	}
}

func TestAMillionStatementsTakeLittleMemory(t *testing.T) {
	dir := millionFolder(t)
	before := memory()
	c, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	bytes := (memory() - before) / million
	if n := len(c.Tenant("Contoso").LookupRecords); n != million+2 || bytes > 150 {
		t.Errorf("%d records of %d bytes each", n, bytes)
	}
}

// BenchmarkLoadMillion reads and checks a million lookup records of a policy file: B/record is what they take when all is
// done, peak_B/record what they take at most until then.
func BenchmarkLoadMillion(b *testing.B) {
	dir := millionFolder(b)
	var at, most uint64
	for b.Loop() {
		before := memory()
		watch := peak()
		c, err := configs.Load(dir)
		most = watch() - before
		if err != nil {
			b.Fatal(err)
		}
		at = memory() - before
		runtime.KeepAlive(c)
	}
	b.ReportMetric(float64(at)/million, "B/record")
	b.ReportMetric(float64(most)/million, "peak_B/record")
}

// BenchmarkChangeAmongAMillion holds one record against a million others and takes it, without the disk.
func BenchmarkChangeAmongAMillion(b *testing.B) {
	c, err := configs.Load(millionFolder(b))
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		changes := parse(b, fmt.Sprintf("lookup-record 10.%d.%d.%d vsid 5001 mac 60:00:62:%02x:%02x:%02x pa 192.168.0.22",
			1+n>>16&7, n>>8&255, n&255, n>>16&255, n>>8&255, n&255))
		if err := c.Change("Contoso", changes, func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
