//go:build vm

package ratelimit

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// newTunnel is a network whose IfCe1 is an xfrm link, whose SAs are in the Default compartment.
//
//	compartment        Default                      site
//	IfCe1 (xfrm) ----- 131.107.10.10 ===ESP=== 59.10.10.10, tunnel (xfrm)
func newTunnel(t *testing.T) *network {
	t.Helper()
	def := testenv.Namespace(t)
	n := &network{compartment: quiet(t), site: quiet(t)}
	n.h = handleOf(t, n.compartment)
	here, there := allOf(t, def), allOf(t, n.site)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "If2"
	must(t, here.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "If2", PeerNamespace: netlink.NsFd(n.site.Fd())}))
	gateway, peer := net.ParseIP("131.107.10.10").To4(), net.ParseIP("59.10.10.10").To4()
	for h, ends := range map[*netlink.Handle][2]net.IP{here: {gateway, peer}, there: {peer, gateway}} {
		link := linkOf(t, h, "If2")
		must(t, h.LinkSetUp(link))
		host := func(ip net.IP) *net.IPNet { return &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)} }
		must(t, h.AddrAdd(link, &netlink.Addr{IPNet: host(ends[0]), Peer: host(ends[1])}))
		associate(t, h, ends[0], ends[1])
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "tunnel", mtu
		must(t, h.LinkAdd(&netlink.Xfrmi{LinkAttrs: attrs, Ifid: 1}))
	}
	moved := linkOf(t, here, "tunnel")
	must(t, here.LinkSetNsFd(moved, n.compartment.Fd()))
	must(t, n.h.LinkSetName(linkOf(t, n.h, "tunnel"), "IfCe1"))
	address(t, n.h, linkOf(t, n.h, "IfCe1"), inside, outside)
	site := linkOf(t, there, "tunnel")
	address(t, there, site, outside, inside)
	must(t, there.LinkSetUp(site))
	return n
}

// associate gives an end its SAs and policies, the same key both ways.
func associate(t *testing.T, h *netlink.Handle, own, peer net.IP) {
	t.Helper()
	all := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	for _, way := range []struct {
		from, to net.IP
		dir      netlink.Dir
	}{{own, peer, netlink.XFRM_DIR_OUT}, {peer, own, netlink.XFRM_DIR_IN}} {
		spi := int(way.from[0])
		must(t, h.XfrmStateAdd(&netlink.XfrmState{
			Src: way.from, Dst: way.to, Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL, Spi: spi, Ifid: 1,
			ReplayWindow: 32,
			Aead:         &netlink.XfrmStateAlgo{Name: "rfc4106(gcm(aes))", Key: make([]byte, 20), ICVLen: 128},
		}))
		must(t, h.XfrmPolicyAdd(&netlink.XfrmPolicy{
			Src: all, Dst: all, Dir: way.dir, Ifid: 1,
			Tmpls: []netlink.XfrmPolicyTmpl{{
				Src: way.from, Dst: way.to, Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TUNNEL, Spi: 0,
			}},
		}))
	}
}

func allOf(t *testing.T, ns *netns.Namespace) *netlink.Handle {
	t.Helper()
	h, err := ns.Netlink()
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func TestALimitHoldsOnATunnel(t *testing.T) {
	n := newTunnel(t)
	n.set(t, Limit{Link: "IfCe1", TxKbps: 5120, RxKbps: 5120})
	n.up(t)
	for _, d := range []Direction{Tx, Rx} {
		t.Run(string(d), func(t *testing.T) {
			start := time.Now()
			from, to := n.flow(t, d)
			const packets = 400
			send(t, from, packets)
			var s Stat
			testenv.Eventually(t, "every packet passed or was dropped", func() bool {
				s = n.stat(t, d)
				return s.BacklogPackets == 0 && s.Packets+s.Drops >= packets
			})
			if most := 5120e3 / 8 * (time.Since(start) + burstTime).Seconds(); float64(s.Bytes) > most {
				t.Errorf("%d octets passed, more than %.0f", s.Bytes, most)
			}
			if s.Drops == 0 || s.Bytes < s.Packets*(frame-14) || s.Bytes > s.Packets*frame {
				t.Errorf("a flood of %d packets at once: %+v", packets, s)
			}
			receive(t, to, int(s.Packets))
		})
	}
	n.set(t)
	n.holdsNothing(t)
}

func TestNetworkControlOvertakesDataOnATunnel(t *testing.T) {
	n := newTunnel(t)
	n.set(t, Limit{Link: "IfCe1", TxKbps: 100_000, RxKbps: 100_000})
	n.up(t)
	for _, d := range []Direction{Tx, Rx} {
		t.Run(string(d), func(t *testing.T) { overtakes(t, n, d, "IPv4") })
	}
}
