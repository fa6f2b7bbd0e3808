package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bulkhead/gateway"
	"bulkhead/lab"
	"bulkhead/lab/hnv"
)

// routed are two more tenants, alike in every address and MAC, whose hosts do not route: the gateway is their router.
var routed = []struct {
	name string
	// n tells the two apart: in routing domains and VSIDs.
	n uint32
}{{"Adatum", 1}, {"Tailspin", 2}}

// routedTenant is the declaration of one; the machine with MAC 60:00:60:00:03:03 is to be learned.
const routedTenant = `apiVersion: bulkhead/v1
kind: Tenant
metadata:
  name: %[1]s
spec:
  routingDomainId: 12345678-1000-2000-3000-1234567801%02[2]d
  virtualSubnets:
    - {vsid: 5%[2]d01, prefix: 10.0.0.0/24}
    - {vsid: 5%[2]d02, prefix: 10.0.1.0/24}
    - {vsid: 6%[2]d01, prefix: 10.0.254.0/24}
  internalInterfaces:
    - {name: IfCi1, vsid: 6%[2]d01, addresses: [10.0.254.2/24]}
  externalRouter: {macAddress: "60:00:60:00:00:01"}
  lookupRecords:
    - {customerAddress: 10.0.0.10, vsid: 5%[2]d01, macAddress: "60:00:60:00:01:01", providerAddress: 192.168.0.71}
    - {customerAddress: 10.0.1.10, vsid: 5%[2]d02, macAddress: "60:00:60:00:02:02", providerAddress: 192.168.0.72}
    - {type: L2Only, vsid: 5%[2]d02, macAddress: "60:00:60:00:03:03", providerAddress: 192.168.0.72}
  customerRoutes:
    - {vsid: 5%[2]d02, prefix: 172.16.0.0/16, nextHop: 10.0.1.10}
`

// The machines that each of them has: in the first virtual subnet, in the second, and the one that is learned.
const (
	firstCA, secondCA, learnedCA = "10.0.0.10", "10.0.1.10", "10.0.1.30"
	east, west                   = "East", "West"
)

var (
	eastPA, westPA = netip.MustParseAddr("192.168.0.71"), netip.MustParseAddr("192.168.0.72")
	routerMAC      = net.HardwareAddr{0x60, 0, 0x60, 0, 0, 1}
	learnedMAC     = net.HardwareAddr{0x60, 0, 0x60, 0, 3, 3}
)

func routes() Part {
	return Part{Title: "The gateway routes for hosts that do not, learns and follows machines", Steps: []Step{
		{"two more tenants, alike in every address: the gateway routes between the virtual subnets of each", addRouted},
		{"a traceroute shows the gateway as the hop, and it answers at .1", hops},
		{"a machine of which only the MAC is known is found by unicast, and its address learned", learnMachine},
		{"a live migration under traffic: the old host says where the machine is, and no packet is lost after that", migrate},
		{"policy changes at run time, record by record; a wrong one is refused with the reason", changePolicy},
		{"the two tenants go without a trace", removeRouted},
	}}
}

// routedPolicy is what a Hyper-V host knows in external-router mode: its machines' subnets, and who routes.
func routedPolicy() hnv.Policy {
	var p hnv.Policy
	for _, t := range routed {
		for i, subnet := range []string{"10.0.0.0/24", "10.0.1.0/24"} {
			prefix, vsid := netip.MustParsePrefix(subnet), 5001+100*t.n+uint32(i)
			router := prefix.Addr().Next()
			p.Subnets = append(p.Subnets, hnv.Subnet{RoutingDomain: t.name, VSID: vsid, Prefix: prefix, ExternalRouter: true})
			p.Records = append(p.Records,
				hnv.Record{RoutingDomain: t.name, VSID: vsid, CA: router, MAC: routerMAC, PA: lab.GatewayPA})
		}
		second := 5002 + 100*t.n
		p.Records = append(p.Records,
			hnv.Record{RoutingDomain: t.name, VSID: second, CA: netip.MustParseAddr(secondCA), MAC: lab.VM2MAC, PA: westPA},
			hnv.Record{RoutingDomain: t.name, VSID: second, MAC: learnedMAC, PA: westPA, Type: hnv.L2Only})
	}
	return p
}

// addRouted declares the tenants and has hosts run their machines.
func addRouted(ctx context.Context, w *World) (seen []string, err error) {
	for name, pa := range map[string]netip.Addr{east: eastPA, west: westPA} {
		if _, err := w.Lab.AddHyperV(name, pa, routedPolicy()); err != nil {
			return nil, err
		}
	}
	for _, t := range routed {
		if _, _, err := w.add(strings.ToLower(t.name)+".yaml", fmt.Sprintf(routedTenant, t.name, t.n)); err != nil {
			return nil, err
		}
		for _, m := range []struct {
			host, ca string
			vsid     uint32
			mac      net.HardwareAddr
		}{{east, firstCA, 5001, lab.VMMAC}, {west, secondCA, 5002, lab.VM2MAC}, {west, learnedCA, 5002, learnedMAC}} {
			vm, err := w.Lab.AddVM(m.host, lab.VM{
				Name: t.name + "-" + m.ca, VSID: m.vsid + 100*t.n, MAC: m.mac,
				Address: netip.PrefixFrom(netip.MustParseAddr(m.ca), 24),
			})
			if err != nil {
				return nil, err
			}
			if _, err := vm.Serve(lab.TCP, identityPort, vmIdentity(t.name, m.ca)); err != nil {
				return nil, err
			}
			if err := vm.ServeEcho(echoPort); err != nil {
				return nil, err
			}
		}
	}
	if err := w.Apply(ctx); err != nil {
		return nil, err
	}
	for _, t := range routed {
		to := netip.AddrPortFrom(netip.MustParseAddr(secondCA), identityPort)
		reply, err := fetch(ctx, w.VM(t.name, firstCA), lab.TCP, to, vmIdentity(t.name, secondCA))
		if err != nil {
			return seen, err
		}
		seen = append(seen, fmt.Sprintf("%s: %v > %v: %q", t.name, reply.Local, to, reply.Content))
	}
	return seen, nil
}

func hops(ctx context.Context, w *World) (seen []string, err error) {
	router := netip.MustParseAddr("10.0.0.1")
	for _, t := range routed {
		w.Lab.Host(west).Forget()
		way, err := w.VM(t.name, firstCA).Trace(ctx, netip.MustParseAddr(secondCA))
		if err != nil {
			return seen, err
		}
		if want := []netip.Addr{router, netip.MustParseAddr(secondCA)}; !slices.Equal(way, want) {
			return seen, fmt.Errorf("%s: the way is %v, want %v", t.name, way, want)
		}
		if _, err := w.VM(t.name, firstCA).Ping(ctx, router); err != nil {
			return seen, err
		}
		o, err := find(ctx, w.Lab.Host(west), func(o hnv.Observation) bool {
			return !o.Sent && o.Source == lab.GatewayPA && o.VSID == 5002+100*t.n && strings.Contains(o.Inner, "echo request")
		})
		if err != nil {
			return seen, err
		}
		seen = append(seen, fmt.Sprintf("%s: from %s by %v to %s; %v", t.name, firstCA, way[0], secondCA, o))
	}
	return seen, nil
}

// record finds a lookup record as door 1 has it.
func (w *World) record(ctx context.Context, tenant, ca string) (gateway.RecordRow, error) {
	var rows []gateway.RecordRow
	if err := w.API.Show(ctx, "lookup-records", &rows); err != nil {
		return gateway.RecordRow{}, err
	}
	for _, r := range rows {
		if r.Tenant == tenant && r.CustomerAddress.String() == ca {
			return r, nil
		}
	}
	return gateway.RecordRow{}, fmt.Errorf("%s has no lookup record of %s", tenant, ca)
}

// recordIs waits until a lookup record is as wanted, and returns it in words.
func (w *World) recordIs(ctx context.Context, tenant, ca string, want func(gateway.RecordRow) bool) (string, error) {
	var text string
	err := eventually(ctx, func() error {
		r, err := w.record(ctx, tenant, ca)
		text = fmt.Sprintf("lookup-records: %s %v %d %s %v %s %s", r.Tenant, r.CustomerAddress, r.VSID, r.MACAddress,
			r.ProviderAddress, r.Type, r.State)
		if err == nil && !want(r) {
			err = errors.New(text)
		}
		return err
	})
	return text, err
}

func learnMachine(ctx context.Context, w *World) (seen []string, err error) {
	for _, t := range routed {
		w.Lab.Host(west).Forget()
		to := netip.AddrPortFrom(netip.MustParseAddr(learnedCA), identityPort)
		if _, err := w.VM(t.name, firstCA).Ping(ctx, to.Addr()); err != nil {
			return seen, err
		}
		if _, err := fetch(ctx, w.VM(t.name, firstCA), lab.TCP, to, vmIdentity(t.name, learnedCA)); err != nil {
			return seen, err
		}
		asked, err := find(ctx, w.Lab.Host(west), func(o hnv.Observation) bool {
			return !o.Sent && o.VSID == 5002+100*t.n && strings.Contains(o.Inner, "who has "+learnedCA)
		})
		if err != nil {
			return seen, err
		}
		line, err := w.recordIs(ctx, t.name, learnedCA, func(r gateway.RecordRow) bool {
			return r.Type == "Dynamic" && r.ProviderAddress == westPA && r.MACAddress == learnedMAC.String()
		})
		if err != nil {
			return seen, err
		}
		seen = append(seen, asked.String(), line)
	}
	return seen, nil
}

func migrate(ctx context.Context, w *World) ([]string, error) {
	flow, err := w.VM("Adatum", firstCA).StartFlow(ctx, netip.AddrPortFrom(netip.MustParseAddr(secondCA), echoPort), 100)
	if err != nil {
		return nil, err
	}
	if err := flow.AwaitReplies(ctx, 20); err != nil {
		return nil, err
	}
	if err := w.Lab.Host(west).Migrate(5102, lab.VM2MAC, w.Lab.Host(east)); err != nil {
		return nil, err
	}
	line, err := w.recordIs(ctx, "Adatum", secondCA, func(r gateway.RecordRow) bool {
		return r.ProviderAddress == eastPA && r.State == "moved"
	})
	if err != nil {
		return nil, err
	}
	moved := time.Now()
	said, err := find(ctx, w.Lab.Host(west), func(o hnv.Observation) bool {
		return o.Sent && strings.HasPrefix(o.Inner, "REDIRECT to "+eastPA.String())
	})
	err = errors.Join(err, flow.AwaitReplies(ctx, 100))
	result := flow.Stop()
	if result.LastLost.After(moved) {
		err = errors.Join(err, errors.New("packets were lost after the record had moved"))
	}
	return []string{said.String(), line, result.String() + ", none of them after the record moved"}, err
}

// policy runs the operator's command and returns what it printed.
func (w *World) policy(ctx context.Context, name string, statements ...string) (string, error) {
	return w.Gateway().Run(ctx, w.Bulkhead, append([]string{"--run-dir", w.RunDir, "policy", name}, statements...)...)
}

func changePolicy(ctx context.Context, w *World) (seen []string, err error) {
	do := func(name, statement string) {
		out, failed := w.policy(ctx, name, statement)
		seen = append(seen, fmt.Sprintf("bulkhead policy %s %q: %s", name, statement, strings.TrimSpace(out)))
		err = errors.Join(err, failed)
	}
	vm := w.VM("Adatum", firstCA)
	do("Adatum", "no lookup-record "+secondCA)
	if err := errors.Join(err, silenceFor(ctx, time.Second, vm, secondCA)); err != nil {
		return seen, err
	}
	do("Adatum", fmt.Sprintf("lookup-record %s vsid 5102 mac %v pa %v", secondCA, lab.VM2MAC, eastPA))
	if err == nil {
		_, err = vm.Ping(ctx, netip.MustParseAddr(secondCA))
	}
	if err != nil {
		return seen, err
	}
	line, err := w.recordIs(ctx, "Adatum", secondCA, func(r gateway.RecordRow) bool {
		return r.ProviderAddress == eastPA && r.State == "" && r.Type == "Static"
	})
	seen = append(seen, line)
	if err != nil {
		return seen, err
	}
	const wrong = "lookup-record 10.0.1.50 vsid 7777 mac 60:00:60:00:05:05 pa 192.168.0.71"
	said, refused := w.policy(ctx, "Adatum", wrong)
	if refused == nil || !strings.Contains(said, "7777") {
		return seen, fmt.Errorf("an undeclared VSID is not refused by name: %s", said)
	}
	seen = append(seen, lines(said)...)
	do("GW-VM", "provider-route 192.168.50.0/24 next-hop 192.168.0.1")
	if err := errors.Join(err, w.providerRoutes(ctx, "192.168.50.0/24")); err != nil {
		return seen, err
	}
	do("GW-VM", "no provider-route 192.168.50.0/24 next-hop 192.168.0.1")
	return seen, errors.Join(err, w.providerRoutes(ctx))
}

// providerRoutes insists that there are routes to just these prefixes on the provider network.
func (w *World) providerRoutes(ctx context.Context, want ...string) error {
	text, err := w.show(ctx, "provider-routes", "json")
	if err != nil {
		return err
	}
	var rows []gateway.ProviderRouteRow
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		return err
	}
	var got []string
	for _, r := range rows {
		got = append(got, r.Prefix.String())
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("provider routes %v, want %v", got, want)
	}
	return nil
}

func removeRouted(ctx context.Context, w *World) (seen []string, err error) {
	for _, t := range routed {
		err = errors.Join(err, os.Remove(filepath.Join(w.ConfigDir, strings.ToLower(t.name)+".yaml")))
	}
	// What was changed at run time was written down beside the declaration.
	err = errors.Join(err, os.Remove(filepath.Join(w.ConfigDir, "Adatum.policy")), w.Apply(ctx))
	for _, t := range routed {
		if err == nil {
			err = w.gone(ctx, t.name, []uint32{6001 + 100*t.n})
		}
	}
	return []string{"compartments, links and records of both were gone"}, err
}
