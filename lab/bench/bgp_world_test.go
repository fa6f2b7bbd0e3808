package bench_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"bulkhead/bgp"
)

// bgpWorld is a compartment and the sites' routers, each with an address of its own:
//
//	compartment              sites
//	+-------------+          +-------+
//	|       sites0|----------|eth0   |
//	+-------------+          +-------+
//	        10.9.0.1         10.9.0.10, 10.9.0.11, ...
type bgpWorld struct {
	compartment, sites *machine
	config             bgp.Config
}

var speakerIP = netip.MustParseAddr("10.9.0.1")

func newBGPWorld(t testing.TB, peers int) *bgpWorld {
	t.Helper()
	w := &bgpWorld{compartment: newMachine(t), sites: newMachine(t)}
	cable(t, plug{w.compartment, "sites0", insideMAC, innerMTU}, plug{w.sites, "eth0", vmMAC, innerMTU})
	w.compartment.address(t, "sites0", speakerIP.String()+"/24")
	w.config = bgp.Config{
		Tenant: "Woodgrove", Identifier: speakerIP, ASN: 65412, MaximumPaths: 1, Sources: []netip.Addr{speakerIP},
	}
	for i := range peers {
		ip := netip.AddrFrom4([4]byte{10, 9, 0, byte(10 + i)})
		w.sites.address(t, "eth0", ip.String()+"/24")
		w.config.Peers = append(w.config.Peers, bgp.Peer{
			Name: fmt.Sprint("site", i), LocalAddress: speakerIP, Address: ip, ASN: uint32(65500 + i), Passive: true, IPv4: true,
			HoldTime: 90 * time.Second, KeepaliveInterval: 30 * time.Second, ConnectRetry: 5 * time.Second, Hops: 64,
			MaximumPrefixes: 1_000_000, WarnAt: 75,
		})
	}
	return w
}

// router speaks BGP in a compartment. It is started without a session.
type router interface {
	// processes are those that do the work.
	processes() []int
	// stop ends it, with its routes.
	stop()
}

// startRouter starts a router in the world's compartment.
type startRouter func(t testing.TB, w *bgpWorld) router
