package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/gateway"
	"bulkhead/lab"
)

// SiteToSite is all that site-to-site tunnels promise beyond the main job. Later parts build on what earlier ones brought
// up, in a world of its own.
func SiteToSite() []Part {
	return []Part{whoIsWho(), impostors(), life(), failover(), policies(), limits(), filters(), care()}
}

// litwareWays are Litware's sites.
func litwareWays() []way {
	return []way{certified(), user(), card(), dialled(), translated(), six(), azure()}
}

// spis are the SPIs of all connected tunnels, by tenant and interface, but for the one that goes when nobody uses it.
func (w *World) spis(ctx context.Context) (map[string]string, error) {
	var rows []gateway.TunnelRow
	if err := w.API.Show(ctx, "tunnels", &rows); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, r := range rows {
		if r.State == "connected" && r.Interface != six().iface {
			all[r.Tenant+" "+r.Interface] = r.SPIIn + " " + r.SPIOut
		}
	}
	return all, nil
}

// sameSPIs insists that a change leaves the SPIs of all tunnels that were up as they were, but for those excepted.
func (w *World) sameSPIs(ctx context.Context, change func() error, except ...string) (string, error) {
	before, err := w.spis(ctx)
	if err == nil {
		err = change()
	}
	if err != nil {
		return "", err
	}
	after, err := w.spis(ctx)
	for name, spi := range before {
		if !slices.Contains(except, name) && after[name] != spi {
			err = errors.Join(err, fmt.Errorf("%s: SPIs %s became %s", name, spi, after[name]))
		}
	}
	return fmt.Sprintf("the SPIs of %d tunnels are what they were", len(before)-len(except)), err
}

// declare adds a line to the declaration of one of Litware's interfaces, and applies it; undo takes it out again.
func (w *World) declare(ctx context.Context, iface, line string) (undo func() error, err error) {
	restore, err := w.edit("litware.yaml", "- name: "+iface+"\n", "- name: "+iface+"\n      "+line+"\n")
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(restore(), w.Apply(ctx)) }, w.Apply(ctx)
}

// bulkhead runs the operator's command.
func (w *World) bulkhead(ctx context.Context, args ...string) (string, error) {
	return w.Gateway().Run(ctx, w.Bulkhead, append([]string{"--run-dir", w.RunDir}, args...)...)
}

// litwareVM is Litware's virtual machine.
func (w *World) litwareVM() *lab.Node { return w.VM("Litware", vms[0]) }

// logged waits until the daemon has logged a line with all the words since it had logged so much.
func (w *World) logged(ctx context.Context, since int, words ...string) (found string, err error) {
	err = eventually(ctx, func() error {
		for _, line := range lines(w.DaemonLogs()[since:]) {
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
				found = line
				return nil
			}
		}
		return fmt.Errorf("no line of the daemon's log has %q:\n%s", words, w.DaemonLogs()[since:])
	})
	return found, err
}

// reach is a TCP fetch of who is there.
func reach(ctx context.Context, from *lab.Node, to, want string) (lab.Reply, error) {
	return fetch(ctx, from, lab.TCP, netip.AddrPortFrom(netip.MustParseAddr(to), identityPort), want)
}
