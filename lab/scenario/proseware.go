package scenario

import (
	"context"
	"fmt"
	"net/netip"

	"bulkhead/lab"
	"bulkhead/lab/hnv"
)

// proseware is a tenant whose virtual network is IPv6, with a site behind an IPv4 tunnel.
const proseware = `apiVersion: bulkhead/v1
kind: Tenant
metadata:
  name: Proseware
spec:
  routingDomainId: 12345678-1000-2000-3000-123456780202
  virtualSubnets:
    - {vsid: 5301, prefix: "fd00:0:0:1::/64"}
    - {vsid: 6301, prefix: "fd00:0:0:2::/64"}
  internalInterfaces:
    - {name: IfPi1, vsid: 6301, addresses: ["fd00:0:0:2::2/64"], macAddress: "60:01:60:01:03:01"}
  lookupRecords:
    - {customerAddress: "fd00:0:0:1::10", vsid: 5301, macAddress: "60:00:60:00:01:01", providerAddress: 192.168.0.82}
  certificateAuthorities: [{file: proseware-ca.pem}]
  siteToSite:
    - name: IfPe1
      destination: 60.10.10.57
      authentication: {method: PSK, sharedSecret: {value: a key}}
      subnets: ["fd57::/64:100", "fd58::/64:100"]
    - name: IfPe2
      initiate: never
      authentication: {method: Certificate}
`

// What Proseware has: a VM and its host, and a site.
const (
	prosewareVM   = "fd00:0:0:1::10"
	prosewareHost = "North"
)

var (
	prosewareGateway = netip.MustParseAddr("fd00:0:0:2::2")
	northPA          = netip.MustParseAddr("192.168.0.82")
	prosewareSite    = lab.SiteOptions{
		Name: "Prose", Address: netip.MustParseAddr("60.10.10.57"), LAN: netip.MustParsePrefix("10.57.0.1/24"),
		HostAddress: netip.MustParseAddr("10.57.0.5"), LAN6: netip.MustParsePrefix("fd57::1/64"),
	}
)

// addProseware runs the tenant's VM and site. Its declaration is in force already.
func (w *World) addProseware(ctx context.Context) error {
	policy := hnv.Policy{
		Routes: []hnv.Route{{RoutingDomain: "Proseware", Prefix: netip.MustParsePrefix("::/0"), NextHop: prosewareGateway}},
		Records: []hnv.Record{
			{RoutingDomain: "Proseware", VSID: 6301, CA: prosewareGateway, MAC: lab.GatewayMAC, PA: lab.GatewayPA},
			{RoutingDomain: "Proseware", VSID: 5301, CA: netip.MustParseAddr(prosewareVM), MAC: lab.VMMAC, PA: northPA},
		},
	}
	for vsid, prefix := range map[uint32]string{5301: "fd00:0:0:1::/64", 6301: "fd00:0:0:2::/64"} {
		policy.Subnets = append(policy.Subnets,
			hnv.Subnet{RoutingDomain: "Proseware", VSID: vsid, Prefix: netip.MustParsePrefix(prefix)})
	}
	if _, err := w.Lab.AddHyperV(prosewareHost, northPA, policy); err != nil {
		return err
	}
	if _, err := w.Lab.AddVM(prosewareHost, lab.VM{
		Name: "Proseware-" + prosewareVM, VSID: 5301, MAC: lab.VMMAC,
		Address: netip.PrefixFrom(netip.MustParseAddr(prosewareVM), 64),
	}); err != nil {
		return err
	}
	s, err := w.Lab.AddSite(prosewareSite)
	if err != nil {
		return err
	}
	return s.Start(ctx, lab.IKE{Key: "a key"})
}

// declareIPv6 gives the gateway a public IPv6 address and a router for it.
func (w *World) declareIPv6() error {
	for _, change := range [][2]string{
		// Behind the other: the first one is the source where nothing tells the family.
		{"# every tenant dials this one", fmt.Sprintf("\n      - address: \"%v/64\"", lab.GatewayAddress6)},
		{"defaultGateways: [131.107.10.1]", `defaultGateways: [131.107.10.1, "2001:db8:131::1"]`},
	} {
		if _, err := w.edit("gateway.yaml", change[0], change[1]); err != nil {
			return err
		}
	}
	return nil
}
