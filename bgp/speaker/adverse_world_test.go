package speaker_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/bgp/speaker"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ownASN is the speaker's, firstASN the first site's; the others follow.
const (
	ownASN   = 64512
	firstASN = 65413
)

// site is a customer's router behind a link of its own. The compartment is the namespace of the process.
type site struct {
	name, link  string
	asn         uint32
	ns          *netns.Namespace
	own, addr   netip.Addr
	own6, addr6 netip.Addr
}

// sites makes the sites, numbered from 1.
func sites(t *testing.T, number int) []*site {
	t.Helper()
	testenv.Root(t)
	up(t, netlink.Handle{}, "lo")
	var all []*site
	for i := 1; i <= number; i++ {
		s := &site{
			name: fmt.Sprintf("site%d", i), link: fmt.Sprintf("IfWe%d", i), asn: firstASN + uint32(i) - 1,
			ns:  testenv.Namespace(t),
			own: address("10.20.%d.2", i), addr: address("10.20.%d.1", i),
			own6: address("fd20:%d::2", i), addr6: address("fd20:%d::1", i),
		}
		there, err := s.ns.Netlink(unix.NETLINK_ROUTE)
		if err != nil {
			t.Fatal(err)
		}
		defer there.Close()
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: s.link}, PeerName: "wan", PeerNamespace: netlink.NsFd(s.ns.Fd())}
		if err := netlink.LinkAdd(link); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = netlink.LinkDel(link) })
		assign(t, netlink.Handle{}, s.link, s.own, s.own6)
		assign(t, *there, "wan", s.addr, s.addr6)
		all = append(all, s)
	}
	return all
}

func address(format string, i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf(format, i)) }

// assign brings a link up with addresses that may be used at once.
func assign(t *testing.T, h netlink.Handle, link string, addresses ...netip.Addr) {
	t.Helper()
	l := up(t, h, link)
	for _, a := range addresses {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		addr, err := netlink.ParseAddr(netip.PrefixFrom(a, bits).String())
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := h.AddrReplace(l, addr); err != nil {
			t.Fatal(err)
		}
	}
}

func up(t *testing.T, h netlink.Handle, link string) netlink.Link {
	t.Helper()
	l, err := h.LinkByName(link)
	if err == nil {
		err = h.LinkSetUp(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// config is a router with all sites as its external peers, which dial.
func config(all []*site) *bgp.Config {
	c := &bgp.Config{
		Tenant: "Woodgrove", Identifier: netip.MustParseAddr("10.0.254.2"), ASN: ownASN, MaximumPaths: 1,
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
		Inside:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
	}
	for _, s := range all {
		c.Peers = append(c.Peers, bgp.Peer{
			Name: s.name, LocalAddress: s.own, Address: s.addr, ASN: s.asn, Passive: true, IPv4: true, Hops: 64,
			HoldTime: 90 * time.Second, KeepaliveInterval: 30 * time.Second, ConnectRetry: 5 * time.Second,
		})
	}
	return c
}

// running is a speaker and what it logged.
type running struct {
	*speaker.Speaker
	log *lines
}

// start has the process speak BGP until the test ends.
func start(t *testing.T, c *bgp.Config) *running {
	t.Helper()
	r := &running{log: &lines{}}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	s, err := speaker.New(speaker.Options{Tenant: c.Tenant, Version: "test", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	r.Speaker = s
	t.Cleanup(func() {
		if err := s.Close(context.Background(), false); err != nil {
			t.Errorf("close the speaker: %v", err)
		}
		if t.Failed() {
			t.Log(r.log.text())
		}
	})
	if err := s.Set(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	return r
}

// peer is what the speaker tells of a peer.
func (r *running) peer(t *testing.T, name string) bgp.PeerState {
	t.Helper()
	peers, err := r.Peers(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(peers, func(p bgp.PeerState) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("the speaker tells of no peer %s", name)
	}
	return peers[i]
}

// refused is how many routes of a peer were refused.
func (r *running) refused(t *testing.T, name string) uint64 {
	t.Helper()
	var sum uint64
	for _, n := range r.peer(t, name).Refused {
		sum += n
	}
	return sum
}

// paths are what the speaker tells of a prefix.
func (r *running) paths(t *testing.T, prefix netip.Prefix) []bgp.Route {
	t.Helper()
	var all []bgp.Route
	err := r.Routes(context.Background(), bgp.RouteQuery{Prefix: prefix}, func(one bgp.Route) bool {
		all = append(all, one)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// options are of a peer that does nothing wrong.
func (s *site) options() rawpeer.Options {
	return rawpeer.Options{
		Namespace: s.ns, Local: s.addr, Remote: s.own, ASN: s.asn, Identifier: s.addr, HoldTime: 90,
		Families: []gobgp.Family{gobgp.RF_IPv4_UC},
	}
}

// establish has a peer of these options come up; it is tried again until the speaker is ready for it.
func establish(t *testing.T, options rawpeer.Options) *rawpeer.Peer {
	t.Helper()
	var peer *rawpeer.Peer
	var last error
	defer func() {
		if peer == nil {
			t.Log("the peer's last error:", last)
		}
	}()
	testenv.Eventually(t, "the session with "+options.Local.String()+" comes up", func() bool {
		one, err := rawpeer.Dial(context.Background(), options)
		if err != nil {
			last = err
			return false
		}
		if last = one.Establish(); last != nil {
			one.Close()
			return false
		}
		peer = one
		return true
	})
	t.Cleanup(peer.Close)
	return peer
}

// send has a peer say all of these messages.
func send(t *testing.T, peer *rawpeer.Peer, messages ...[]byte) {
	t.Helper()
	for _, m := range messages {
		if err := peer.Send(m); err != nil {
			t.Fatal("the peer cannot send any more:", err)
		}
	}
}

// announce is a whole UPDATE of that site for prefixes.
func (s *site) announce(prefixes ...netip.Prefix) []byte {
	return rawpeer.Update(nil, rawpeer.Path(s.addr, s.asn), prefixes...)
}

// learned tells whether the kernel has a route of BGP's for exactly that prefix.
func learned(t *testing.T, prefix netip.Prefix) bool {
	t.Helper()
	return slices.Contains(kernel(t), prefix)
}

// kernel are the prefixes that BGP has in the kernel's main table, those kept unreachable left out.
func kernel(t *testing.T) []netip.Prefix {
	t.Helper()
	var all []netip.Prefix
	filter := &netlink.Route{Protocol: unix.RTPROT_BGP, Table: unix.RT_TABLE_MAIN}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			if r.Type != unix.RTN_UNICAST || r.Dst == nil {
				continue
			}
			a, _ := netip.AddrFromSlice(r.Dst.IP)
			bits, _ := r.Dst.Mask.Size()
			all = append(all, netip.PrefixFrom(a, bits))
		}
	}
	return all
}

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// contains tells whether there is a line with all of these words.
func (l *lines) contains(words ...string) bool {
	for line := range strings.Lines(l.text()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// over waits until the speaker has ended a connection.
func over(t *testing.T, peer *rawpeer.Peer) {
	t.Helper()
	select {
	case <-peer.Ended():
	case <-time.After(20 * time.Second):
		t.Fatal("the speaker has not ended the connection in 20 s")
	}
}
