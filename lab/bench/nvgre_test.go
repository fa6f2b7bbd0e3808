package bench_test

import (
	"testing"
)

// BenchmarkNVGRE compares the doors with the kernel's VXLAN and with plain routing on the same topology, and with
// themselves under other conditions (x_base). One iteration is a whole comparison.
//
// x_NAME is the doors' rate divided by NAME's: medians of slices that alternate. Mpps is millions of packets per second
// of one CPU's time, gbit/s is by the clock (and x_NAME_cpu by CPU time). instructions/packet is what the CPU counts in
// the kernel for a packet's whole way, from the link that it comes in on to the one that it leaves by.
func BenchmarkNVGRE(b *testing.B) {
	b.Logf("kernel %s, %s", kernelRelease(), cpuModel())
	for _, c := range []struct {
		name string
		run  func(*testing.B)
	}{
		{"tcp1", func(b *testing.B) { tcp(b, 1, false) }},
		{"tcp4", func(b *testing.B) { tcp(b, 4, false) }},
		{"tcp1_reverse", func(b *testing.B) { tcp(b, 1, true) }},
		{"small_decap", func(b *testing.B) {
			smallPackets(b, func(f *fabric) *generator { return f.decapGenerator(b) })
		}},
		{"small_encap", func(b *testing.B) {
			smallPackets(b, func(f *fabric) *generator { return f.encapGenerator(b, flows, 10) })
		}},
		{"records_100k", func(b *testing.B) { records(b, flows, 10) }},
		{"records_100k_spread", func(b *testing.B) { records(b, 100_000, 100_000) }},
		{"tenants_1000", func(b *testing.B) { tenants(b, 1000, 64) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.run(b)
			}
		})
	}
}

// records compares a gateway with 100,000 lookup records with one that has 10. Both get as many different frames; the
// first one's go to so many destinations, the other's to 10.
func records(b *testing.B, frames, destinations int) {
	b.Helper()
	loaded, base := newFabric(b, joinNVGRE(100_000)), newFabric(b, joinNVGRE(10))
	all := []*contender{
		contend("nvgre", loaded.encapGenerator(b, frames, destinations), smallSlice*2),
		contend("base", base.encapGenerator(b, frames, 10), smallSlice*2),
	}
	alternate(b, smallEffort, all)
	compare(b, "Mpps", 1e-6, all)
	loaded.reportPrograms(b, all[0])
}

// tenants compares traffic through all of many compartments with traffic through one of them, by the doors and by VXLAN
// devices in the compartments. Packets come in bursts of one tenant, as a NIC's queue delivers them.
func tenants(b *testing.B, count, burst int) {
	b.Helper()
	slice := uint32(4 * count * burst)
	nvgre, vxlan := newCrowd(b, count, crowdNVGRE), newCrowd(b, count, crowdVXLAN)
	counted, countedVXLAN := nvgre.sink(b), vxlan.sink(b)
	all := []*contender{
		contend("nvgre", nvgre.generator(b, count, burst, counted), slice),
		contend("base", nvgre.generator(b, 1, burst, counted), slice),
		contend("vxlan_direct", vxlan.generator(b, count, burst, countedVXLAN), slice),
	}
	vxlanBase := contend("vxlan_direct_base", vxlan.generator(b, 1, burst, countedVXLAN), slice)
	alternate(b, smallEffort, append(all, vxlanBase))
	compare(b, "Mpps", 1e-6, all)
	b.ReportMetric(all[2].median(rate)/vxlanBase.median(rate), "vxlan_direct_x_base")
	b.ReportMetric(float64(burst), "burst")
}
