package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
)

// otherWay is the metric of a joined site's route to the virtual network: worse than the tunnel's, better than none.
const otherWay = 200

// buildUplink makes the router, and what is between it and the Internet.
func (s *Site) buildUplink() error {
	bridge, bits, err := s.lab.network(s.Address)
	if err != nil {
		return err
	}
	s.bridge = bridge
	internet := s.lab.Node("internet")
	if !s.Behind.IsValid() {
		s.Router, err = s.lab.addHost(s.Name, internet, s.bridge, s.uplink, netip.PrefixFrom(s.Address, bits))
		return err
	}
	if s.Router, err = s.lab.addNode(s.Name); err != nil {
		return err
	}
	device, err := s.lab.addHost(s.Name+"-nat", internet, s.bridge, s.uplink, netip.PrefixFrom(s.Address, bits))
	if err != nil {
		return err
	}
	inside := netip.PrefixFrom(s.Behind.Masked().Addr().Next(), s.Behind.Bits())
	return errors.Join(connect(device, "inside", s.Router, "eth0", plainMTU), device.configure("inside", inside),
		s.Router.configure("eth0", s.Behind), s.Router.route("eth0", anywhere, inside.Addr()),
		device.sysctl("ipv4/ip_forward=1"), device.masquerade("eth0"))
}

// masquerade translates what leaves by the link to the link's address (NAPT).
func (n *Node) masquerade(link string) error {
	conn, err := nftables.New(nftables.WithNetNSFd(n.NS.Fd()))
	if err != nil {
		return fmt.Errorf("translate on %s: %w", n.Name, err)
	}
	name := make([]byte, 16)
	copy(name, link)
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat"})
	chain := conn.AddChain(&nftables.Chain{
		Table: table, Name: "out", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting,
		Priority: nftables.ChainPriorityNATSource,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}, &expr.Masq{},
	}})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("translate on %s: %w", n.Name, err)
	}
	return nil
}

// Cut cuts the site off the Internet, without a word to anybody: its packets and those for it are lost. Its router takes
// its tunnel interface down, so that the site's other ways out count, if it has any.
func (s *Site) Cut() error {
	return errors.Join(s.CutUnnoticed(), s.lower())
}

// CutUnnoticed is Cut, but the router does not see it either.
func (s *Site) CutUnnoticed() error {
	return s.lab.Node("internet").link(s.uplink, func(handle *netlink.Handle, link netlink.Link) error {
		return handle.LinkSetNoMaster(link)
	})
}

// Mend undoes Cut and CutUnnoticed.
func (s *Site) Mend() error {
	return errors.Join(s.lab.Node("internet").plug(s.uplink, s.bridge), s.raise())
}

// Leave stops the site's charon, which takes its tunnels down properly, and its tunnel interface.
func (s *Site) Leave() error { return errors.Join(s.lower(), s.Stop()) }

// Return undoes Leave, and dials.
func (s *Site) Return(ctx context.Context) error {
	return errors.Join(s.raise(), s.Start(ctx, s.ike), s.Up(ctx))
}

// lower takes the tunnel interface down, where there is one.
func (s *Site) lower() error {
	if s.Charon == nil {
		return nil
	}
	return s.Router.link(siteTunnel, func(handle *netlink.Handle, link netlink.Link) error { return handle.LinkSetDown(link) })
}

// raise undoes lower.
func (s *Site) raise() error {
	if s.Charon == nil {
		return nil
	}
	return s.raiseTunnel()
}

// The ends of the line that two sites have of their own.
var ownLine = [2]netip.Prefix{netip.MustParsePrefix("10.3.0.1/24"), netip.MustParsePrefix("10.3.0.2/24")}

// Connect connects two sites by a line of their own: 10.3.0.1 is the first one's end, 10.3.0.2 the other's.
func (l *Lab) Connect(a, b *Site) error {
	if err := errors.Join(connect(a.Router, "link", b.Router, "link", plainMTU), a.Router.configure("link", ownLine[0]),
		b.Router.configure("link", ownLine[1])); err != nil {
		return fmt.Errorf("connect %s and %s: %w", a.Name, b.Name, err)
	}
	return nil
}

// Join connects two sites, so that each reaches the other's LAN by their own line, and the virtual network while its
// tunnel interface is down.
func (l *Lab) Join(a, b *Site) error {
	return errors.Join(l.Connect(a, b), a.joined(b, ownLine[1].Addr()), b.joined(a, ownLine[0].Addr()))
}

// joined makes the routes of a site to another.
func (s *Site) joined(other *Site, via netip.Addr) error {
	return s.Router.link("link", func(handle *netlink.Handle, link netlink.Link) error {
		var errs []error
		for prefix, metric := range map[netip.Prefix]int{other.LAN.Masked(): 0, virtualNetwork: otherWay} {
			errs = append(errs, handle.RouteReplace(&netlink.Route{
				LinkIndex: link.Attrs().Index, Dst: ipNet(prefix), Gw: via.AsSlice(), Priority: metric,
			}))
		}
		return errors.Join(errs...)
	})
}
