package configs_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bulkhead/configs"
)

var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(configs.Secret.Equal),
}

// TestRouterOfTheContractHasTheDefaultsOfTheField loads the book's router, which leaves out all that it can.
func TestRouterOfTheContractHasTheDefaultsOfTheField(t *testing.T) {
	b := fabrikam(t).Tenant("Woodgrove").BGP
	local := netip.MustParseAddr("10.0.254.2")
	peer := func(name, address string, asn uint32) configs.BGPPeer {
		return configs.BGPPeer{
			Name: name, LocalAddress: local, Address: netip.MustParseAddr(address), ASN: asn,
			OperationMode: configs.OperationMixed, PeeringMode: configs.PeeringAutomatic,
			HoldTime: 90 * time.Second, KeepaliveInterval: 30 * time.Second, ConnectRetry: 5 * time.Second,
			Multihop: 64, MaximumPrefixes: configs.MaximumPrefixes{Limit: 10000, WarnAt: 75},
			AddressFamilies: []configs.AddressFamily{configs.FamilyIPv4},
		}
	}
	want := &configs.BGP{
		Identifier: local, ASN: 65412, MaximumPaths: 1,
		Peers:        []configs.BGPPeer{peer("NY", "10.1.0.1", 65413), peer("SFO", "10.2.0.1", 65414)},
		CustomRoutes: []configs.BGPCustomRoute{{Interface: "IfWi1"}},
	}
	if diff := cmp.Diff(want, b, byValue, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the router differs (-want +got):\n%s", diff)
	}
}

func TestEveryKeyOfARouterIsTyped(t *testing.T) {
	b := everything(t).Tenant("Litware").BGP
	number := func(n uint32) *uint32 { return &n }
	ny := configs.BGPPeer{
		Name: "NY", LocalAddress: netip.MustParseAddr("10.0.254.2"), Address: netip.MustParseAddr("10.1.0.1"), ASN: 65413,
		OperationMode: configs.OperationPassive, PeeringMode: configs.PeeringManual, Stopped: true,
		Password: configs.NewSecret([]byte("P@ssw0rd")),
		HoldTime: 30 * time.Second, KeepaliveInterval: 7 * time.Second, ConnectRetry: 10 * time.Second, Multihop: 2,
		BFD:             &configs.BFD{Transmit: 100 * time.Millisecond, Receive: 200 * time.Millisecond, Multiplier: 5},
		MaximumPrefixes: configs.MaximumPrefixes{Limit: 100, WarnAt: 50, RestartAfter: 10 * time.Minute},
		AddressFamilies: []configs.AddressFamily{configs.FamilyIPv4},
		AcceptDefault:   true, AllowOwnASN: 1, Import: []string{"from-ny"}, Export: []string{"to-ny"},
	}
	policies := []configs.BGPPolicy{
		{Name: "from-ny", Statements: []configs.BGPStatement{
			{
				Match: configs.BGPMatch{
					Prefixes: []configs.PrefixRange{
						{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Min: 24, Max: 28},
						{Prefix: netip.MustParsePrefix("2001:db8:1::/48"), Min: 48, Max: 64},
					},
					ASPath: []configs.ASPathPattern{"^65413(_65413)*$", "_65420_"}, PathLengthAtMost: 4,
					Communities:      []configs.Community{"65413:100", "65535:65281"},
					LargeCommunities: []configs.LargeCommunity{"4200000001:1:100"},
					NextHops:         []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")},
				},
				Action: configs.BGPAccept,
				Set: configs.BGPSet{LocalPreference: number(200), MED: number(0), Communities: configs.BGPSetCommunities{
					Add: []configs.AnyCommunity{"4200000000:1:1"}, Remove: []configs.AnyCommunity{"65535:666"},
				}},
			},
			{Action: configs.BGPReject},
		}},
		{Name: "to-ny", Statements: []configs.BGPStatement{{
			Match: configs.BGPMatch{Prefixes: []configs.PrefixRange{{Prefix: netip.MustParsePrefix("10.0.0.0/16"), Min: 16, Max: 16}}},
			Set: configs.BGPSet{Prepend: 2, NextHop: netip.MustParseAddr("10.0.254.2"),
				Communities: configs.BGPSetCommunities{Set: []configs.AnyCommunity{"65535:0"}}},
		}}},
	}
	if diff := cmp.Diff(ny, b.Peers[0], byValue); diff != "" {
		t.Errorf("the peer differs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(policies, b.Policies, byValue); diff != "" {
		t.Errorf("the policies differ (-want +got):\n%s", diff)
	}
	sfo := b.Peers[1]
	if !b.Internal(&sfo) || b.Internal(&ny) || sfo.TTLSecurity != 1 || !sfo.RouteReflectorClient || !sfo.NextHopSelf || sfo.Stopped {
		t.Errorf("the internal peer is %+v", sfo)
	}
	if !sfo.Exchanges(configs.FamilyIPv4) || sfo.Exchanges(configs.FamilyIPv6) {
		t.Errorf("the families of a session over IPv4 are %v", sfo.AddressFamilies)
	}
	if b.ClusterID != netip.MustParseAddr("10.0.254.9") || !b.TransitRouting || b.MaximumPaths != 4 || !b.CompareMEDAcrossASN ||
		b.GracefulRestart.RestartTime != 90*time.Second {
		t.Errorf("the router is %+v", b)
	}
}

// routed is a tenant with these keys of bgp and of its peer NY, behind a tunnel.
func routed(t *testing.T, router, peer string) (*configs.Config, error) {
	t.Helper()
	return loadText(t, certified("", ""), tenantOf("Contoso", 1, `  bgp:
    identifier: 10.0.0.2
    asn: 65412
    `+router+`
    peers: [{name: NY, localAddress: 10.0.0.2, address: 10.1.0.1, asn: 65413, `+peer+`}]
`, "name: IfE1\ndestination: 59.10.10.10\nauthentication: {method: PSK, sharedSecret: {value: a}}\nsubnets: [10.1.0.1/32:100]"))
}

func TestTimersFollowEachOther(t *testing.T) {
	for peer, want := range map[string][2]time.Duration{
		"":                                     {90 * time.Second, 30 * time.Second},
		"holdTime: 3s":                         {3 * time.Second, time.Second},
		"holdTime: 10s":                        {10 * time.Second, 3 * time.Second},
		"holdTime: 65535s":                     {65535 * time.Second, 21845 * time.Second},
		"holdTime: 9s, keepaliveInterval: 3s":  {9 * time.Second, 3 * time.Second},
		"holdTime: 2m, keepaliveInterval: 10s": {2 * time.Minute, 10 * time.Second},
	} {
		c, err := routed(t, "", peer)
		if err != nil {
			t.Errorf("%s: %v", peer, err)
			continue
		}
		p := c.Tenants[0].BGP.Peers[0]
		if got := [2]time.Duration{p.HoldTime, p.KeepaliveInterval}; got != want {
			t.Errorf("%s: hold and keepalive %v, want %v", peer, got, want)
		}
	}
	_, err := routed(t, "", "holdTime: 9s, keepaliveInterval: 4s")
	wantOne(t, "keepalive", err, "4s is longer than a third of the hold time 9s")
}

func TestEmptyMappingsTakeTheirDefaults(t *testing.T) {
	c, err := routed(t, "gracefulRestart: {}", "bfd: {}, maximumPrefixes: {limit: 5}")
	if err != nil {
		t.Fatal(err)
	}
	b := c.Tenants[0].BGP
	p := b.Peers[0]
	if b.GracefulRestart.RestartTime != 2*time.Minute || *p.BFD != (configs.BFD{Transmit: 300 * time.Millisecond,
		Receive: 300 * time.Millisecond, Multiplier: 3}) || p.MaximumPrefixes != (configs.MaximumPrefixes{Limit: 5, WarnAt: 75}) {
		t.Errorf("the defaults are %+v, %+v, %+v", b.GracefulRestart, p.BFD, p.MaximumPrefixes)
	}
}

func TestPasswordOfAPeerIsBoundedAndNeverShown(t *testing.T) {
	long := strings.Repeat("x", 80)
	if _, err := routed(t, "", "password: {value: "+long+"}"); err != nil {
		t.Errorf("a password of 80 bytes is refused: %v", err)
	}
	_, err := routed(t, "", "password: {value: "+long+"x}")
	wantOne(t, "a password of 81 bytes", err, "has 81 bytes; want at most 80")
	if strings.Contains(err.Error(), long) {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestSessionOfOneFamilyCarriesTheOtherWithANextHop(t *testing.T) {
	_, err := routed(t, "", "addressFamilies: [ipv4, ipv6]")
	wantOne(t, "without an IPv6 address", err, "ipv6 needs an internal interface with an address of that family")
	c, err := loadText(t, certified("", ""), dualStack("address: 10.0.0.9, addressFamilies: [ipv6, ipv4]"))
	if err != nil {
		t.Fatal(err)
	}
	if f := c.Tenants[0].BGP.Peers[0].AddressFamilies; !reflect.DeepEqual(f, []configs.AddressFamily{configs.FamilyIPv6, configs.FamilyIPv4}) {
		t.Errorf("the families are %v", f)
	}
}

// dualStack is a tenant with virtual subnets of both families, and a tunnel that has prefixes of IPv4 only.
func dualStack(peer string) string {
	return strings.Replace(tenantOf("Contoso", 1, `  bgp:
    identifier: 10.0.0.2
    asn: 65412
    peers: [{name: NY, localAddress: 10.0.0.2, asn: 65413, `+peer+`}]
`, "name: IfE1\ndestination: 59.10.10.10\nauthentication: {method: PSK, sharedSecret: {value: a}}\nsubnets: [10.1.0.1/32:100]"),
		`  virtualSubnets: [{vsid: 5001, prefix: 10.0.0.0/24}]
  internalInterfaces: [`, `  dualStack: true
  virtualSubnets: [{vsid: 5001, prefix: 10.0.0.0/24}, {vsid: 5009, prefix: "fd00:9::/64"}]
  internalInterfaces: [{name: IfI2, vsid: 5009, addresses: ["fd00:9::2/64"]}, `, 1)
}

func TestSessionsOverForwardingInterfacesArePending(t *testing.T) {
	c, err := loadText(t, certified("", ""), tenantOf("Contoso", 1, `  forwardingInterfaces: [{name: eth3, parent: eth3, addresses: [10.7.0.2/24]}]
  bgp:
    identifier: 10.0.0.2
    asn: 65412
    peers:
      - {name: NY, localAddress: 10.0.0.2, address: 10.1.0.1, asn: 65413}
      - {name: WAN, localAddress: 10.7.0.2, address: 10.7.0.1, asn: 65414}
      - {name: far, localAddress: 10.7.0.2, address: 10.1.0.2, asn: 65415}
    customRoutes: [{interface: IfI1}, {interface: eth3}, {prefix: 10.0.0.0/16}]
`, "name: IfE1\ndestination: 59.10.10.10\nauthentication: {method: PSK, sharedSecret: {value: a}}\nsubnets: [10.1.0.0/24:100]"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Tenant/Contoso spec.forwardingInterfaces", "Tenant/Contoso spec.bgp.peers[WAN] (forwarding interface)",
		"Tenant/Contoso spec.bgp.peers[far] (forwarding interface)", "Tenant/Contoso spec.bgp.customRoutes[eth3] (forwarding interface)",
	}
	if diff := cmp.Diff(want, c.Pending()); diff != "" {
		t.Errorf("pending differs (-want +got):\n%s", diff)
	}
}
