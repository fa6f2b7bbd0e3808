package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"bulkhead/lab"
)

// sinkPort takes whatever it is sent, by TCP and UDP.
const sinkPort = 4009

// contosoKbps is what Contoso's IfCe1 is declared to pass each way, in kbit/s.
const contosoKbps = 1024

func limited() Part {
	return Part{Title: "A limited tunnel passes what it is declared to pass, and leaves the others alone", Steps: []Step{
		{"a download by Contoso's IfCe1, 1024 kbit/s, goes as fast as that", download},
		{"IfCe1 flooded with four times as much passes no more, both ways, and Woodgrove's tunnels do not feel it", flooded},
	}}
}

// sinks are the far ends of loads: Contoso's host in New York, and its VM.
func (w *World) sinks() (host, vm *lab.Sink, err error) {
	if host, err = w.SiteHost(sites[0].name).ServeSink(sinkPort); err != nil {
		return nil, nil, err
	}
	vm, err = w.VM("Contoso", vms[0]).ServeSink(sinkPort)
	return host, vm, err
}

// rate measures what comes to a sink, in kbit/s of payload. What the buckets hold when it starts is let through first.
func rate(ctx context.Context, sink *lab.Sink, kbps int) (float64, error) {
	second := uint64(kbps) * 1000 / 8
	if _, err := sink.Await(ctx, second/2); err != nil {
		return 0, err
	}
	took, err := sink.Await(ctx, 2*second)
	return float64(2*second) * 8 / 1000 / took.Seconds(), err
}

func download(ctx context.Context, w *World) ([]string, error) {
	host, _, err := w.sinks()
	if err != nil {
		return nil, err
	}
	to := netip.AddrPortFrom(netip.MustParseAddr(sites[0].lan), sinkPort)
	load, err := w.VM("Contoso", vms[0]).Push(ctx, to)
	if err != nil {
		return nil, err
	}
	defer load.Stop()
	got, err := rate(ctx, host, contosoKbps)
	if err == nil && got > contosoKbps {
		err = fmt.Errorf("%.0f kbit/s of payload are more than the limit", got)
	}
	return []string{fmt.Sprintf("TCP: %.0f kbit/s of payload, %.2f of the limit", got, got/contosoKbps)}, err
}

func flooded(ctx context.Context, w *World) (seen []string, err error) {
	host, vm := w.SiteHost(sites[0].name), w.VM("Contoso", vms[0])
	quiet, err := w.latency(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range []struct {
		way      string
		from, at *lab.Node
		to       string
		port     uint16
	}{{"towards New York", vm, host, sites[0].lan, sinkPort + 1}, {"from New York", host, vm, vms[0], sinkPort + 1}} {
		sink, err := x.at.ServeSink(x.port)
		if err != nil {
			return seen, err
		}
		flood, err := x.from.Flood(ctx, netip.AddrPortFrom(netip.MustParseAddr(x.to), x.port), 4*contosoKbps)
		if err != nil {
			return seen, err
		}
		got, err := rate(ctx, sink, contosoKbps)
		busy, errOthers := w.latency(ctx)
		flood.Stop()
		seen = append(seen, fmt.Sprintf("UDP %s: %.0f kbit/s of %d sent pass, %.2f of the limit; Woodgrove's ping meanwhile %v, "+
			"before %v", x.way, got, 4*contosoKbps, got/contosoKbps, busy, quiet))
		switch {
		case err != nil:
			return seen, err
		case errOthers != nil:
			return seen, errOthers
		case got > contosoKbps:
			return seen, fmt.Errorf("%.0f kbit/s of payload are more than the limit", got)
		}
	}
	drops, err := w.drops(ctx, "Contoso", "ratelimit", "tx-limit")
	if err == nil && drops == 0 {
		err = fmt.Errorf("show drops does not count what the limit dropped")
	}
	return append(seen, fmt.Sprintf("drops: Contoso ratelimit tx-limit %d", drops)), err
}

// latency is the best of a few pings through Woodgrove's tunnel to New York.
func (w *World) latency(ctx context.Context) (time.Duration, error) {
	best := time.Hour
	for range 5 {
		pong, err := w.VM("Woodgrove", vms[0]).Ping(ctx, netip.MustParseAddr(sites[1].lan))
		if err != nil {
			return 0, err
		}
		best = min(best, pong.RTT)
	}
	return best.Round(10 * time.Microsecond), nil
}
