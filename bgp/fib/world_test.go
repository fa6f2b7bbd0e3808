package fib

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// compartment is a namespace with two tunnels, doors as a compartment's are, and an Ethernet link.
func compartment(t testing.TB) *netns.Namespace {
	t.Helper()
	ns := testenv.Namespace(t)
	ipBatch(t, ns, `link set lo up
		link add IfWi1 type veth peer name peer0
		link add IfWe1 type veth peer name peer1
		link add IfWe2 type veth peer name peer2
		link add ext type veth peer name peer3
		link add lan type veth peer name peer4
		link set peer4 up
		link set lan up
		link set peer0 up
		link set peer1 up
		link set peer2 up
		link set peer3 up
		link set IfWi1 arp off up
		link set IfWe1 arp off up
		link set IfWe2 arp off up
		link set ext arp off up
		address add 10.0.254.2/24 dev IfWi1
		address add 2001:db8::2/64 dev IfWi1 nodad
		route add 10.1.0.1 via 169.254.0.1 dev IfWe1 onlink src 10.0.254.2 proto 177 metric 10
		route add 10.2.0.1 via 169.254.0.1 dev IfWe2 onlink src 10.0.254.2 proto 177 metric 10
		route add unreachable 10.1.0.1 proto 177 metric 4294967294
		route add unreachable 10.2.0.1 proto 177 metric 4294967294
		route add 2001:db8:1::1 via fe80::1 dev IfWe1 onlink src 2001:db8::2 proto 177 metric 10
		address add 172.16.0.1/24 dev lan
		address add 2001:db8:16::1/64 dev lan nodad
		route add default via 169.254.0.1 dev ext onlink src 10.0.254.2 proto 177 metric 4294967295`)
	return ns
}

func ipBatch(t testing.TB, ns *netns.Namespace, lines string) {
	t.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(lines)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("ip -batch: %v\n%s", err, out.String())
	}
}

func open(t testing.TB, ns *netns.Namespace, guard bool) *Table {
	t.Helper()
	table, err := Open(ns, Options{Sources: []netip.Addr{addr("10.0.254.2"), addr("2001:db8::2")}, Guard: guard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	return table
}

func flush(t testing.TB, table *Table) {
	t.Helper()
	if err := table.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func route(prefix string, hops ...string) Route {
	r := Route{Prefix: netip.MustParsePrefix(prefix)}
	for _, h := range hops {
		r.NextHops = append(r.NextHops, addr(h))
	}
	return r
}

// installed are BGP's routes in the kernel, both families, sorted: prefix, metric, ways, source.
func installed(t testing.TB, ns *netns.Namespace) (lines []string) {
	t.Helper()
	c, err := dial(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	names := map[int]string{}
	err = c.dump(
		func(w *writer, seq uint32) { w.dump(seq, unix.RTM_GETLINK, unix.SizeofIfInfomsg) }, func() { clear(names) },
		func(m message) {
			if l, ok := parseLink(m.body); ok {
				names[l.index] = l.name
			}
		})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range bgpRoutes(t, ns) {
		line := fmt.Sprintf("%v %d", r.prefix, r.metric)
		switch r.kind {
		case unix.RTN_UNREACHABLE:
			line += " unreachable"
		case unix.RTN_BLACKHOLE:
			line += " dropped"
		default:
			for _, w := range r.ways {
				line += fmt.Sprintf(" %s %v", names[w.link], w.via)
			}
		}
		if r.source.IsValid() {
			line += fmt.Sprintf(" src %v", r.source)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// bgpRoutes are BGP's routes in the kernel.
func bgpRoutes(t testing.TB, ns *netns.Namespace) (routes []kernelRoute) {
	t.Helper()
	c, err := dial(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	err = c.dump(
		func(w *writer, seq uint32) { w.dumpRoutes(seq, routeList{protocol: unix.RTPROT_BGP}) }, func() { routes = nil },
		func(m message) {
			r, ok := parseRoute(m.body)
			if !ok {
				t.Errorf("a route that is none: % x", m.body)
			}
			routes = append(routes, r)
		})
	if err != nil {
		t.Fatal(err)
	}
	return routes
}
