package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"bulkhead/gateway"
	"bulkhead/lab"
)

// Filters of Litware, in the cmdlet's syntax.
const (
	// onlyTCP lets the certificate site open TCP connections to the virtual network's port 7, and nothing else.
	onlyTCP = `  filters:
    - interface: IfLc1
      direction: inbound
      action: deny
      list: ["any:10.0.0.0/24:TCP:0:7", "any:any:ICMP:0:0"]
`
	// noUDP lets the virtual network send that site everything but UDP, and gets replies.
	noUDP = `    - interface: IfLc1
      direction: outbound
      action: deny
      established: allow
      list: ["any:any:ICMP:8:0"]
`
)

func filters() Part {
	return Part{Title: "Static filters", Steps: []Step{
		{"a list that drops all except TCP and ICMP drops a site's UDP, counts by rule, and touches no tunnel", onlyListed},
		{"with established connections allowed, replies pass what the list drops", repliesPass},
		{"without the filters all passes again", withoutFilters},
	}}
}

// filter declares filters at the end of Litware's declaration.
func (w *World) filter(ctx context.Context, more string) (string, error) {
	return w.sameSPIs(ctx, func() error { return errors.Join(w.extend("litware.yaml", more), w.Apply(ctx)) })
}

// silenced insists that a server does not answer a node by UDP.
func silenced(ctx context.Context, from *lab.Node, to string) error {
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	reply, err := from.Fetch(short, lab.UDP, netip.AddrPortFrom(netip.MustParseAddr(to), identityPort))
	if err == nil {
		return fmt.Errorf("%s reached %q", from.Name, reply.Content)
	}
	return nil
}

func onlyListed(ctx context.Context, w *World) ([]string, error) {
	x := certified()
	host := w.SiteHost(x.name)
	line, err := w.filter(ctx, onlyTCP)
	if err != nil {
		return nil, err
	}
	_, err = reach(ctx, host, vms[0], vmIdentity("Litware", vms[0]))
	if err := errors.Join(err, silenced(ctx, host, vms[0])); err != nil {
		return nil, err
	}
	var rows []gateway.FilterRow
	seen, err := w.shown(ctx, "filters", &rows)
	hits := map[string]uint64{}
	for _, r := range rows {
		if r.Interface == x.iface {
			hits[r.Does] += r.Packets
		}
	}
	if err == nil && (hits["pass"] == 0 || hits["drop"] == 0) {
		err = fmt.Errorf("packets counted: %v", hits)
	}
	return append([]string{line}, seen...), err
}

func repliesPass(ctx context.Context, w *World) ([]string, error) {
	x := certified()
	line, err := w.filter(ctx, noUDP)
	if err != nil {
		return nil, err
	}
	// The site's connection is answered, though the list has no TCP; the virtual network's own is not let out.
	if _, err := reach(ctx, w.SiteHost(x.name), vms[0], vmIdentity("Litware", vms[0])); err != nil {
		return nil, err
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := reach(short, w.litwareVM(), x.lan, siteIdentity(x.site)); err == nil {
		return nil, errors.New("a connection that the list drops was made")
	}
	told, err := w.bulkhead(ctx, "trace", "--tenant", "Litware", "--from", vms[0], "--to", x.lan, "--protocol", "tcp", "--dport", "7")
	if err == nil && !strings.Contains(told, "filter") {
		err = fmt.Errorf("trace does not tell of the filter:\n%s", told)
	}
	return append([]string{line}, lines(told)...), err
}

func withoutFilters(ctx context.Context, w *World) ([]string, error) {
	_, err := w.edit("litware.yaml", onlyTCP+noUDP, "")
	if err := errors.Join(err, w.Apply(ctx)); err != nil {
		return nil, err
	}
	return talk(ctx, w, certified().site)
}
