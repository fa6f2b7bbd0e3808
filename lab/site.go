package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/strongswan/govici/vici"
	"github.com/vishvananda/netlink"
)

const (
	siteMTU  = 1360 // with the ESP and UDP of a tunnel around it, over IPv4 or IPv6, below 1500
	siteIfID = 1
	// siteTunnel names the site's xfrm interface, its connection and its child. FRR watches a neighbour (BFD) on the link
	// that has the session's own address, and of several on the one whose name comes first: before "lan", that is.
	siteTunnel = "ipsec0"
)

// Site is a tenant's site: a router with a public address and a LAN, and a host on that LAN.
type Site struct {
	SiteOptions
	// Router is the node that runs charon, Host the one behind it.
	Router, Host *Node
	// Charon is the site's IKE daemon after Start.
	Charon *Charon
	// Speaker is what speaks BGP on the router after Speak.
	Speaker Speaker
	lab     *Lab
	// uplink is the site's port of the Internet's bridge.
	uplink, bridge string
	ike            IKE
	// farEnds are the neighbours at the other end of the tunnel, with the router's own address towards each. There are
	// static routes instead as long as there is nobody.
	farEnds map[netip.Addr]netip.Addr
}

// SiteOptions are what sites differ in.
type SiteOptions struct {
	// Name of the site and of its router's node, at most 15 bytes; the host's has "-host" behind it.
	Name string
	// Address is the router's public one, in one of the Internet's networks: IPv4 or IPv6.
	Address netip.Addr
	// Behind is the router's own address where a NAT device (node "NAME-nat") has the public one; the device's is the
	// lowest of that subnet.
	Behind netip.Prefix
	// LAN is the router's address there, with the prefix, HostAddress that of the host behind it. LAN6 is a second
	// prefix, in which the host's address is the next one after the router's.
	LAN         netip.Prefix
	HostAddress netip.Addr
	LAN6        netip.Prefix
}

// Local is the address that the site's router has itself: IKE goes out from it.
func (o SiteOptions) Local() netip.Addr {
	if o.Behind.IsValid() {
		return o.Behind.Addr()
	}
	return o.Address
}

// Gateway is the gateway's address that the site dials: the one of the site's own family.
func (o SiteOptions) Gateway() netip.Addr {
	if o.Address.Is6() {
		return GatewayAddress6
	}
	return GatewayAddress
}

// buildSites makes the sites of the book, without tunnels.
func (l *Lab) buildSites() error {
	for _, s := range []struct{ name, address, lan, host string }{
		{"NY-Contoso", "59.10.10.10", "10.1.0.1/24", "10.1.0.5"},
		{"NY-Woodgrove", "59.10.10.100", "10.1.0.1/24", "10.1.0.5"},
		{"SFO-Woodgrove", "60.10.10.100", "10.2.0.1/24", "10.2.0.5"},
	} {
		if _, err := l.AddSite(SiteOptions{
			Name: s.name, Address: netip.MustParseAddr(s.address), LAN: netip.MustParsePrefix(s.lan),
			HostAddress: netip.MustParseAddr(s.host),
		}); err != nil {
			return err
		}
	}
	return nil
}

// The prefixes that sites reach through the gateway, which are the virtual networks'.
var (
	virtualNetwork  = netip.MustParsePrefix("10.0.0.0/16")
	virtualNetwork6 = netip.MustParsePrefix("fd00::/56")
)

// AddSite makes a site's router, LAN and host, without a tunnel.
func (l *Lab) AddSite(o SiteOptions) (*Site, error) {
	s := &Site{SiteOptions: o, lab: l, uplink: o.Name}
	for _, step := range []func() error{s.buildUplink, s.buildLAN, s.buildLAN6} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("site %s: %w", o.Name, err)
		}
	}
	l.sites[o.Name] = s
	return s, nil
}

// buildLAN makes the LAN and the host on it. The virtual network is reached by tunnel or not at all.
func (s *Site) buildLAN() error {
	var err error
	if s.Host, err = s.lab.addNode(s.Name + "-host"); err != nil {
		return err
	}
	return errors.Join(connect(s.Router, "lan", s.Host, "eth0", plainMTU), s.Router.configure("lan", s.LAN),
		s.Host.configure("eth0", netip.PrefixFrom(s.HostAddress, s.LAN.Bits())), s.Host.route("eth0", anywhere, s.LAN.Addr()),
		s.Router.sysctl("ipv4/ip_forward=1"), s.Router.unreachable(virtualNetwork))
}

// buildLAN6 gives the LAN its IPv6 prefix, where there is one.
func (s *Site) buildLAN6() error {
	if !s.LAN6.IsValid() {
		return nil
	}
	host := netip.PrefixFrom(s.LAN6.Addr().Next(), s.LAN6.Bits())
	return errors.Join(s.Router.enableIPv6("lan"), s.Host.enableIPv6("eth0"), s.Router.configure("lan", s.LAN6),
		s.Host.configure("eth0", host), s.Host.route("eth0", anywhere6, s.LAN6.Addr()),
		s.Router.sysctl("ipv6/conf/all/forwarding=1"), s.Router.unreachable(virtualNetwork6))
}

// AddLAN gives the site another prefix: the router's address in it, on a bridge of that name.
func (s *Site) AddLAN(name string, address netip.Prefix) error {
	if err := s.Router.bridge(name, plainMTU); err != nil {
		return err
	}
	var err error
	if address.Addr().Is6() {
		err = s.Router.enableIPv6(name)
	}
	return errors.Join(err, s.Router.configure(name, address))
}

// addTunnel makes the xfrm interface, where it does not stand yet, and the routes into it.
func (s *Site) addTunnel() error {
	handle, err := s.Router.NS.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	if _, err := handle.LinkByName(siteTunnel); err == nil {
		return nil
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = siteTunnel, siteMTU
	if err := handle.LinkAdd(&netlink.Xfrmi{LinkAttrs: attrs, Ifid: siteIfID}); err != nil {
		return fmt.Errorf("site %s makes an xfrm interface (needs a kernel with IPsec, as in lab/vm): %w", s.Name, err)
	}
	return s.raiseTunnel()
}

// raiseTunnel sets the xfrm interface up, with its routes: they go whenever it goes down.
func (s *Site) raiseTunnel() error {
	err := s.Router.configure(siteTunnel)
	if s.LAN6.IsValid() {
		err = errors.Join(err, s.Router.enableIPv6(siteTunnel))
	}
	for far, near := range s.farEnds {
		if far.Is6() {
			err = errors.Join(err, s.Router.enableIPv6(siteTunnel))
		}
		err = errors.Join(err, s.Router.pair(siteTunnel, near, far))
	}
	if s.farEnds != nil {
		return err
	}
	err = errors.Join(err, s.Router.route(siteTunnel, virtualNetwork, netip.Addr{}))
	if s.LAN6.IsValid() {
		err = errors.Join(err, s.Router.route(siteTunnel, virtualNetwork6, netip.Addr{}))
	}
	return err
}

// Start starts the site's charon and its tunnel interface. The site then answers the gateway and dials when told to
// (Up).
func (s *Site) Start(ctx context.Context, ike IKE) error {
	if err := s.addTunnel(); err != nil {
		return err
	}
	charon, err := StartCharon(ctx, s.Router, filepath.Join(s.lab.dir, s.Name))
	if err != nil {
		return err
	}
	s.Charon = charon
	return s.Load(ctx, ike)
}

// Load gives the site's charon other settings. Tunnels that are up stay as they are.
func (s *Site) Load(ctx context.Context, ike IKE) error {
	s.ike = ike
	return s.vici(ctx, func(ctx context.Context, session *vici.Session) error {
		commands, err := s.commands()
		if err != nil {
			return err
		}
		for _, c := range commands {
			if err := s.call(ctx, session, c.name, c.message); err != nil {
				return err
			}
		}
		return nil
	})
}

// Restart stops the site's charon and starts it with settings that may be others than before.
func (s *Site) Restart(ctx context.Context, ike IKE) error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.Start(ctx, ike)
}

// Stop ends the site's charon, which takes its tunnels down properly; Charon.Kill does not.
func (s *Site) Stop() error {
	if s.Charon == nil {
		return nil
	}
	return s.Charon.Stop()
}
