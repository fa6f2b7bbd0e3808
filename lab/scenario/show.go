package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"bulkhead/gateway"
)

func show() Part {
	return Part{Title: "What show prints is what the kernel does", Steps: []Step{
		{"show compartments: the namespaces, with their routing domains", showCompartments},
		{"show interfaces: names, addresses and MTUs as the namespaces have them", showInterfaces},
		{"show tunnels: the SPIs that the kernel uses", showTunnels},
		{"show nat: as many sessions as conntrack holds", showNAT},
		{"show lookup-records: what door 1 goes by", showRecords},
		{"show provider-addresses and traffic: the doors' way to the hosts, and what passed them by VSID", showDoors},
		{"trace tells where a packet would go, or where and why it would die", traces},
		{"capture shows one tenant's packets, and only them", captures},
		{"show drops: every drop of this demo, with its reason", showDrops},
	}}
}

// show runs the operator's command.
func (w *World) show(ctx context.Context, view, output string) (string, error) {
	return w.Gateway().Run(ctx, w.Bulkhead, "--run-dir", w.RunDir, "show", view, "-o", output)
}

// shown runs the command twice: as JSON, into rows, and as a table, for the eye.
func (w *World) shown(ctx context.Context, view string, rows any) ([]string, error) {
	text, err := w.show(ctx, view, "json")
	if err == nil {
		err = json.Unmarshal([]byte(text), rows)
	}
	if err != nil {
		return nil, err
	}
	table, err := w.show(ctx, view, "table")
	return lines(table), err
}

func showCompartments(ctx context.Context, w *World) ([]string, error) {
	var rows []gateway.CompartmentRow
	seen, err := w.shown(ctx, "compartments", &rows)
	if err != nil {
		return seen, err
	}
	if len(rows) != len(tenants) {
		return seen, fmt.Errorf("%d compartments, want %d", len(rows), len(tenants))
	}
	for _, row := range rows {
		room, err := w.Compartment(row.Tenant)
		if err != nil {
			return seen, err
		}
		room.NS.Close()
		if row.State != "applied" || row.Error != "" {
			return seen, fmt.Errorf("%s is %s: %s", row.Tenant, row.State, row.Error)
		}
	}
	return seen, nil
}

func showInterfaces(ctx context.Context, w *World) ([]string, error) {
	var rows []gateway.InterfaceRow
	seen, err := w.shown(ctx, "interfaces", &rows)
	if err != nil {
		return seen, err
	}
	if len(rows) != 7 {
		return seen, fmt.Errorf("%d interfaces, want the 7 of the two tenants", len(rows))
	}
	for _, row := range rows {
		room, err := w.Compartment(row.Tenant)
		if err != nil {
			return seen, err
		}
		link, err := room.Run(ctx, "ip", "addr", "show", "dev", row.Name)
		room.NS.Close()
		if err != nil {
			return seen, err
		}
		want := []string{fmt.Sprintf("mtu %d ", row.MTU)}
		for _, a := range row.Addresses {
			want = append(want, "inet "+a.String())
		}
		for _, text := range want {
			if !strings.Contains(link, text) {
				return seen, fmt.Errorf("%s %s: show says %q, the kernel: %s", row.Tenant, row.Name, text, link)
			}
		}
	}
	return seen, nil
}

func showTunnels(ctx context.Context, w *World) ([]string, error) {
	var rows []gateway.TunnelRow
	seen, err := w.shown(ctx, "tunnels", &rows)
	if err != nil {
		return seen, err
	}
	states, err := w.Gateway().Run(ctx, "ip", "xfrm", "state")
	if err != nil {
		return seen, err
	}
	if len(rows) != len(sites) {
		return seen, fmt.Errorf("%d tunnels, want %d", len(rows), len(sites))
	}
	for _, row := range rows {
		for _, spi := range []string{row.SPIIn, row.SPIOut} {
			if spi == "" || !strings.Contains(states, "spi 0x"+spi) {
				return seen, fmt.Errorf("%s: SPI %q is not among the kernel's:\n%s", row.Interface, spi, states)
			}
		}
	}
	return seen, nil
}

func showNAT(ctx context.Context, w *World) (seen []string, err error) {
	// Sessions end by themselves, also between the two readings: then both are taken again.
	err = eventually(ctx, func() error {
		var rows []gateway.NATRow
		if seen, err = w.shown(ctx, "nat", &rows); err != nil {
			return err
		}
		for _, row := range rows {
			if row.Kind != "source" {
				continue
			}
			if err := w.sameSessions(ctx, row); err != nil {
				return err
			}
		}
		return nil
	})
	return seen, err
}

// sameSessions compares what show says of an external address with the compartment's conntrack.
func (w *World) sameSessions(ctx context.Context, row gateway.NATRow) error {
	room, err := w.Compartment(row.Tenant)
	if err != nil {
		return err
	}
	defer room.NS.Close()
	sessions, err := room.Run(ctx, "conntrack", "-L", "--src-nat")
	if err != nil {
		return err
	}
	if n := strings.Count(sessions, "dst="+row.External+" "); n != row.Sessions {
		return fmt.Errorf("%s: show says %d sessions, conntrack has %d:\n%s", row.Tenant, row.Sessions, n, sessions)
	}
	return nil
}

func showRecords(ctx context.Context, w *World) ([]string, error) {
	var rows []gateway.RecordRow
	seen, err := w.shown(ctx, "lookup-records", &rows)
	if err != nil {
		return seen, err
	}
	var got []string
	for _, r := range rows {
		got = append(got, fmt.Sprintf("%s %v %d %s %v", r.Tenant, r.CustomerAddress, r.VSID, r.MACAddress, r.ProviderAddress))
	}
	want := []string{
		"Contoso 10.0.0.10 5001 60:00:60:00:01:01 192.168.0.22",
		"Contoso 10.0.0.100 5001 60:00:60:00:02:02 192.168.0.33",
		"Woodgrove 10.0.0.10 5002 60:00:60:00:01:01 192.168.0.22",
		"Woodgrove 10.0.0.100 5002 60:00:60:00:02:02 192.168.0.33",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		return seen, fmt.Errorf("records %q, want %q", got, want)
	}
	return seen, nil
}

func showDrops(ctx context.Context, w *World) ([]string, error) {
	var rows []gateway.DropRow
	seen, err := w.shown(ctx, "drops", &rows)
	if err != nil {
		return seen, err
	}
	found := map[string]uint64{}
	for _, r := range rows {
		found[r.Tenant+" "+r.Where+" "+r.Reason] = r.Packets
	}
	var missing []error
	for _, want := range []string{
		" door1 unknown-vsid", "Contoso door1 unlisted-provider", "Contoso door2 source-not-owned",
		"Contoso nat from-internet", "Contoso nat private-destination", "Contoso nat private-source",
	} {
		if found[want] == 0 {
			missing = append(missing, fmt.Errorf("no %q", want))
		}
	}
	return seen, errors.Join(missing...)
}

// lines splits what was printed.
func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }
