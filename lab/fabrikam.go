package lab

import (
	"errors"
	"net"
	"net/netip"

	"bulkhead/lab/hnv"
)

// The addresses of the book's deployment, as configs/fabrikam declares them to the gateway.
var (
	// GatewayAddress is the one public address that every site dials.
	GatewayAddress = netip.MustParseAddr("131.107.10.10")
	// GatewayAddress6 is its public IPv6 address, which configs/fabrikam does not have.
	GatewayAddress6 = netip.MustParseAddr("2001:db8:131::10")
	// GatewayCA is the gateway's customer address, the same for both tenants.
	GatewayCA = netip.MustParseAddr("10.0.254.2")
	// GatewayPA is the gateway's provider address.
	GatewayPA = netip.MustParseAddr("192.168.0.11")
	// WebAddress is the web server's.
	WebAddress = netip.MustParseAddr("65.10.10.100")
	// ClientAddress is the Internet client's.
	ClientAddress = netip.MustParseAddr("66.10.10.66")
	// VMMAC and VM2MAC are the MACs of 10.0.0.10 and 10.0.0.100, GatewayMAC that of 10.0.254.2: for both tenants.
	VMMAC      = net.HardwareAddr{0x60, 0x00, 0x60, 0x00, 0x01, 0x01}
	VM2MAC     = net.HardwareAddr{0x60, 0x00, 0x60, 0x00, 0x02, 0x02}
	GatewayMAC = net.HardwareAddr{0x60, 0x01, 0x60, 0x01, 0x03, 0x01}
)

// tenant is what the two tenants differ in on the provider network.
type tenant struct {
	name           string
	vsid, gateVSID uint32
}

var tenants = []tenant{{"Contoso", 5001, 6001}, {"Woodgrove", 5002, 6002}}

// vm is a VM that every tenant has, and the Hyper-V host that runs it.
type vm struct {
	address netip.Addr
	mac     net.HardwareAddr
	host    string
	pa      netip.Addr
}

var vms = []vm{
	{netip.MustParseAddr("10.0.0.10"), VMMAC, "Host22", netip.MustParseAddr("192.168.0.22")},
	{netip.MustParseAddr("10.0.0.100"), VM2MAC, "Host33", netip.MustParseAddr("192.168.0.33")},
}

// policy is what the hosts know of both tenants.
func policy() hnv.Policy {
	var p hnv.Policy
	for _, t := range tenants {
		p.Subnets = append(p.Subnets,
			hnv.Subnet{RoutingDomain: t.name, VSID: t.vsid, Prefix: netip.MustParsePrefix("10.0.0.0/24")},
			hnv.Subnet{RoutingDomain: t.name, VSID: t.gateVSID, Prefix: netip.MustParsePrefix("10.0.254.0/24")})
		p.Records = append(p.Records,
			hnv.Record{RoutingDomain: t.name, VSID: t.gateVSID, CA: GatewayCA, MAC: GatewayMAC, PA: GatewayPA})
		p.Routes = append(p.Routes, hnv.Route{RoutingDomain: t.name, Prefix: anywhere, NextHop: GatewayCA})
		for _, v := range vms {
			p.Records = append(p.Records,
				hnv.Record{RoutingDomain: t.name, VSID: t.vsid, CA: v.address, MAC: v.mac, PA: v.pa})
		}
	}
	return p
}

// buildProvider makes the provider network's switch and the gateway's side of it.
func (l *Lab) buildProvider() error {
	provider, err := l.addNode("provider")
	if err != nil {
		return err
	}
	gateway, err := l.addNode("GW-VM")
	if err != nil {
		return err
	}
	if err := errors.Join(provider.bridge("switch", providerMTU),
		l.attach(gateway, "backend0", provider, "switch", "gw", providerMTU)); err != nil {
		return err
	}
	return errors.Join(gateway.noOffloads("backend0"), provider.noOffloads("gw"))
}

// buildHosts makes the Hyper-V hosts with a VM of each tenant.
func (l *Lab) buildHosts() error {
	for _, v := range vms {
		if err := l.buildHost(v); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) buildHost(v vm) error {
	if _, err := l.AddHyperV(v.host, v.pa, policy()); err != nil {
		return err
	}
	for _, t := range tenants {
		_, err := l.AddVM(v.host, VM{
			Name: t.name + "-" + v.address.String(), VSID: t.vsid, MAC: v.mac, Address: netip.PrefixFrom(v.address, 24),
		})
		if err != nil {
			return err
		}
	}
	return nil
}
