package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bulkhead/gateway"
	"bulkhead/lab"
	"bulkhead/lab/hnv"
	"bulkhead/lab/ipflow"
)

func refused() Part {
	return Part{Title: "What must not pass does not, and is counted or logged", Steps: []Step{
		{"NVGRE with a VSID that nobody declared goes nowhere", unknownVSID},
		{"NVGRE from a provider address that no record names goes nowhere", unlistedProvider},
		{"a VM's frame for another MAC than the gateway's goes nowhere", foreignMAC},
		{"Contoso's packet for a site that only Woodgrove has goes nowhere", otherTenantsSite},
		{"an IKE peer with the wrong key is refused, and says so in the log", wrongKey},
		{"a site's traffic does not leave in clear while its tunnel is down", noTunnel},
		{"a site's traffic does not leave in clear when even the tunnel's route is gone", noRoute},
		{"a packet from the Internet with a private source goes nowhere", privateSource},
		{"a packet with a private source does not leave on the external NIC", untranslatedSource},
		{"the Internet does not reach a compartment's own ports", ownPorts},
	}}
}

// drops reads a drop counter; 0 where it is not shown.
func (w *World) drops(ctx context.Context, tenant, where, reason string) (uint64, error) {
	var rows []gateway.DropRow
	if err := w.API.Show(ctx, "drops", &rows); err != nil {
		return 0, err
	}
	for _, r := range rows {
		if r.Tenant == tenant && r.Where == where && r.Reason == reason {
			return r.Packets, nil
		}
	}
	return 0, nil
}

// counted does something and waits until the counter that it should move has moved by n.
func (w *World) counted(ctx context.Context, tenant, where, reason string, n uint64, do func() error) (string, error) {
	before, err := w.drops(ctx, tenant, where, reason)
	if err != nil {
		return "", err
	}
	if err := do(); err != nil {
		return "", err
	}
	name := where + " " + reason
	if tenant != "" {
		name = tenant + " " + name
	}
	var after uint64
	err = eventually(ctx, func() error {
		if after, err = w.drops(ctx, tenant, where, reason); err != nil {
			return err
		}
		if after < before+n {
			return fmt.Errorf("drops: %s went from %d to %d, want %d more", name, before, after, n)
		}
		return nil
	})
	return fmt.Sprintf("drops: %s %d -> %d", name, before, after), err
}

// unseen does something and then insists that no packet that matches was on the wire.
func unseen(wire *lab.Capture, match func(ipflow.Flow) bool, do func() error) error {
	wire.Forget()
	if err := do(); err != nil {
		return err
	}
	packets := wire.Packets()
	if i := slices.IndexFunc(packets, match); i >= 0 {
		return fmt.Errorf("on the wire: %v", packets[i])
	}
	return nil
}

// frames is how many forged frames each step sends.
const frames = 5

// forge sends frames that differ from a VM's ping of its gateway in one thing.
func forge(ctx context.Context, w *World, tenant, reasonTenant, reason string, change func(*hnv.Packet)) (string, error) {
	host := w.HyperV(vms[0])
	return w.counted(ctx, reasonTenant, "door1", reason, frames, func() error {
		for range frames {
			p := host.Packet(providerAddress, vsids[tenant][1], ping())
			change(&p)
			if err := host.Send(p); err != nil {
				return err
			}
		}
		return nil
	})
}

func unknownVSID(ctx context.Context, w *World) ([]string, error) {
	line, err := forge(ctx, w, "Contoso", "", "unknown-vsid", func(p *hnv.Packet) { p.VSID = 7777 })
	return []string{fmt.Sprintf("%d frames with VSID 7777; %s", frames, line)}, err
}

func unlistedProvider(ctx context.Context, w *World) ([]string, error) {
	line, err := forge(ctx, w, "Contoso", "Contoso", "unlisted-provider", func(p *hnv.Packet) {
		p.Source = netip.MustParseAddr("192.168.0.44")
	})
	return []string{fmt.Sprintf("%d frames from 192.168.0.44; %s", frames, line)}, err
}

func foreignMAC(ctx context.Context, w *World) ([]string, error) {
	line, err := forge(ctx, w, "Woodgrove", "Woodgrove", "inner-mac", func(p *hnv.Packet) {
		p.Inner = slices.Clone(p.Inner)
		p.Inner[5] ^= 0xff
	})
	return []string{fmt.Sprintf("%d frames for another MAC in VSID 6002; %s", frames, line)}, err
}

// silence insists that a ping is not answered.
func silence(ctx context.Context, from *lab.Node, to string) error {
	return silenceFor(ctx, silenceTime, from, to)
}

func silenceFor(ctx context.Context, long time.Duration, from *lab.Node, to string) error {
	short, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	if pong, err := from.Ping(short, netip.MustParseAddr(to)); err == nil {
		return fmt.Errorf("%s: %v answered in %v", from.Name, to, pong.RTT)
	}
	return nil
}

func otherTenantsSite(ctx context.Context, w *World) ([]string, error) {
	line, err := w.counted(ctx, "Contoso", "nat", "private-destination", 1, func() error {
		return unseen(w.SFO, between("10.0.0.10", "10.2.0.5"), func() error {
			return silence(ctx, w.VM("Contoso", "10.0.0.10"), "10.2.0.5")
		})
	})
	return []string{"Contoso's 10.0.0.10 > 10.2.0.5: no answer, and nothing seen in Woodgrove's San Francisco; " + line}, err
}

// between matches packets between two addresses, either way.
func between(a, b string) func(ipflow.Flow) bool {
	x, y := netip.MustParseAddr(a), netip.MustParseAddr(b)
	return func(f ipflow.Flow) bool {
		return f.Source == x && f.Destination == y || f.Source == y && f.Destination == x
	}
}

// inClear matches packets of a site that travel unencrypted, translated or not.
func inClear(f ipflow.Flow) bool {
	lan := netip.MustParsePrefix("10.0.0.0/8")
	return lan.Contains(f.Source) || lan.Contains(f.Destination)
}

func wrongKey(ctx context.Context, w *World) (seen []string, err error) {
	s := sites[0]
	if err := w.Site(s.name).Restart(ctx, lab.IKE{Key: "not the key"}); err != nil {
		return nil, err
	}
	// The peer learns no more than that it failed.
	if err := w.Site(s.name).Up(ctx); err == nil {
		return nil, errors.New("the peer with the wrong key came up")
	}
	err = eventually(ctx, func() error {
		row, err := w.tunnel(ctx, s.iface)
		if err != nil {
			return err
		}
		if row.State == "connected" || !strings.Contains(row.LastError, "wrong pre-shared key") {
			return fmt.Errorf("%s is %s, last error %q", s.iface, row.State, row.LastError)
		}
		log := lines(w.DaemonLog())
		i := slices.IndexFunc(log, func(line string) bool {
			return strings.Contains(line, "event=failed") && strings.Contains(line, row.LastError)
		})
		if i < 0 {
			return fmt.Errorf("the log does not say %q", row.LastError)
		}
		seen = []string{fmt.Sprintf("tunnels: %s %s, last error: %s", s.iface, row.State, row.LastError), "log: " + log[i]}
		return nil
	})
	return seen, err
}

// noTunnel relies on the step before: Contoso's New York has the wrong key still, so nothing can dial.
func noTunnel(ctx context.Context, w *World) ([]string, error) {
	line, err := w.counted(ctx, "Contoso", "trigger", "site-unreachable", 1, func() error {
		return unseen(w.If2, inClear, func() error { return silence(ctx, w.VM("Contoso", "10.0.0.10"), "10.1.0.5") })
	})
	return []string{"10.0.0.10 > 10.1.0.5: no answer, and nothing in clear on If2; " + line}, err
}

// noRoute takes the tunnel's route away under the daemon's feet, puts it back and lets the site dial with its own key.
func noRoute(ctx context.Context, w *World) ([]string, error) {
	room, err := w.Compartment("Contoso")
	if err != nil {
		return nil, err
	}
	defer room.NS.Close()
	// The daemon would put the route back as soon as it hears of a tunnel.
	if err := w.StopDaemon(ctx); err != nil {
		return nil, err
	}
	route := []string{"route", "del", "10.1.0.0/24", "dev", "IfCe1"}
	if _, err := room.Run(ctx, "ip", route...); err != nil {
		return nil, err
	}
	err = unseen(w.If2, inClear, func() error { return silence(ctx, w.VM("Contoso", "10.0.0.10"), "10.1.0.5") })
	// The kernel says so at once; what it tells the VM by ICMP it limits to a few a second.
	said, lookup := room.Run(ctx, "ip", "route", "get", "10.1.0.5", "from", "10.0.0.10", "iif", "IfCi1")
	if lookup == nil || !strings.Contains(said, "No route to host") {
		err = errors.Join(err, fmt.Errorf("the compartment has a route still: %s", said))
	}
	err = errors.Join(err, w.StartDaemon(ctx), w.redial(ctx, "NY-Contoso"))
	if err != nil {
		return nil, err
	}
	now, err := w.connected(ctx, "IfCe1")
	return []string{"route to 10.1.0.0/24 by IfCe1 deleted: unreachable, and nothing in clear on If2", "again " + now}, err
}

func privateSource(ctx context.Context, w *World) ([]string, error) {
	line, err := w.counted(ctx, "Contoso", "nat", "private-source", frames, func() error {
		return unseen(w.If2, func(f ipflow.Flow) bool { return f.Destination == netip.MustParseAddr("10.9.9.9") }, func() error {
			for range frames {
				if err := w.Client().SendIP(pingIP("10.9.9.9", "131.107.10.12")); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return []string{fmt.Sprintf("%d packets 10.9.9.9 > 131.107.10.12; %s", frames, line)}, err
}

// untranslatedSource puts packets on the compartment's link itself, behind its filters: the door is the last to look.
func untranslatedSource(ctx context.Context, w *World) ([]string, error) {
	room, err := w.Compartment("Contoso")
	if err != nil {
		return nil, err
	}
	defer room.NS.Close()
	line, err := w.counted(ctx, "Contoso", "door2", "source-not-owned", frames, func() error {
		return unseen(w.If2, inClear, func() error {
			for range frames {
				if err := sendOn(room, "ext", pingIP("10.0.0.10", "65.10.10.100")); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return []string{fmt.Sprintf("%d packets 10.0.0.10 > 65.10.10.100 on ext; %s", frames, line)}, err
}

// ownPorts listens in Contoso's compartment on all addresses, as a BGP speaker does.
func ownPorts(ctx context.Context, w *World) ([]string, error) {
	room, err := w.Compartment("Contoso")
	if err != nil {
		return nil, err
	}
	defer room.NS.Close()
	listener, err := room.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), 179))
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	line, err := w.counted(ctx, "Contoso", "nat", "from-internet", 1, func() error {
		short, cancel := context.WithTimeout(ctx, silenceTime)
		defer cancel()
		conn, err := w.Client().Dial(short, "tcp", netip.MustParseAddrPort("131.107.10.12:179"))
		if err == nil {
			return errors.Join(errors.New("131.107.10.12:179 answered"), conn.Close())
		}
		return nil
	})
	return []string{"66.10.10.66 > 131.107.10.12:179: no answer; " + line}, err
}
