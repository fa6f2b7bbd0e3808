package lab_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"bulkhead/lab"
	"bulkhead/lab/hnv"
)

var (
	firstMAC  = net.HardwareAddr{2, 0, 0, 0, 7, 1}
	secondMAC = net.HardwareAddr{2, 0, 0, 0, 7, 2}
)

// pair is two more Hyper-V hosts, East and West, with a VM of one virtual subnet on each: Linux machines, whose own
// kernels ask and answer. The records are of the type given.
func pair(t *testing.T, l *lab.Lab, pas, cas [2]string, bits int, kind hnv.RecordType) (east, west *lab.Node) {
	t.Helper()
	subnet := netip.PrefixFrom(addr(cas[0]), bits).Masked()
	policy := hnv.Policy{Subnets: []hnv.Subnet{{RoutingDomain: "Trey", VSID: 7001, Prefix: subnet}}}
	macs := [2]net.HardwareAddr{firstMAC, secondMAC}
	for i := range pas {
		record := hnv.Record{RoutingDomain: "Trey", VSID: 7001, MAC: macs[i], PA: addr(pas[i]), Type: kind}
		if kind != hnv.L2Only {
			record.CA = addr(cas[i])
		}
		policy.Records = append(policy.Records, record)
	}
	var vms [2]*lab.Node
	for i, name := range []string{"East", "West"} {
		if _, err := l.AddHyperV(name, addr(pas[i]), policy); err != nil {
			t.Fatal(err)
		}
		var err error
		if vms[i], err = l.AddVM(name, lab.VM{
			Name: "Trey-" + name, VSID: 7001, MAC: macs[i], Address: netip.PrefixFrom(addr(cas[i]), bits),
		}); err != nil {
			t.Fatal(err)
		}
	}
	return vms[0], vms[1]
}

func TestLinuxVMsFindEachOtherByUnicastARPAndNDThroughTheirFilters(t *testing.T) {
	for name, x := range map[string]struct {
		pas, cas [2]string
		bits     int
	}{
		"IPv4 over IPv4": {[2]string{"192.168.0.71", "192.168.0.72"}, [2]string{"10.0.7.5", "10.0.7.7"}, 24},
		"IPv6 over IPv4": {[2]string{"192.168.0.71", "192.168.0.72"}, [2]string{"fd00:7::5", "fd00:7::7"}, 64},
		"IPv6 over IPv6": {[2]string{"fd00:a::71", "fd00:a::72"}, [2]string{"fd00:7::5", "fd00:7::7"}, 64},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			east, _ := pair(t, l, x.pas, x.cas, x.bits, hnv.L2Only)
			if _, err := east.Ping(t.Context(), addr(x.cas[1])); err != nil {
				t.Error(err)
			}
			learned := map[netip.Addr]netip.Addr{}
			for _, r := range l.Host("East").Policy().Records {
				if r.Type == hnv.Dynamic {
					learned[r.CA] = r.PA
				}
			}
			for i := range x.cas {
				if learned[addr(x.cas[i])] != addr(x.pas[i]) {
					t.Errorf("East learned %v, want %s at %s too", learned, x.cas[i], x.pas[i])
				}
			}
			router := netip.PrefixFrom(addr(x.cas[0]), x.bits).Masked().Addr().Next()
			if hops, err := east.Trace(t.Context(), router); err != nil || len(hops) != 1 {
				t.Errorf("the way to the router, which is the host itself: %v, %v", hops, err)
			}
		})
	}
}

func TestLinuxVMKeepsItsFlowAcrossALiveMigration(t *testing.T) {
	l := newLab(t)
	cas := [2]string{"10.0.7.5", "10.0.7.7"}
	east, west := pair(t, l, [2]string{"192.168.0.71", "192.168.0.72"}, cas, 24, hnv.Static)
	third, err := l.AddHyperV("North", addr("192.168.0.73"), l.Host("West").Policy())
	if err != nil {
		t.Fatal(err)
	}
	if err := west.ServeEcho(7); err != nil {
		t.Fatal(err)
	}
	flow, err := east.StartFlow(t.Context(), netip.AddrPortFrom(addr(cas[1]), 7), 200)
	if err != nil {
		t.Fatal(err)
	}
	await := func() {
		t.Helper()
		if err := flow.AwaitReplies(within(t, 5*time.Second), 50); err != nil {
			t.Error(err)
		}
	}
	await()
	if err := l.Host("West").Migrate(7001, secondMAC, third); err != nil {
		t.Fatal(err)
	}
	await()
	redirected := l.Host("East").Events()
	if len(redirected) != 1 || redirected[0].Kind != hnv.Redirected || redirected[0].Record.PA != third.PA() {
		t.Fatalf("events: %v", redirected)
	}
	await()
	// What was on its way to the old host is lost, and nothing after the REDIRECT.
	if result := flow.Stop(); result.Lost > 5 || result.LastLost.Sub(result.FirstLost) > time.Second {
		t.Errorf("%v; from %v to %v", result, result.FirstLost, result.LastLost)
	}
}
