package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"bulkhead/lab"
)

// Mishaps are what the demo spares the person who watches: it is for the tests, after everything else.
func Mishaps() Part {
	return Part{Title: "Mishaps", Steps: []Step{
		{"charon killed and restarted: every tunnel that was up is up again, and no stale SA is left", charonKilled},
		{"a daemon that starts while charon is away serves the rest, and the tunnels once charon is back", charonAway},
		{"a crashed predecessor's tenant, which nobody declares, is swept", leftovers},
		{"a third tenant, alike in everything down to interface names, comes and goes without a trace", alike},
		{"daemons killed at any moment of adding or removing a tenant leave nothing that the next one does not mend", killedAnywhere},
		{"the Default compartment forwards nothing, and every other one routes without tricks", sysctls},
		{"one daemon at a time", secondDaemon},
		{"nft shows the interface names that the filters go by", readableRules},
		{"secrets are in no log and in nothing that is shown", secrets},
	}}
}

// connectedAll waits until every site is connected and can be talked to.
func (w *World) connectedAll(ctx context.Context) (seen []string, err error) {
	for _, s := range sites {
		now, err := w.connected(ctx, s.iface)
		if err != nil {
			return seen, err
		}
		if err := eventually(ctx, func() error { _, err := talk(ctx, w, s); return err }); err != nil {
			return seen, err
		}
		seen = append(seen, now)
	}
	return seen, nil
}

func charonKilled(ctx context.Context, w *World) ([]string, error) {
	before, err := w.Gateway().Run(ctx, "ip", "xfrm", "state")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(w.Charon.Kill(), w.startCharon(ctx)); err != nil {
		return nil, err
	}
	seen, err := w.connectedAll(ctx)
	if err != nil {
		return seen, err
	}
	after, err := w.Gateway().Run(ctx, "ip", "xfrm", "state")
	for _, line := range lines(before) {
		if spi := strings.TrimSpace(line); strings.HasPrefix(spi, "proto esp spi") {
			if strings.Contains(after, strings.Fields(spi)[3]) {
				err = errors.Join(err, fmt.Errorf("a stale SA is left: %s", spi))
			}
		}
	}
	return seen, err
}

func charonAway(ctx context.Context, w *World) ([]string, error) {
	err := errors.Join(w.Charon.Stop(), w.KillDaemon(ctx), w.StartDaemon(ctx))
	if err != nil {
		return nil, err
	}
	row, err := w.tunnel(ctx, "IfCe1")
	if err != nil {
		return nil, err
	}
	if row.State == "connected" {
		return nil, errors.New("without charon, IfCe1 is shown as connected")
	}
	if _, err := fetch(ctx, w.VM("Contoso", "10.0.0.10"), lab.HTTP, webServer, webIdentity); err != nil {
		return nil, err
	}
	if err := w.startCharon(ctx); err != nil {
		return nil, err
	}
	for _, s := range sites {
		if err := w.redial(ctx, s.name); err != nil {
			return nil, err
		}
	}
	return w.connectedAll(ctx)
}

// leftovers starts the daemon on one file less than the one that was killed had.
func leftovers(ctx context.Context, w *World) ([]string, error) {
	if err := w.KillDaemon(ctx); err != nil {
		return nil, err
	}
	restore, err := w.setAside("woodgrove.yaml")
	if err != nil {
		return nil, err
	}
	err = w.StartDaemon(ctx)
	if err == nil {
		err = eventually(ctx, func() error { return w.gone(ctx, "Woodgrove", []uint32{6002}, "59.10.10.100", "60.10.10.100") })
	}
	if err := errors.Join(err, restore(), w.Apply(ctx)); err != nil {
		return nil, err
	}
	return nil, errors.Join(w.redial(ctx, "NY-Woodgrove"), w.redial(ctx, "SFO-Woodgrove"))
}

// sysctls reads laws 3 and 7 from the kernel.
func sysctls(ctx context.Context, w *World) ([]string, error) {
	room, err := w.Compartment("Woodgrove")
	if err != nil {
		return nil, err
	}
	defer room.NS.Close()
	var seen []string
	for _, want := range []struct {
		node  *lab.Node
		key   string
		value string
	}{
		{w.Gateway(), "net.ipv4.ip_forward", "0"},
		{w.Gateway(), "net.ipv6.conf.all.forwarding", "0"},
		{room, "net.ipv4.ip_forward", "1"},
		{room, "net.ipv4.conf.all.rp_filter", "0"},
		{room, "net.ipv4.conf.IfWe1.rp_filter", "0"},
		{room, "net.ipv4.conf.ext.rp_filter", "0"},
		{room, "net.ipv4.conf.IfWi1.send_redirects", "0"},
		{room, "net.ipv4.conf.IfWi1.accept_redirects", "0"},
		{room, "net.ipv6.conf.IfWi1.accept_ra", "0"},
	} {
		got, err := want.node.Run(ctx, "sysctl", "-n", want.key)
		if err != nil {
			return seen, err
		}
		if strings.TrimSpace(got) != want.value {
			return seen, fmt.Errorf("%s: %s is %s, want %s", want.node.Name, want.key, strings.TrimSpace(got), want.value)
		}
		seen = append(seen, fmt.Sprintf("%s: %s = %s", want.node.Name, want.key, want.value))
	}
	return seen, nil
}

func secondDaemon(ctx context.Context, w *World) ([]string, error) {
	said, err := w.Gateway().Run(ctx, w.Bulkhead, "daemon", "--config", w.ConfigDir, "--run-dir", w.RunDir)
	if err == nil || !strings.Contains(said, "another bulkhead daemon") {
		return nil, errors.Join(fmt.Errorf("a second daemon was not refused: %s", said), err)
	}
	_, err = w.tunnel(ctx, "IfCe1")
	return lines(said)[len(lines(said))-1:], err
}

func readableRules(ctx context.Context, w *World) ([]string, error) {
	room, err := w.Compartment("Woodgrove")
	if err != nil {
		return nil, err
	}
	defer room.NS.Close()
	rules, err := room.Run(ctx, "nft", "list", "set", "inet", "bulkhead-compartment", "outside")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"ext", "IfWe1", "IfWe2"} {
		if !strings.Contains(rules, `"`+name+`"`) {
			return nil, fmt.Errorf("no %s in:\n%s", name, rules)
		}
	}
	return nil, nil
}

// secrets gives a tenant a key that stands out, makes a peer fail on it, and looks for it everywhere.
func secrets(ctx context.Context, w *World) ([]string, error) {
	const secret = "hunter2-hunter2"
	restore, err := w.edit("contoso.yaml", "{value: abc}", "{value: "+secret+"}")
	if err != nil {
		return nil, err
	}
	err = errors.Join(w.Apply(ctx), w.Site("NY-Contoso").Restart(ctx, lab.IKE{Key: "another key"}))
	if err == nil && w.Site("NY-Contoso").Up(ctx) == nil {
		err = errors.New("the peer with another key came up")
	}
	text := w.DaemonLogs()
	for _, view := range []string{"compartments", "interfaces", "tunnels", "nat", "lookup-records", "drops"} {
		out, showErr := w.show(ctx, view, "json")
		text += out
		err = errors.Join(err, showErr)
	}
	if strings.Contains(text, secret) {
		err = errors.Join(err, errors.New("the key is in the log, or is shown"))
	}
	err = errors.Join(err, restore(), w.Apply(ctx), w.redial(ctx, "NY-Contoso"))
	if err != nil {
		return nil, err
	}
	_, err = w.VM("Contoso", "10.0.0.10").Ping(ctx, netip.MustParseAddr("10.1.0.5"))
	return nil, err
}
