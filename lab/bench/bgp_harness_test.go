package bench_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"bulkhead/bgp"
)

// What feeders say is each route once, and each once more to take it back, as another implementation reads it.
func TestFeedersTellEachRouteOnce(t *testing.T) {
	peer := bgp.Peer{ASN: 65500, Address: netip.MustParseAddr("10.9.0.10")}
	for name, messages := range map[string][]byte{
		"announcements": announcements(peer, 250, 1003), "withdrawals": withdrawals(250, 1003),
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[netip.Prefix]int{}
			for rest := bytes.NewBuffer(messages); rest.Len() > 0; {
				size := int(binary.BigEndian.Uint16(rest.Bytes()[16:]))
				m, err := gobgp.ParseBGPMessage(rest.Next(size))
				if err != nil {
					t.Fatal(err)
				}
				update := m.Body.(*gobgp.BGPUpdate)
				told := update.NLRI
				if name == "withdrawals" {
					told = update.WithdrawnRoutes
				}
				for _, p := range told {
					seen[p.NLRI.(*gobgp.IPAddrPrefix).Prefix]++
				}
			}
			for n := 250; n < 1253; n++ {
				p := routeTo(n)
				if seen[p] != 1 || routeNumber(p.Addr().As4(), p.Bits()) != n {
					t.Fatalf("route %d, %v: told %d times, and read as %d", n, p, seen[p], routeNumber(p.Addr().As4(), p.Bits()))
				}
			}
			if len(seen) != 1003 {
				t.Errorf("%d routes instead of 1003", len(seen))
			}
		})
	}
}
