package bench_test

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// netkit is cable with a netkit pair as the package compartments makes it, whose primary end is a's.
func netkit(t testing.TB, a, b plug) {
	t.Helper()
	must(t, "add netkit "+a.name, a.in.LinkAdd(netkitPair(a, b)))
	a.in.up(t, a.name)
	b.in.up(t, b.name)
}

func netkitPair(a, b plug) netlink.Link {
	pair := &netlink.Netkit{
		LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.NETKIT_MODE_L2, PeerPolicy: netlink.NETKIT_POLICY_BLACKHOLE,
		Scrub: netlink.NETKIT_SCRUB_DEFAULT, PeerScrub: netlink.NETKIT_SCRUB_DEFAULT,
	}
	there := netlink.NewLinkAttrs()
	pair.Name, pair.HardwareAddr, pair.MTU = a.name, a.mac, a.mtu
	there.Name, there.HardwareAddr, there.MTU, there.Namespace = b.name, b.mac, b.mtu, netlink.NsFd(b.in.Fd())
	pair.SetPeerAttrs(&there)
	return pair
}

// BenchmarkLink compares the kinds of pair between a compartment and the doors: netkit, whose rates it tells, with veth
// (x_veth). In a virtual machine, where the kernel of this one has no netkit:
//
//	GOTMPDIR=$PWD/bin/_tmp CGO_ENABLED=0 go test -exec $PWD/lab/vm ./lab/bench -run - -bench Link -benchtime 1x -v
//
// The clock of an emulated CPU tells as much of the emulation as of the kernel. With `-icount shift=1,sleep=off` added to
// lab/vm's QEMU options for an emulated CPU, time there is the number of instructions, and every round is like the next.
func BenchmarkLink(b *testing.B) {
	trial := plug{in: newMachine(b), name: "trial0"}
	if err := trial.in.LinkAdd(netkitPair(trial, plug{in: trial.in, name: "trial1"})); errors.Is(err, unix.EOPNOTSUPP) {
		b.Skip("this kernel has no netkit")
	}
	b.Logf("kernel %s, %s", kernelRelease(), cpuModel())
	kinds := []way{{"netkit", joinNVGREBy(netkit, 10)}, {"veth", joinNVGREBy(cable, 10)}}
	small := func(generate func(b *testing.B, f *fabric) *generator) func(b *testing.B) {
		return func(b *testing.B) {
			var all []*contender
			for _, k := range kinds {
				all = append(all, contend(k.name, generate(b, newFabric(b, k.join)), smallSlice/10))
			}
			alternate(b, smallEffort, all)
			compare(b, "Mpps", 1e-6, all)
		}
	}
	stream := func(reverse bool) func(b *testing.B) {
		return func(b *testing.B) {
			var all []*contender
			for _, k := range kinds {
				all = append(all, &contender{name: k.name, slice: newFabric(b, k.join).tcp(b, 1, reverse, tcpSlice)})
			}
			alternate(b, tcpEffort, all)
			compare(b, "gbit/s", 8e-9, all)
		}
	}
	for _, c := range []struct {
		name string
		run  func(b *testing.B)
	}{
		{"small_decap", small(func(b *testing.B, f *fabric) *generator { return f.decapGenerator(b) })},
		{"small_encap", small(func(b *testing.B, f *fabric) *generator { return f.encapGenerator(b, flows, 10) })},
		{"tcp1", stream(false)},
		{"tcp1_reverse", stream(true)},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.run(b)
			}
		})
	}
}
