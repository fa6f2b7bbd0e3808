//go:build scale

package scale_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strongswan/govici/vici"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
	"bulkhead/lab"
	"bulkhead/vpn"
)

const (
	gatewayAddress = "131.107.10.10"
	firstSite      = "100.64.0.1"
	perTenant      = 40
	key            = "the same key for every site"
	// The dead peer detection of thousands of tunnels is no work for a real CPU, but too much for an emulated one.
	quietDPD = 10 * time.Minute
)

// Proposals that an emulated CPU computes quickly, so that it is not the mathematics that is measured.
var (
	ikeProposals = []string{"aes128gcm16-prfsha256-x25519"}
	espProposals = []string{"aes128gcm16"}
)

// crowd is a gateway with many sites, each with an address of its own. One charon plays all of them.
type crowd struct {
	t       testing.TB
	n       int
	gateway *lab.Node
	sites   *lab.Node
	charon  *lab.Charon // the gateway's
}

func newCrowd(t testing.TB, n int) *crowd {
	t.Helper()
	c := &crowd{t: t, n: n, gateway: &lab.Node{Name: "gateway", NS: testenv.Namespace(t)},
		sites: &lab.Node{Name: "sites", NS: testenv.Namespace(t)}}
	c.cable()
	var err error
	c.charon, err = lab.StartCharon(t.Context(), c.gateway, t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, c.charon.Kill()) })
	peers, err := lab.StartCharon(t.Context(), c.sites, t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, peers.Kill()) })
	// Each SA has an if_id of its own, so that the sites' kernel tells thousands of like policies apart.
	everything := []string{"0.0.0.0/0", "::/0"}
	command(t, peers.Socket, "load-shared", fields{"id": "key", "type": "IKE", "data": key, "owners": []string{gatewayAddress}})
	command(t, peers.Socket, "load-conn", fields{"gw": fields{
		"version": "2", "local_addrs": []string{"100.64.0.0/10"}, "remote_addrs": []string{gatewayAddress},
		"proposals": ikeProposals, "if_id_in": "%unique", "if_id_out": "%unique", "mobike": "no", "unique": "never",
		"local": fields{"auth": "psk"}, "remote": fields{"auth": "psk", "id": gatewayAddress},
		"children": fields{"gw": fields{"local_ts": everything, "remote_ts": everything, "esp_proposals": espProposals}},
	}})
	return c
}

// cable joins the two namespaces and gives the sites their addresses.
func (c *crowd) cable() {
	t := c.t
	t.Helper()
	gw, sites := netlinkIn(t, c.gateway.NS, unix.NETLINK_ROUTE), netlinkIn(t, c.sites.NS, unix.NETLINK_ROUTE)
	must(t, gw.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wan"}, PeerName: "wan",
		PeerNamespace: netlink.NsFd(c.sites.NS.Fd())}))
	for _, end := range []struct {
		h                 *netlink.Handle
		own, far, address string
	}{{gw, "192.0.2.1/30", "100.64.0.0/10 192.0.2.2", gatewayAddress}, {sites, "192.0.2.2/30", gatewayAddress + "/32 192.0.2.1", ""}} {
		wan, err := end.h.LinkByName("wan")
		must(t, err)
		lo, err := end.h.LinkByName("lo")
		must(t, err)
		must(t, end.h.LinkSetUp(lo))
		addr, err := netlink.ParseAddr(end.own)
		must(t, err)
		must(t, end.h.AddrAdd(wan, addr))
		must(t, end.h.LinkSetUp(wan))
		if end.address != "" {
			must(t, end.h.AddrAdd(lo, host(netip.MustParseAddr(end.address))))
		}
		var to, via string
		_, err = fmt.Sscan(end.far, &to, &via)
		must(t, err)
		_, dst, err := net.ParseCIDR(to)
		must(t, err)
		route := &netlink.Route{LinkIndex: wan.Attrs().Index, Dst: dst, Gw: net.ParseIP(via)}
		if end.address != "" {
			route.Src = net.ParseIP(end.address)
		}
		must(t, end.h.RouteAdd(route))
	}
	lo, err := sites.LinkByName("lo")
	must(t, err)
	for n := range c.n {
		must(t, sites.AddrAdd(lo, host(site(n))))
	}
}

func host(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
}

// site is the address of the n-th site.
func site(n int) netip.Addr {
	first := netip.MustParseAddr(firstSite).As4()
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(first[:])+uint32(n))
	return netip.AddrFrom4(a)
}

func tenant(n int) string { return "T" + strconv.Itoa(n/perTenant) }

func iface(n int) string { return "If" + strconv.Itoa(n) }

// declare is what all tenants declare.
func (c *crowd) declare(initiate vpn.Initiate) map[string][]vpn.Interface {
	all := map[string][]vpn.Interface{}
	for n := range c.n {
		all[tenant(n)] = append(all[tenant(n)], vpn.Interface{
			Name: iface(n), IfID: uint32(n + 1), LocalAddress: netip.MustParseAddr(gatewayAddress), PeerAddress: site(n),
			PSK: vpn.Secret(key), Initiate: initiate,
			Policy: vpn.Policy{IKEProposals: ikeProposals, ESPProposals: espProposals, DPD: quietDPD},
		})
	}
	return all
}

// manager runs a Manager until the returned function is called, or the test ends. It counts Events by kind.
func (c *crowd) manager() (m *vpn.Manager, events *events, stop func()) {
	c.t.Helper()
	events = newEvents()
	m = vpn.New(vpn.Options{
		Socket: c.charon.Socket, Namespace: c.gateway.NS, OnEvent: events.add, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { must(c.t, m.Run(ctx)) })
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	c.t.Cleanup(stop)
	<-m.Ready()
	return m, events, stop
}

// events counts.
type events struct {
	up, down, failed atomic.Int64
	changed          chan struct{}
}

func newEvents() *events { return &events{changed: make(chan struct{}, 1)} }

func (e *events) add(ev vpn.Event) {
	switch ev.Kind {
	case vpn.Up, vpn.Adopted:
		e.up.Add(1)
	case vpn.Down:
		e.down.Add(1)
	case vpn.Failed:
		e.failed.Add(1)
	}
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// awaitStanding waits until so many tunnels stand.
func (e *events) awaitStanding(t testing.TB, n int, limit time.Duration) {
	t.Helper()
	deadline := time.After(limit)
	for e.up.Load()-e.down.Load() != int64(n) {
		select {
		case <-e.changed:
		case <-deadline:
			t.Fatalf("after %v %d tunnels of %d stand, %d dials failed", limit, e.up.Load()-e.down.Load(), n, e.failed.Load())
		}
	}
}

// fields is a VICI message.
type fields map[string]any

func message(t testing.TB, all fields) *vici.Message {
	t.Helper()
	m := vici.NewMessage()
	for name, value := range all {
		if sub, ok := value.(fields); ok {
			value = message(t, sub)
		}
		must(t, m.Set(name, value))
	}
	return m
}

// command sends charon one command through a session of its own.
func command(t testing.TB, socket, name string, in fields) {
	t.Helper()
	session, err := vici.NewSession(vici.WithSocketPath(socket))
	must(t, err)
	defer func() { _ = session.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = session.Call(ctx, name, message(t, in))
	must(t, err)
}

func netlinkIn(t testing.TB, ns *netns.Namespace, family int) *netlink.Handle {
	t.Helper()
	h, err := ns.Netlink(family)
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
