package nft_test

import (
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"bulkhead/internal/nft"
)

// What is in a set before a change and after it is never missed meanwhile: rules that guard by it would stand open.
func TestNoPacketMissesASetThatChanges(t *testing.T) {
	ns := withLoopback(t)
	guarded, here, there := netip.MustParsePrefix("127.0.0.2/31"), netip.MustParsePrefix("127.0.1.0/24"),
		netip.MustParsePrefix("127.0.2.0/24")
	guard := func(others ...netip.Prefix) nft.Table {
		return nft.Table{
			Name: "guard", Sets: []nft.Set{nft.IPv4.Ranges("guarded", nft.Cover(append(others, guarded), nil))},
			Chains: []nft.Chain{{
				Name: "output", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookOutput,
				Rules: []nft.Rule{nft.Join(nft.IPv4.DestinationIn("guarded"), nft.Drop())},
			}},
		}
	}
	apply(t, ns, guard(), true)
	// It counts what the guard let through.
	apply(t, ns, counting(nftables.ChainHookPostrouting, guarded), true)
	socket := -1
	if err := ns.Do(func() (err error) {
		socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		for sent := 0; ; sent++ {
			select {
			case <-stop:
				stopped <- sent
				return
			default:
				_ = unix.Sendto(socket, []byte("flood"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 2}})
			}
		}
	}()
	for i := range 50 {
		apply(t, ns, guard([][]netip.Prefix{{here}, {there}, {here, there}, nil}[i%4]...), true)
	}
	close(stop)
	sent := <-stopped
	counters, err := nft.Counters(ns, "test")
	if err != nil {
		t.Fatal(err)
	}
	if got := counters["seen"].Packets; got != 0 || sent == 0 {
		t.Errorf("%d of %d packets passed", got, sent)
	}
	conn, err := nftables.New(nftables.WithNetNSFd(ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	sets, err := conn.GetSets(&nftables.Table{Name: "guard", Family: nftables.TableFamilyINet})
	if err != nil || len(sets) != 1 {
		t.Errorf("%d sets are left over, %v; want one", len(sets), err)
	}
}
