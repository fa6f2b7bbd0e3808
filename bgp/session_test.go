package bgp_test

import (
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/bgp"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// side is a compartment with a router of its own.
type side struct {
	tenant  string
	ns      *netns.Namespace
	address netip.Addr
	asn     uint32
	network netip.Prefix
}

// sides are two compartments with a link between them.
func sides(w *world) [2]*side {
	w.Helper()
	out := [2]*side{
		{"Contoso" + real, testenv.Namespace(w), netip.MustParseAddr("10.9.0.1"), 65412, netip.MustParsePrefix("10.11.0.0/16")},
		{"Woodgrove" + real, testenv.Namespace(w), netip.MustParseAddr("10.9.0.2"), 65413, netip.MustParsePrefix("10.22.0.0/16")},
	}
	h, err := out[0].ns.Netlink()
	if err != nil {
		w.Fatal(err)
	}
	defer h.Close()
	w.check(h.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "site"}, PeerName: "site", PeerNamespace: netlink.NsFd(out[1].ns.Fd()),
	}))
	for _, s := range out {
		h, err := s.ns.Netlink()
		if err != nil {
			w.Fatal(err)
		}
		defer h.Close()
		link, err := h.LinkByName("site")
		if err != nil {
			w.Fatal(err)
		}
		address, err := netlink.ParseAddr(s.address.String() + "/24")
		if err != nil {
			w.Fatal(err)
		}
		w.check(h.AddrAdd(link, address))
		w.check(h.LinkSetUp(link))
	}
	return out
}

// config is the side's, with the other one as its peer.
func (s *side) config(other *side) *bgp.Config {
	return &bgp.Config{
		Tenant: s.tenant, Identifier: s.address, ASN: s.asn, MaximumPaths: 1, Networks: []netip.Prefix{s.network},
		Peers: []bgp.Peer{{
			Name: other.tenant, LocalAddress: s.address, Address: other.address, ASN: other.asn, IPv4: true,
			HoldTime: 90 * time.Second, KeepaliveInterval: 30 * time.Second, ConnectRetry: time.Second, Hops: 1,
		}},
	}
}

// has tells whether the side's kernel has the other's network.
func (s *side) has(w *world, other *side) bool {
	h, err := s.ns.Netlink()
	if err != nil {
		w.Fatal(err)
	}
	defer h.Close()
	return slices.ContainsFunc(w.routes(h), func(r netlink.Route) bool {
		return r.Type == unix.RTN_UNICAST && r.Dst != nil && r.Dst.String() == other.network.String()
	})
}

func TestSessionsAndRoutesLiveOnWhileManagersComeAndGo(t *testing.T) {
	w := newWorld(t)
	both := sides(w)
	first := w.manager()
	for i, s := range both {
		w.set(first, s.ns, s.tenant, s.config(both[1-i]))
	}
	testenv.Eventually(t, "both kernels have the other's network", func() bool {
		return both[0].has(w, both[1]) && both[1].has(w, both[0])
	})
	pids := [2]int{w.pid(first, both[0].tenant), w.pid(first, both[1].tenant)}
	before := w.peer(first, both[0].tenant)
	w.check(first.Close())

	m := w.manager()
	for i, s := range both {
		w.set(m, s.ns, s.tenant, s.config(both[1-i]))
		if pid := w.pid(m, s.tenant); pid != pids[i] {
			t.Errorf("%s: process %d was exchanged for %d", s.tenant, pids[i], pid)
		}
	}
	if now := w.peer(m, both[0].tenant); now.State != bgp.Established || now.Flaps != before.Flaps || !now.Since.Equal(before.Since) {
		t.Errorf("the session was %+v, and is %+v", before, now)
	}

	w.kill(pids[0], syscall.SIGKILL)
	testenv.Eventually(t, "the session and its routes are back by another process", func() bool {
		status, err := m.Status(t.Context(), both[0].tenant)
		return err == nil && status.PID != pids[0] && both[0].has(w, both[1]) && both[1].has(w, both[0])
	})
	if pid := w.pid(m, both[1].tenant); pid != pids[1] {
		t.Errorf("the other tenant's process %d was exchanged for %d", pids[1], pid)
	}

	w.set(m, both[0].ns, both[0].tenant, nil)
	if both[0].has(w, both[1]) {
		t.Error("the speaker is gone, and its routes are not")
	}
	testenv.Eventually(t, "the peer has withdrawn what it had of it", func() bool { return !both[1].has(w, both[0]) })
}

func TestASpeakerOutlivesTheReaderOfItsLog(t *testing.T) {
	w := newWorld(t)
	both := sides(w)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	daemon := w.startLogging(both[0].ns, writer, "daemon", w.dir, both[0].tenant)
	w.check(writer.Close())
	w.kill(daemon.Process.Pid, syscall.SIGKILL)
	_ = daemon.Wait()
	w.check(reader.Close())

	m := w.manager()
	pid := w.pid(m, both[0].tenant)
	// This makes it log.
	w.set(m, both[0].ns, both[0].tenant, both[0].config(both[1]))
	w.set(m, both[1].ns, both[1].tenant, both[1].config(both[0]))
	testenv.Eventually(t, "the session is up", func() bool { return both[0].has(w, both[1]) })
	if now := w.pid(m, both[0].tenant); now != pid {
		t.Errorf("process %d was exchanged for %d", pid, now)
	}
}
