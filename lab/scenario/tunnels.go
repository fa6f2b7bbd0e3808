package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"bulkhead/gateway"
	"bulkhead/lab"
)

// site is a tenant's site as the gateway knows it.
type site struct {
	name, tenant, iface string
	lan                 string // a host in it
}

var sites = []site{
	{"NY-Contoso", "Contoso", "IfCe1", "10.1.0.5"},
	{"NY-Woodgrove", "Woodgrove", "IfWe1", "10.1.0.5"},
	{"SFO-Woodgrove", "Woodgrove", "IfWe2", "10.2.0.5"},
}

func tunnels() Part {
	part := Part{Title: "Sites dial one public address by IKEv2; who is who follows from peer and key", Steps: []Step{
		{
			Claim: "a packet of Contoso's VM for New York dials IfCe1",
			Check: dialByPacket,
		},
		speakersCall(),
	}}
	for _, s := range sites {
		part.Steps = append(part.Steps, Step{
			Claim: fmt.Sprintf("%s's VM 10.0.0.10 and %s in %s talk both ways: ICMP, UDP, TCP", s.tenant, s.lan, s.name),
			Check: func(ctx context.Context, w *World) ([]string, error) { return talk(ctx, w, s) },
		})
	}
	part.Steps = append(part.Steps, Step{
		Claim: "both tenants' 10.0.0.10 talk to their own 10.1.0.5 at the same time, and nothing is lost or mixed up",
		Check: talkAtOnce,
	})
	return part
}

// tunnel is what show tunnels says of an interface.
func (w *World) tunnel(ctx context.Context, iface string) (gateway.TunnelRow, error) {
	var rows []gateway.TunnelRow
	if err := w.API.Show(ctx, "tunnels", &rows); err != nil {
		return gateway.TunnelRow{}, err
	}
	i := slices.IndexFunc(rows, func(r gateway.TunnelRow) bool { return r.Interface == iface })
	if i < 0 {
		return gateway.TunnelRow{}, fmt.Errorf("show tunnels has no %s", iface)
	}
	return rows[i], nil
}

// connected waits until an interface is connected.
func (w *World) connected(ctx context.Context, iface string) (string, error) {
	var row gateway.TunnelRow
	err := eventually(ctx, func() error {
		var err error
		if row, err = w.tunnel(ctx, iface); err != nil {
			return err
		}
		if row.State != "connected" || row.SPIIn == "" || row.SPIOut == "" {
			return fmt.Errorf("%s is %s; last error %q", iface, row.State, row.LastError)
		}
		return nil
	})
	return fmt.Sprintf("%s %s: %s = %s, ESP %s, SPI in %s, out %s", row.Tenant, iface, row.Local, row.Peer, row.ESP,
		row.SPIIn, row.SPIOut), err
}

// redial starts a site's charon afresh with the right key, whatever it knew before, and lets it dial.
func (w *World) redial(ctx context.Context, site string) error {
	return errors.Join(w.Site(site).Restart(ctx, lab.IKE{Key: lab.PSK}), w.Site(site).Up(ctx))
}

func dialByPacket(ctx context.Context, w *World) ([]string, error) {
	row, err := w.tunnel(ctx, "IfCe1")
	if err != nil {
		return nil, err
	}
	before := fmt.Sprintf("before: IfCe1 %s", row.State)
	if row.State == "connected" {
		return nil, errors.New("IfCe1 was connected before anybody dialled")
	}
	if err := eventually(ctx, func() error {
		_, err := w.VM("Contoso", "10.0.0.10").Ping(ctx, netip.MustParseAddr("10.1.0.5"))
		return err
	}); err != nil {
		return nil, err
	}
	now, err := w.connected(ctx, "IfCe1")
	return []string{before, now}, err
}

// talk lets both ends ping and fetch from each other, and proves by content that each reached its own tenant.
func talk(ctx context.Context, w *World, s site) (seen []string, err error) {
	vm, host := w.VM(s.tenant, "10.0.0.10"), w.SiteHost(s.name)
	lan, ca := netip.MustParseAddr(s.lan), netip.MustParseAddr("10.0.0.10")
	for _, way := range []struct {
		from *lab.Node
		to   netip.Addr
		want string
	}{{vm, lan, siteIdentity(s)}, {host, ca, vmIdentity(s.tenant, "10.0.0.10")}} {
		pong, err := way.from.Ping(ctx, way.to)
		if err != nil {
			return seen, err
		}
		line := fmt.Sprintf("%s > %v: ping %v", way.from.Name, way.to, pong.RTT.Round(time.Millisecond))
		for _, protocol := range []string{lab.UDP, lab.TCP} {
			reply, err := fetch(ctx, way.from, protocol, netip.AddrPortFrom(way.to, identityPort), way.want)
			if err != nil {
				return seen, err
			}
			line += fmt.Sprintf(", %s %q", protocol, reply.Content)
		}
		seen = append(seen, line)
	}
	return seen, nil
}

// fetch fetches and insists on who answers.
func fetch(ctx context.Context, from *lab.Node, protocol string, to netip.AddrPort, want string) (lab.Reply, error) {
	reply, err := from.Fetch(ctx, protocol, to)
	if err == nil && reply.Content != want {
		err = fmt.Errorf("%s reached %q at %s %v, want %q", from.Name, reply.Content, protocol, to, want)
	}
	return reply, err
}

func siteIdentity(s site) string { return s.name + " " + s.lan }

func vmIdentity(tenant, ca string) string { return tenant + " VM " + ca }

// talkAtOnce runs a flow per tenant between the same addresses at the same time, and asks meanwhile who is there.
func talkAtOnce(ctx context.Context, w *World) (seen []string, err error) {
	var flows []*lab.Flow
	for _, s := range sites[:2] {
		f, err := w.VM(s.tenant, "10.0.0.10").StartFlow(ctx, netip.AddrPortFrom(netip.MustParseAddr(s.lan), echoPort), 100)
		if err != nil {
			return nil, err
		}
		defer f.Stop()
		flows = append(flows, f)
	}
	for _, f := range flows {
		if err := f.AwaitReplies(ctx, 200); err != nil {
			return nil, err
		}
		for _, s := range sites[:2] {
			if _, err := talk(ctx, w, s); err != nil {
				return nil, err
			}
		}
	}
	for i, f := range flows {
		result := f.Stop()
		seen = append(seen, fmt.Sprintf("%s's 10.0.0.10 > 10.1.0.5: %s", sites[i].tenant, result))
		if result.Lost > 0 {
			err = errors.Join(err, fmt.Errorf("%s lost %d packets", sites[i].tenant, result.Lost))
		}
	}
	return seen, err
}
