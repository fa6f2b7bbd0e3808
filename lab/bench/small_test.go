package bench_test

import (
	"net/netip"
	"testing"
	"time"
)

const (
	smallSlice = 50_000 // frames: some 30 ms
	flows      = 1000   // of a case whose destinations are few
)

var smallEffort = effort{rounds: 41, budget: 20 * time.Second}

// decapFrames come from the VM, each in a flow of its own.
func (f *fabric) decapFrames(n int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = f.decap(small(vmCA, clients(i), i))
	}
	return frames
}

// encapFrames go to so many customer addresses in turn, each in a flow of its own.
func (f *fabric) encapFrames(n, destinations int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = ether(extMAC, clientMAC, small(clients(i), customer(i%destinations), i))
	}
	return frames
}

// clients are addresses behind the client.
func clients(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 2, byte(1 + i>>8%254), byte(i)})
}

// decapGenerator measures the way from the provider network into the compartment and out of it.
func (f *fabric) decapGenerator(t testing.TB) *generator {
	t.Helper()
	s := newSink(t, smallFrame)
	s.stand(t, f.client, "eth0")
	f.gateway.liveFrames(t, "backend0")
	return newGenerator(t, f.gateway, "backend0", f.decapFrames(flows), 1, s)
}

// encapGenerator measures the way through the compartment to the provider network.
func (f *fabric) encapGenerator(t testing.TB, frames, destinations int) *generator {
	t.Helper()
	s := newSink(t, smallFrame+f.overhead)
	s.stand(t, f.host, "backend0")
	f.compartment.liveFrames(t, "ext0")
	return newGenerator(t, f.compartment, "ext0", f.encapFrames(frames, destinations), 1, s)
}

// contend makes a contender of a generator.
func contend(name string, g *generator, slice uint32) *contender {
	return &contender{name: name, slice: func() result { return g.run(slice) }}
}

// smallPackets compares the ways of joining by small packets.
func smallPackets(b *testing.B, generate func(*fabric) *generator) {
	b.Helper()
	var all []*contender
	var fabrics []*fabric
	for _, w := range ways(10) {
		f := newFabric(b, w.join)
		fabrics = append(fabrics, f)
		all = append(all, contend(w.name, generate(f), smallSlice))
	}
	alternate(b, smallEffort, all)
	compare(b, "Mpps", 1e-6, all)
	b.ReportMetric(all[0].median(instructions), "instructions/packet")
	fabrics[0].reportPrograms(b, all[0])
}
