//go:build scale

package scale_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
	"bulkhead/lab"
)

const (
	espSlice  = 400 * time.Millisecond
	espRounds = 25
	// Several streams even out what one of them makes of its window.
	espStreams = 4
	espWarm    = 2 << 20 // bytes, after which the streams have their stride
	sinkPort   = 5001
	bareIfID   = 77
)

// The ends of the stream: the compartment's internal address, and the site's router.
var (
	insideAddress = netip.MustParseAddr("10.0.254.2")
	siteRouter    = netip.MustParseAddr("10.1.0.1")
)

// BenchmarkESP compares TCP out of a compartment through its S2S interface, with the doors, filters and all that the
// gateway puts there, with TCP through an xfrm interface that is made by hand, in an empty namespace of a machine with
// charon alone (x_bare). The two machines, sites and tunnels are alike, and slices of either alternate.
func BenchmarkESP(b *testing.B) {
	for b.Loop() {
		var all [2][]float64
		gateway := gatewayPath(b)
		ways := [2]*espPath{gateway, barePath(b, gateway.mtu)}
		var ratio []float64
		for round := range espRounds + 1 {
			var rates [2]float64
			for n, w := range ways {
				rates[n] = w.slice(b)
			}
			if round == 0 {
				continue
			}
			for n := range ways {
				all[n] = append(all[n], rates[n])
			}
			ratio = append(ratio, rates[0]/rates[1])
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(median(all[0]), "mbit/s")
		b.ReportMetric(median(ratio), "x_bare")
		b.Logf("gateway %.1f", all[0])
		b.Logf("bare    %.1f", all[1])
	}
}

// espPath is a namespace whose way to the site is a tunnel.
type espPath struct {
	from *lab.Node
	mtu  int
	sink *lab.Sink
}

// slice pushes for a while, and says how many Mbit/s of payload came.
func (p *espPath) slice(t testing.TB) float64 {
	t.Helper()
	for range espStreams {
		load, err := p.from.Push(t.Context(), netip.AddrPortFrom(siteRouter, sinkPort))
		must(t, err)
		defer load.Stop()
	}
	_, err := p.sink.Await(t.Context(), espWarm)
	must(t, err)
	before, began := p.sink.Bytes(), time.Now()
	<-time.After(espSlice)
	return float64(p.sink.Bytes()-before) * 8e-6 / time.Since(began).Seconds()
}

// gatewayPath is Contoso's compartment in a lab where the daemon runs.
func gatewayPath(b *testing.B) *espPath {
	b.Helper()
	l := newLab(b)
	dir := filepath.Join(l.Dir(), "config")
	must(b, lab.ConfigDir(dir))
	change(b, filepath.Join(dir, "contoso.yaml"), "bandwidth: {txKbps: 1024, rxKbps: 1024}", "bandwidth: unlimited")
	// The book's filter lets the site's hosts reach the virtual subnet only; here the compartment itself is reached.
	change(b, filepath.Join(dir, "contoso.yaml"), "10.1.0.0/24:10.0.0.0/24:any", "10.1.0.0/24:10.0.0.0/16:any")
	_, err := l.StartGatewayCharon(b.Context())
	must(b, err)
	sink := startSite(b, l)
	run := filepath.Join(l.Dir(), "run")
	daemon, err := l.StartDaemon(b.Context(), os.Getenv("BULKHEAD_BINARY"), run, dir)
	must(b, err)
	b.Cleanup(func() { must(b, daemon.Stop()); removeGateway(b, run) })
	ns, err := netns.Open(filepath.Join(run, "netns", "Contoso"))
	must(b, err)
	return newPath(b, &lab.Node{Name: "the compartment", NS: ns}, "IfCe1", sink)
}

// barePath is an empty namespace with an xfrm interface, in a lab without the daemon.
func barePath(b *testing.B, mtu int) *espPath {
	b.Helper()
	l := newLab(b)
	gateway, inside := l.Gateway(), testenv.Namespace(b)
	for _, args := range [][]string{
		{"addr", "add", lab.GatewayAddress.String() + "/24", "dev", "If2"}, {"link", "set", "If2", "up"},
		{"route", "add", "default", "via", "131.107.10.1"},
		{"link", "add", "bare", "type", "xfrm", "if_id", strconv.Itoa(bareIfID)},
	} {
		_, err := gateway.Run(b.Context(), "ip", args...)
		must(b, err)
	}
	h := netlinkIn(b, gateway.NS, unix.NETLINK_ROUTE)
	link, err := h.LinkByName("bare")
	must(b, err)
	must(b, h.LinkSetNsFd(link, inside.Fd()))
	node := &lab.Node{Name: "an empty namespace", NS: inside}
	for _, args := range [][]string{
		{"addr", "add", insideAddress.String() + "/32", "dev", "lo"}, {"link", "set", "lo", "up"},
		{"link", "set", "bare", "mtu", strconv.Itoa(mtu), "up"},
		{"route", "add", "10.1.0.0/24", "dev", "bare", "src", insideAddress.String()},
	} {
		_, err := node.Run(b.Context(), "ip", args...)
		must(b, err)
	}
	charon, err := l.StartGatewayCharon(b.Context())
	must(b, err)
	sink := startSite(b, l)
	site := l.Site("NY-Contoso").Address.String()
	everything, ifID := []string{"0.0.0.0/0", "::/0"}, strconv.Itoa(bareIfID)
	command(b, charon.Socket, "load-shared", fields{"id": "site", "type": "IKE", "data": lab.PSK, "owners": []string{site}})
	command(b, charon.Socket, "load-conn", fields{"site": fields{
		"version": "2", "local_addrs": []string{lab.GatewayAddress.String()}, "remote_addrs": []string{site},
		"if_id_in": ifID, "if_id_out": ifID, "proposals": []string{"aes256gcm16-prfsha384-ecp384"},
		"local": fields{"auth": "psk"}, "remote": fields{"auth": "psk", "id": site},
		"children": fields{"site": fields{"local_ts": everything, "remote_ts": everything, "replay_window": "1024",
			"esp_proposals": []string{"aes256gcm16"}}},
	}})
	command(b, charon.Socket, "initiate", fields{"ike": "site", "child": "site", "timeout": "60000"})
	return newPath(b, node, "bare", sink)
}

// newPath waits until the tunnel carries packets.
func newPath(t testing.TB, from *lab.Node, name string, sink *lab.Sink) *espPath {
	t.Helper()
	link, err := netlinkIn(t, from.NS, unix.NETLINK_ROUTE).LinkByName(name)
	must(t, err)
	if _, ok := link.(*netlink.Xfrmi); !ok {
		t.Fatalf("%s of %s is a %s", name, from.Name, link.Type())
	}
	testenv.Eventually(t, "the site answers "+from.Name, func() bool {
		_, err := from.Run(t.Context(), "ping", "-c", "1", "-W", "2", siteRouter.String())
		return err == nil
	})
	return &espPath{from: from, mtu: link.Attrs().MTU, sink: sink}
}

// startSite starts New York's charon, and a sink on its router.
func startSite(t testing.TB, l *lab.Lab) *lab.Sink {
	t.Helper()
	site := l.Site("NY-Contoso")
	must(t, site.Start(t.Context(), lab.IKE{Key: lab.PSK}))
	sink, err := site.Router.ServeSink(sinkPort)
	must(t, err)
	return sink
}

func newLab(t testing.TB) *lab.Lab {
	t.Helper()
	l, err := lab.New(lab.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

// removeGateway removes what a gateway leaves in the kernel on purpose.
func removeGateway(t testing.TB, run string) {
	t.Helper()
	pins, err := filepath.Glob(filepath.Join(run, "netns", "*"))
	must(t, err)
	for _, pin := range pins {
		must(t, netns.Remove(pin))
	}
	_ = unix.Unmount(filepath.Join(run, "bpf"), unix.MNT_DETACH)
}

func change(t testing.TB, path, from, to string) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	if strings.Count(string(b), from) != 1 {
		t.Fatalf("%s does not hold %q once", path, from)
	}
	must(t, os.WriteFile(path, []byte(strings.Replace(string(b), from, to, 1)), 0o600))
}
