package gateway

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// manyRecords is the number of lookup records of BenchmarkChange.
const manyRecords = 1_000_000

// wide is a tenant with a virtual subnet for a million machines.
const wide = `apiVersion: bulkhead/v1
kind: Tenant
metadata: {name: Contoso}
spec:
  routingDomainId: 12345678-1000-2000-3000-000000000001
  virtualSubnets: [{vsid: 5001, prefix: 10.0.0.0/8}, {vsid: 6001, prefix: 172.16.254.0/24}]
  internalInterfaces: [{name: IfCi1, vsid: 6001, addresses: [172.16.254.2/24]}]
`

// recordAt is the statement of the nth of many records, on one of 200 hosts.
func recordAt(n, host int) string {
	var ca, mac [8]byte
	binary.BigEndian.PutUint32(ca[:], 10<<24+uint32(n)+256)
	binary.BigEndian.PutUint32(mac[:], uint32(n))
	return fmt.Sprintf("lookup-record %v vsid 5001 mac 60:00:%02x:%02x:%02x:%02x pa 192.168.0.%d",
		netip.AddrFrom4([4]byte(ca[:4])), mac[0], mac[1], mac[2], mac[3], 20+host%200)
}

// BenchmarkChange changes one lookup record among a million: the whole way from the statement through the checks and the
// policy file to the kernel's map. It reports also how long the million takes to load and to come in force.
func BenchmarkChange(b *testing.B) {
	d := newMachine(b).open(b)
	dir := folder(b, wide)
	f, err := os.Create(filepath.Join(dir, "Contoso.policy"))
	must(b, err)
	w := bufio.NewWriter(f)
	for n := range manyRecords {
		fmt.Fprintln(w, recordAt(n, n))
	}
	must(b, w.Flush())
	must(b, f.Close())
	begin := time.Now()
	must(b, d.takeFolder(b.Context(), dir))
	begun := time.Since(begin)
	n := 0
	for b.Loop() {
		// Steps that are far apart, and another host each time round.
		d.change(b, "Contoso", recordAt(n*7919%manyRecords, n+n/manyRecords+1))
		n++
	}
	b.ReportMetric(begun.Seconds(), "load_s")
}
