package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"bulkhead/gateway"
	"bulkhead/lab"
)

// showDoors looks at what else the doors go by, and at what they count.
func showDoors(ctx context.Context, w *World) ([]string, error) {
	var addresses []gateway.ProviderAddressRow
	seen, err := w.shown(ctx, "provider-addresses", &addresses)
	if err != nil {
		return seen, err
	}
	want := netip.PrefixFrom(lab.GatewayPA, 24)
	if len(addresses) != 1 || addresses[0].Address != want || addresses[0].Link != "backend0" {
		return seen, fmt.Errorf("provider addresses %v, want %v on backend0", addresses, want)
	}
	for _, view := range []string{"provider-routes", "customer-routes"} {
		if _, err := w.show(ctx, view, "table"); err != nil {
			return seen, err
		}
	}
	var traffic []gateway.TrafficRow
	more, err := w.shown(ctx, "traffic", &traffic)
	seen = append(seen, more...)
	if err != nil {
		return seen, err
	}
	for _, tenant := range tenants {
		// A VM's frames to the gateway carry the gateway's VSID, those from it the VM's.
		for direction, vsid := range map[string]uint32{"in": vsids[tenant][1], "out": vsids[tenant][0]} {
			if !slices.ContainsFunc(traffic, func(r gateway.TrafficRow) bool {
				return r.Tenant == tenant && r.VSID == vsid && r.Direction == direction && r.Packets > 0 && r.Bytes > 0
			}) {
				return seen, fmt.Errorf("no traffic of %s %s VSID %d: %v", tenant, direction, vsid, traffic)
			}
		}
	}
	return seen, nil
}

// traces asks where packets would go.
func traces(ctx context.Context, w *World) (seen []string, err error) {
	for _, x := range []struct {
		tenant, from, to, protocol, dport string
		verdict                           gateway.Verdict
		words                             string // of the steps or the reason
	}{
		{"Contoso", vms[0], "10.1.0.5", "icmp", "0", gateway.VerdictDelivered, "IfCe1"},
		{"Woodgrove", vms[0], webServer.Addr().String(), "tcp", "80", gateway.VerdictDelivered, publicAddress["Woodgrove"]},
		{"Contoso", vms[0], "10.2.0.5", "icmp", "0", gateway.VerdictRefused, "private-destination"},
	} {
		told, err := w.Gateway().Run(ctx, w.Bulkhead, "--run-dir", w.RunDir, "trace", "--tenant", x.tenant, "--from", x.from,
			"--to", x.to, "--protocol", x.protocol, "--dport", x.dport)
		seen = append(append(seen, fmt.Sprintf("%s %s > %s %s %s:", x.tenant, x.from, x.to, x.protocol, x.dport)),
			lines(told)...)
		if err != nil {
			return seen, err
		}
		if !strings.Contains(told, "verdict: "+string(x.verdict)) || !strings.Contains(told, x.words) {
			return seen, fmt.Errorf("the verdict is not %q, with %q", x.verdict, x.words)
		}
	}
	return seen, nil
}

// captures records Contoso while Woodgrove, which has the same addresses, talks too.
func captures(ctx context.Context, w *World) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	file := filepath.Join(w.Lab.Dir(), "contoso.pcapng")
	ended := make(chan error, 1)
	go func() {
		_, err := w.Gateway().Run(ctx, w.Bulkhead, "--run-dir", w.RunDir, "capture", "--tenant", "Contoso",
			"--interface", "IfCi1", "-c", "6", "-w", file)
		ended <- err
	}()
	var err error
	for running := true; running && err == nil; {
		_, ping := w.VM("Contoso", vms[0]).Ping(ctx, netip.MustParseAddr(gatewayCA))
		_, fetch := w.VM("Woodgrove", vms[0]).Fetch(ctx, lab.UDP, webServer)
		err = errors.Join(ping, fetch)
		select {
		case failed := <-ended:
			err, running = errors.Join(err, failed), false
		default:
		}
	}
	if err != nil {
		return nil, err
	}
	text, err := w.Gateway().Run(ctx, "tcpdump", "-nr", file)
	seen := slices.DeleteFunc(lines(text), func(line string) bool { return !strings.Contains(line, " > ") })
	if err != nil {
		return seen, err
	}
	for _, line := range seen {
		if !strings.Contains(line, "ICMP echo") {
			return seen, fmt.Errorf("not Contoso's: %s", line)
		}
	}
	if len(seen) != 6 {
		return seen, fmt.Errorf("%d packets were recorded, want 6", len(seen))
	}
	return seen, nil
}
