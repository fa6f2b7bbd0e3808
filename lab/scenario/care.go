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
	"time"
)

func care() Part {
	return Part{Title: "Truth and care", Steps: []Step{
		{"show tunnels tells peer, identities, algorithms, SPIs, counters, the next rekeying, limit and last error", showsTunnel},
		{"a daemon that is killed is not missed: tunnels stay, and a packet dials", withoutDaemon},
		{"charon killed: what the gateway dials is up again, and no stale SA is left", charonBack},
		{"a removed interface is terminated, its SAs with it, and no other is touched", removeInterface},
	}}
}

func showsTunnel(ctx context.Context, w *World) ([]string, error) {
	x := dialled()
	if _, err := talk(ctx, w, x.site); err != nil {
		return nil, err
	}
	row, err := w.tunnel(ctx, x.iface)
	if err != nil {
		return nil, err
	}
	for what, there := range map[string]bool{
		"peer": strings.Contains(row.Peer, dialledAddress), "identities": row.PeerID == dialledName && row.LocalID != "",
		"algorithms": row.IKE != "" && row.ESP != "", "SPIs": row.SPIIn != "" && row.SPIOut != "",
		"counters": row.BytesIn > 0 && row.BytesOut > 0 && row.PacketsIn > 0 && row.PacketsOut > 0,
		"rekeying": row.RekeyIn > 0, "limit": row.Limit != "", "since": row.Since != nil,
	} {
		if !there {
			err = errors.Join(err, fmt.Errorf("%s missing in %+v", what, row))
		}
	}
	table, errShow := w.show(ctx, "tunnels", "table")
	return lines(table), errors.Join(err, errShow)
}

// mostLost is what a flow of 50 packets/s may lose while another tunnel is taken down and dialled: 0.1 s of it.
const mostLost = 5

func withoutDaemon(ctx context.Context, w *World) ([]string, error) {
	x := dialled()
	before, err := w.spis(ctx)
	if err != nil {
		return nil, err
	}
	dropped, err := w.dropped(ctx, certified())
	if err != nil {
		return nil, err
	}
	flow, err := w.litwareVM().StartFlow(ctx, netip.AddrPortFrom(netip.MustParseAddr(certified().lan), echoPort), 50)
	if err != nil {
		return nil, err
	}
	err = errors.Join(w.KillDaemon(ctx), w.Site(x.name).Down(ctx))
	if err == nil {
		// The packet that dials is lost now: nobody holds it.
		err = eventually(ctx, func() error { _, err := w.litwareVM().Ping(ctx, netip.MustParseAddr(x.lan)); return err })
	}
	// That nothing at all is lost over death and restart is held where no tunnel comes or goes meanwhile ("calm").
	err = errors.Join(err, flow.AwaitReplies(ctx, 20), w.StartDaemon(ctx), flow.AwaitReplies(ctx, 20))
	result := flow.Stop()
	if err == nil && result.Lost > mostLost {
		err = fmt.Errorf("another site's flow lost %d packets, from %v to %v", result.Lost, result.FirstLost, result.LastLost)
	}
	if err != nil {
		now, errDropped := w.dropped(ctx, certified())
		now = slices.DeleteFunc(now, func(line string) bool { return slices.Contains(dropped, line) })
		return append([]string{result.String(), "what was dropped since then:"}, now...), errors.Join(err, errDropped)
	}
	now, err := w.connected(ctx, x.iface)
	if err != nil {
		return nil, err
	}
	after, err := w.spis(ctx)
	for name, spi := range before {
		if name != "Litware "+x.iface && after[name] != spi {
			err = errors.Join(err, fmt.Errorf("%s: SPIs %s became %s", name, spi, after[name]))
		}
	}
	return []string{"another site's flow, over death and restart: " + result.String(), "dialled without the daemon: " + now}, err
}

// dropped is what the gateway has dropped until now, and what the kernel did of a site's ESP.
func (w *World) dropped(ctx context.Context, x way) ([]string, error) {
	table, err := w.show(ctx, "drops", "table")
	if err != nil {
		return nil, err
	}
	esp, err := w.Site(x.name).Router.Run(ctx, "cat", "/proc/net/xfrm_stat")
	return append(lines(table), lines(esp)...), err
}

func charonBack(ctx context.Context, w *World) (seen []string, err error) {
	for _, x := range []way{dialled(), six()} {
		if _, err := w.arrives(ctx, x); err != nil {
			return nil, err
		}
	}
	stale, err := w.spis(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(w.Charon.Kill(), w.startCharon(ctx)); err != nil {
		return nil, err
	}
	start := time.Now()
	for _, iface := range []string{"IfLd1", "IfL6"} {
		if _, err := w.connected(ctx, iface); err != nil {
			return seen, err
		}
		seen = append(seen, fmt.Sprintf("%s is connected %.1f s after charon's return", iface, time.Since(start).Seconds()))
	}
	states, err := w.Gateway().Run(ctx, "ip", "xfrm", "state")
	for name, pair := range stale {
		if slices.ContainsFunc(strings.Fields(pair), func(spi string) bool { return strings.Contains(states, "0x"+spi) }) {
			err = errors.Join(err, fmt.Errorf("a stale SA of %s is left", name))
		}
	}
	return seen, err
}

func removeInterface(ctx context.Context, w *World) ([]string, error) {
	x := dialled()
	line, err := w.sameSPIs(ctx, func() error {
		_, err := w.edit("litware.yaml", x.declaration(), "")
		return errors.Join(err, w.Apply(ctx))
	}, "Litware "+x.iface)
	if err != nil {
		return nil, err
	}
	states, err := w.Gateway().Run(ctx, "ip", "xfrm", "state")
	if err == nil && strings.Contains(states, dialledAddress) {
		err = fmt.Errorf("SAs are left:\n%s", states)
	}
	if err != nil {
		return nil, err
	}
	err = os.Remove(filepath.Join(w.ConfigDir, "proseware.yaml"))
	return []string{line, "no SA with " + dialledAddress + " is left"}, errors.Join(err, w.removeLitware(ctx))
}
