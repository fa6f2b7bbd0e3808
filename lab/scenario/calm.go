package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bulkhead/lab"
)

func calm() Part {
	return Part{Title: "Nothing disturbs what runs", Steps: []Step{
		{"stopping, killing and restarting the daemon under traffic loses no packet", restart},
		{"a tunnel that comes up while the daemon is down works", tunnelWithoutDaemon},
		{"applying the same files again changes nothing", applyAgain},
		{"a file with a mistake is refused whole, with file, line and reason", badFile},
		{"removing woodgrove.yaml removes Woodgrove and leaves Contoso as it is; adding it again works at once", removeTenant},
	}}
}

// steadyFlows starts a flow through NVGRE and IPsec, and one through NVGRE and NAT.
func steadyFlows(ctx context.Context, w *World, packetsPerSecond int) ([]*lab.Flow, error) {
	var flows []*lab.Flow
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("10.1.0.5"), echoPort),
		netip.AddrPortFrom(webServer.Addr(), echoPort)} {
		f, err := w.VM("Contoso", "10.0.0.10").StartFlow(ctx, to, packetsPerSecond)
		if err != nil {
			return nil, err
		}
		flows = append(flows, f)
	}
	return flows, nil
}

// lossless stops the flows and insists that nothing was lost.
func lossless(flows []*lab.Flow) (seen []string, err error) {
	for i, f := range flows {
		result := f.Stop()
		seen = append(seen, fmt.Sprintf("%s: %v", []string{"NVGRE and IPsec", "NVGRE and NAT"}[i], result))
		if result.Lost > 0 {
			err = errors.Join(err, fmt.Errorf("%d packets lost", result.Lost))
		}
	}
	return seen, err
}

func restart(ctx context.Context, w *World) ([]string, error) {
	flows, err := steadyFlows(ctx, w, 100)
	if err != nil {
		return nil, err
	}
	await := func() error {
		var errs []error
		for _, f := range flows {
			errs = append(errs, f.AwaitReplies(ctx, 50))
		}
		return errors.Join(errs...)
	}
	err = await()
	for _, end := range []func(context.Context) error{w.StopDaemon, w.KillDaemon} {
		err = errors.Join(err, end(ctx), await(), w.StartDaemon(ctx), await())
	}
	seen, lost := lossless(flows)
	return append([]string{"SIGTERM, start, SIGKILL, start, under 200 packets/s in all"}, seen...), errors.Join(err, lost)
}

func tunnelWithoutDaemon(ctx context.Context, w *World) ([]string, error) {
	s := sites[0]
	err := errors.Join(w.KillDaemon(ctx), w.Site(s.name).Down(ctx), w.Site(s.name).Up(ctx))
	if err != nil {
		return nil, errors.Join(err, w.StartDaemon(ctx))
	}
	seen, err := talk(ctx, w, s)
	if err := errors.Join(err, w.StartDaemon(ctx)); err != nil {
		return seen, err
	}
	now, err := w.connected(ctx, s.iface)
	return append(seen, "the daemon finds "+now), err
}

// snapshot is what must not change of a tenant: SAs, conntrack entries, links, routes, rules.
func (w *World) snapshot(ctx context.Context, tenant string) (map[string]string, error) {
	room, err := w.Compartment(tenant)
	if err != nil {
		return nil, err
	}
	defer room.NS.Close()
	state := map[string]string{}
	var errs []error
	take := func(what string, node *lab.Node, keep func(line string) (string, bool), name string, args ...string) {
		out, err := node.Run(ctx, name, args...)
		errs = append(errs, err)
		var kept []string
		for line := range strings.Lines(out) {
			if line, ok := keep(strings.TrimSpace(line)); ok {
				kept = append(kept, line)
			}
		}
		slices.Sort(kept)
		state[what] = strings.Join(kept, "\n")
	}
	all := func(line string) (string, bool) { return line, true }
	peers := map[string][]string{"Contoso": {"59.10.10.10"}, "Woodgrove": {"59.10.10.100", "60.10.10.100"}}[tenant]
	for _, peer := range peers {
		spi := func(line string) (string, bool) { return line, strings.Contains(line, "spi") }
		take("SAs to "+peer, w.Gateway(), spi, "ip", "xfrm", "state", "list", "dst", peer)
		take("SAs from "+peer, w.Gateway(), spi, "ip", "xfrm", "state", "list", "src", peer)
	}
	take("sessions", room, sessionID, "conntrack", "-L", "-o", "id")
	take("links", room, all, "ip", "-o", "link")
	take("routes", room, all, "ip", "route", "show", "table", "all")
	take("rules", room, all, "nft", "-s", "list", "ruleset")
	return state, errors.Join(errs...)
}

// sessionID keeps what identifies a long-lived conntrack entry; short ones of earlier steps end meanwhile. So do BGP's own
// connections of sessions that ended with their tunnel: those are held against what the routers say.
func sessionID(line string) (string, bool) {
	for field := range strings.FieldsSeq(line) {
		if strings.HasPrefix(field, "id=") {
			return field, strings.Contains(line, "ESTABLISHED") && !strings.Contains(line, "port=179 ")
		}
	}
	return "", false
}

// unchanged compares two snapshots.
func unchanged(before, after map[string]string) error {
	for what := range before {
		if before[what] != after[what] {
			return fmt.Errorf("%s changed:\nbefore:\n%s\nafter:\n%s", what, before[what], after[what])
		}
	}
	return nil
}

// during takes a tenant's snapshot before and after a change, while a TCP session of the tenant is held open.
func (w *World) during(ctx context.Context, tenant string, change func() error) (string, error) {
	conn, err := w.VM(tenant, "10.0.0.10").Dial(ctx, "tcp", netip.AddrPortFrom(webServer.Addr(), holdPort))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var before map[string]string
	// The dialler is content with the SYN-ACK; the gateway says ESTABLISHED once the ACK has passed.
	if err := eventually(ctx, func() (err error) {
		if before, err = w.snapshot(ctx, tenant); err == nil && before["sessions"] == "" {
			err = errors.New("the session that is held open has no conntrack entry")
		}
		return err
	}); err != nil {
		return "", err
	}
	if err := change(); err != nil {
		return "", err
	}
	after, err := w.snapshot(ctx, tenant)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: SAs, conntrack entries, links, routes and rules are what they were", tenant), unchanged(before, after)
}

func applyAgain(ctx context.Context, w *World) (seen []string, err error) {
	before, err := w.maps()
	if err == nil && before["map records"] == "" {
		err = errors.New("the map of lookup records is empty")
	}
	if err != nil {
		return nil, err
	}
	if _, err := w.converged(ctx); err != nil {
		return nil, err
	}
	sessions, err := w.lives(ctx)
	if err != nil {
		return nil, err
	}
	for _, tenant := range tenants {
		line, err := w.during(ctx, tenant, func() error { return w.Apply(ctx) })
		if err != nil {
			return seen, fmt.Errorf("%s: %w", tenant, err)
		}
		seen = append(seen, line)
	}
	if err := w.sameLives(ctx, sessions); err != nil {
		return seen, err
	}
	after, err := w.maps()
	if err != nil {
		return seen, err
	}
	return append(seen, fmt.Sprintf("doors: the contents of all %d maps are what they were", len(before))), unchanged(before, after)
}

func badFile(ctx context.Context, w *World) ([]string, error) {
	bad, remove, err := w.add("zz-bad.yaml", "apiVersion: bulkhead/v1\nkind: Tenant\nmetadata:\n  name: Northwind\nspec:\n"+
		"  routingDomainId: 12345678-1000-2000-3000-123456780003\n  virtualSubnets:\n    - {vsid: 5001, prefix: 10.9.0.0/24}\n")
	if err != nil {
		return nil, err
	}
	var said string
	line, err := w.during(ctx, "Contoso", func() error {
		var err error
		said, err = w.Gateway().Run(ctx, w.Bulkhead, "--run-dir", w.RunDir, "apply", "--config", w.ConfigDir)
		if err == nil {
			return errors.New("it was applied")
		}
		if !strings.Contains(said, bad+":8:") || !strings.Contains(said, "5001") {
			return fmt.Errorf("file, line and VSID are not named: %s", said)
		}
		return nil
	})
	if err := errors.Join(err, remove()); err != nil {
		return nil, err
	}
	return append(lines(said), line), nil
}

func removeTenant(ctx context.Context, w *World) (seen []string, err error) {
	line, err := w.during(ctx, "Contoso", func() error {
		restore, err := w.setAside("woodgrove.yaml")
		if err != nil {
			return err
		}
		err = w.Apply(ctx)
		if err == nil {
			err = w.gone(ctx, "Woodgrove", []uint32{6002}, "59.10.10.100", "60.10.10.100")
		}
		return errors.Join(err, restore(), w.Apply(ctx))
	})
	if err != nil {
		return nil, err
	}
	seen = append(seen, line, "Woodgrove: compartment, links, records, SAs and connections were gone")
	again, err := w.converged(ctx)
	if seen = append(seen, again...); err != nil {
		return seen, err
	}
	for _, s := range sites[1:] {
		more, err := talk(ctx, w, s)
		if seen = append(seen, more...); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

// gone insists that nothing of a tenant is left anywhere: links of its gateway's VSIDs, SAs with its peers.
func (w *World) gone(ctx context.Context, tenant string, vsids []uint32, peers ...string) error {
	if _, err := os.Stat(filepath.Join(w.RunDir, "netns", tenant)); err == nil {
		return fmt.Errorf("the namespace of %s is still there", tenant)
	}
	links, err := w.Gateway().Run(ctx, "ip", "-o", "link")
	if err != nil {
		return err
	}
	for _, vsid := range vsids {
		if strings.Contains(links, fmt.Sprintf("bhi%d", vsid)) {
			return fmt.Errorf("the link of VSID %d is still there", vsid)
		}
	}
	states, err := w.Gateway().Run(ctx, "ip", "xfrm", "state")
	if err != nil {
		return err
	}
	for _, peer := range peers {
		if strings.Contains(states, peer+"\n") || strings.Contains(states, peer+" ") {
			return fmt.Errorf("SAs with %s are still there:\n%s", peer, states)
		}
	}
	for _, view := range []string{"compartments", "interfaces", "tunnels", "nat", "lookup-records"} {
		out, err := w.show(ctx, view, "table")
		if err != nil {
			return err
		}
		if strings.Contains(out, tenant) {
			return fmt.Errorf("show %s still has %s:\n%s", view, tenant, out)
		}
	}
	return nil
}
