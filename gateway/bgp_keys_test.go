package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// everyKey is a router with what the declaration takes, at its bounds, of machines of the virtual network.
const everyKey = `  bgp:
    identifier: 10.0.254.2
    asn: 4200000000
    clusterId: 10.0.254.9
    transitRouting: true
    maximumPaths: 64
    compareMedAcrossAsn: true
    gracefulRestart: {restartTime: 4095s}
    policies:
      - name: conditions
        statements:
          - match:
              prefixes: [10.0.0.0/8, 0.0.0.0/0 le 32, 10.0.0.0/8 ge 16 le 24, 10.1.0.1/32, "::/0 ge 128", "2001:db8::/32 le 48"]
              asPath: [^65413_, _65413_, _65413$, ^65413$, ^$, "^65413(_65413)*$", "_(6541[0-9])_", "[0-9]{1,5}$"]
              pathLengthAtMost: 255
              communities: ["0:0", "65535:65535", blackhole, graceful-shutdown, no-advertise, no-export, no-export-subconfed, no-peer]
              largeCommunities: ["0:0:0", "4294967295:4294967295:4294967295"]
              nextHops: [10.0.254.0/24, 10.0.254.9/32, "2001:db8::/32", 0.0.0.0/0]
            action: reject
      - name: changes
        statements:
          - {set: {localPreference: 1, med: 0, prepend: 1}}
          - {set: {localPreference: 4294967295, med: 4294967295, prepend: 32}}
          - {match: {prefixes: [10.0.0.0/8 le 32]}, set: {nextHop: 10.0.254.9}}
          - {set: {communities: {add: ["65412:1", "65412:1:1"]}}}
          - {set: {communities: {remove: [no-export], add: ["65412:1:2"]}}}
          - {set: {communities: {set: ["65412:1", "65412:1:1"]}}, action: accept}
    peers:
      - name: all
        localAddress: 10.0.254.2
        address: 10.0.254.9
        asn: 4200000001
        operationMode: Passive
        password: {value: "12345678901234567890123456789012345678901234567890123456789012345678901234567890"}
        holdTime: 3s
        keepaliveInterval: 1s
        connectRetry: 2s
        multihop: 255
        bfd: {transmit: 10ms, receive: 60s, multiplier: 255}
        maximumPrefixes: {limit: 1, warnAt: 100, restartAfter: 24h}
        acceptDefault: true
        allowOwnAsn: 10
        import: [conditions, changes]
        export: [changes, conditions]
      - name: internal
        localAddress: 10.0.254.2
        address: 10.0.254.10
        asn: 4200000000
        holdTime: 65535s
        ttlSecurity: 254
        maximumPrefixes: {limit: 4294967295, warnAt: 1}
        routeReflectorClient: true
        nextHopSelf: true
        import: [changes]
      - {name: manual, localAddress: 10.0.254.2, address: 10.0.254.11, asn: 1, peeringMode: Manual, connectRetry: 1h, multihop: 1,
         addressFamilies: [ipv4, ipv6]}
      - {name: six, localAddress: "fd00:254::2", address: "fd00:254::9", asn: 2, addressFamilies: [ipv6, ipv4], ttlSecurity: 1}
    customRoutes: [{interface: IfCi1}, {prefix: 0.0.0.0/0}, {prefix: 10.0.0.0/8}, {prefix: "fd00:254::/48"}, {interface: IfCi6}]
`

// TestASpeakerTakesWhateverADeclarationMaySay holds the speaker to the bounds of the declaration.
func TestASpeakerTakesWhateverADeclarationMaySay(t *testing.T) {
	d := newMachine(t).open(t)
	yaml := contoso.yaml()
	for was, is := range map[string]string{ // IPv6 beside IPv4, for the routes of both
		"prefix: 10.0.254.0/24}]": `prefix: 10.0.254.0/24}, {vsid: 7009, prefix: "fd00:254::/64"}]
  dualStack: true`,
		"internalInterfaces: [": `internalInterfaces: [{name: IfCi6, vsid: 7009, addresses: ["fd00:254::2/64"]}, `,
	} {
		if !strings.Contains(yaml, was) {
			t.Fatalf("no %s in\n%s", was, yaml)
		}
		yaml = strings.Replace(yaml, was, is, 1)
	}
	must(t, d.takeFolder(t.Context(), folder(t, yaml+everyKey)))
	d.speaks(t, "Contoso")
	peers, err := d.BGPPeers(t.Context(), BGPQuery{Tenant: "Contoso"})
	must(t, err)
	var got []string
	for _, p := range peers {
		families := make([]string, len(p.Families))
		for i, f := range p.Families {
			families[i] = f.Name
		}
		got = append(got, fmt.Sprintf("%s %v md5=%q stopped=%v bfd=%q", p.Peer, families, p.MD5, p.State == "stopped", p.BFD))
	}
	want := []string{
		`all [ipv4] md5="on" stopped=false bfd="down"`,
		`internal [ipv4] md5="" stopped=false bfd=""`,
		`manual [ipv4 ipv6] md5="" stopped=true bfd=""`,
		`six [ipv4 ipv6] md5="" stopped=false bfd=""`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("peers differ (-want +got):\n%s", diff)
	}
}
