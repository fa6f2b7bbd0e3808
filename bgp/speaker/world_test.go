package speaker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// farConfig names the variable with the configuration of a far end: the test's own binary, which is a speaker then.
const farConfig = "BULKHEAD_TEST_FAR_END"

func TestMain(m *testing.M) {
	if text := os.Getenv(farConfig); text != "" {
		farEnd(text)
	}
	testenv.Isolated(m)
}

// farEnd is the life of a far end. It ends with its standard input.
func farEnd(text string) {
	var config bgp.Config
	err := json.Unmarshal([]byte(text), &config)
	var s *Speaker
	if err == nil {
		s, err = New(Options{Tenant: config.Tenant})
	}
	if err == nil {
		err = s.Set(context.Background(), &config)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "far end:", err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// speaks starts a speaker in the site's namespace, with networks of its own. It goes with the test.
func (s *site) speaks(change func(*bgp.Config), networks ...string) *os.Process {
	s.t.Helper()
	config := &bgp.Config{Tenant: "site", Identifier: s.addr, ASN: s.asn, MaximumPaths: 1, Networks: parsed(networks),
		Peers: []bgp.Peer{{Name: "gateway", LocalAddress: s.addr, Address: ours, ASN: 65412, IPv4: true, Hops: 64,
			HoldTime: 90 * time.Second, KeepaliveInterval: 30 * time.Second, ConnectRetry: 5 * time.Second}}}
	change(config)
	text, err := json.Marshal(config)
	must(s.t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), farConfig+"="+string(text))
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe()
	must(s.t, err)
	must(s.t, s.ns.Start(cmd))
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process
}

// Addresses of the worlds: the book's.
var (
	ours  = netip.MustParseAddr("10.0.254.2")
	ours6 = netip.MustParseAddr("fd00:254::2")
	ny    = netip.MustParseAddr("10.1.0.1")
	sfo   = netip.MustParseAddr("10.2.0.1")
)

// site is a peer's namespace, reached by a link of ours with a host route, as a tunnel is.
type site struct {
	t    testing.TB
	ns   *netns.Namespace
	link string
	addr netip.Addr
	asn  uint32
}

// compartment makes the process's own namespace one: with the speaker's address, and a site for each address.
func compartment(t testing.TB, addresses ...netip.Addr) []*site {
	t.Helper()
	testenv.Root(t)
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(here.Close)
	lo, err := here.LinkByName("lo")
	must(t, err)
	must(t, here.LinkSetUp(lo))
	for _, a := range []netip.Addr{ours, ours6} {
		own := &netlink.Addr{IPNet: netlink.NewIPNet(a.AsSlice()), Flags: unix.IFA_F_NODAD}
		must(t, here.AddrReplace(lo, own))
		t.Cleanup(func() { _ = here.AddrDel(lo, own) })
	}
	var sites []*site
	for i, address := range addresses {
		s := &site{t: t, ns: testenv.Namespace(t), link: "IfWe" + string(rune('1'+i)), addr: address, asn: 65413 + uint32(i)}
		there, err := s.ns.Netlink(unix.NETLINK_ROUTE)
		must(t, err)
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: s.link}, PeerName: "out", PeerNamespace: netlink.NsFd(s.ns.Fd())}
		must(t, here.LinkAdd(pair))
		t.Cleanup(func() { _ = here.LinkDel(pair) })
		link, err := here.LinkByName(s.link)
		must(t, err)
		must(t, here.LinkSetUp(link))
		out, err := there.LinkByName("out")
		must(t, err)
		to := ours
		if address.Is6() {
			to = ours6
		}
		must(t, there.AddrAdd(out, &netlink.Addr{IPNet: netlink.NewIPNet(address.AsSlice()), Flags: unix.IFA_F_NODAD}))
		must(t, there.LinkSetUp(out))
		// Our address is on no link, and of such a one no link tells a neighbour of IPv6.
		must(t, there.NeighSet(&netlink.Neigh{LinkIndex: out.Attrs().Index, IP: to.AsSlice(), State: netlink.NUD_PERMANENT,
			HardwareAddr: link.Attrs().HardwareAddr}))
		must(t, there.RouteAdd(&netlink.Route{LinkIndex: out.Attrs().Index, Dst: netlink.NewIPNet(to.AsSlice()),
			Scope: unix.RT_SCOPE_LINK, Src: address.AsSlice()}))
		must(t, here.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: netlink.NewIPNet(address.AsSlice()),
			Scope: unix.RT_SCOPE_LINK, Src: to.AsSlice()}))
		there.Close()
		sites = append(sites, s)
	}
	return sites
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// configOf is a speaker with a peer for each site.
func configOf(sites ...*site) *bgp.Config {
	config := &bgp.Config{Tenant: "Woodgrove", Identifier: ours, ASN: 65412, MaximumPaths: 1, Sources: []netip.Addr{ours}}
	for i, s := range sites {
		config.Peers = append(config.Peers, bgp.Peer{
			Name: []string{"NY", "SFO", "LA"}[i], LocalAddress: ours, Address: s.addr, ASN: s.asn, IPv4: true,
			HoldTime: 90 * time.Second, KeepaliveInterval: 30 * time.Second, ConnectRetry: 5 * time.Second, Hops: 64,
		})
	}
	return config
}

// speaking starts a speaker that goes with the test.
func speaking(t testing.TB, config *bgp.Config) *Speaker {
	t.Helper()
	s, err := New(Options{Tenant: config.Tenant, Version: "test"})
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(context.Background(), false); err != nil {
			t.Error(err)
		}
	})
	must(t, s.Set(context.Background(), config))
	return s
}

// peer is the site's router, not connected yet.
func (s *site) options() rawpeer.Options {
	return rawpeer.Options{Namespace: s.ns, Local: s.addr, Remote: ours, ASN: s.asn, Identifier: s.addr, HoldTime: 90,
		Families: []gobgp.Family{gobgp.RF_IPv4_UC}}
}

// connect establishes a session from the site, which may have to try until the speaker listens to it.
func (s *site) connect(change ...func(*rawpeer.Options)) *rawpeer.Peer {
	s.t.Helper()
	options := s.options()
	for _, f := range change {
		f(&options)
	}
	var peer *rawpeer.Peer
	testenv.Eventually(s.t, "a session with the speaker comes up", func() bool {
		p, err := rawpeer.Dial(context.Background(), options)
		if err != nil {
			return false
		}
		if err := p.Establish(); err != nil {
			p.Close()
			return false
		}
		peer = p
		return true
	})
	s.t.Cleanup(peer.Close)
	return peer
}

// tells sends routes with the site as their next hop and nearest system.
func (s *site) tells(peer *rawpeer.Peer, prefixes ...string) {
	s.t.Helper()
	must(s.t, peer.Send(rawpeer.Update(nil, rawpeer.Path(s.addr, s.asn), parsed(prefixes)...)))
}

func parsed(prefixes []string) []netip.Prefix {
	var all []netip.Prefix
	for _, prefix := range prefixes {
		all = append(all, netip.MustParsePrefix(prefix))
	}
	return all
}
