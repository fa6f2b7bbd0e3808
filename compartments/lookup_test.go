package compartments_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/compartments"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

func lookup(t *testing.T, g gateway, ns *netns.Namespace, p compartments.Packet) compartments.Way {
	t.Helper()
	way, err := g.Lookup(ns, p)
	must(t, err)
	return way
}

// awaitLocal waits for the local route of an IPv6 address, which the kernel makes a moment after the address.
func awaitLocal(t *testing.T, g gateway, ns *netns.Namespace, p compartments.Packet) {
	t.Helper()
	testenv.Eventually(t, p.To.String()+" is local", func() bool { return lookup(t, g, ns, p).Local })
}

func TestLookupIsWhatTheKernelDoes(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	g.set(t, ns, contoso(t))
	awaitLocal(t, g, ns, compartments.Packet{From: addr("2001:db8::10"), To: addr("2001:db8:fe::2"), Link: "IfCi1"})
	for _, c := range []struct{ from, link, to, want string }{
		{"10.0.0.10", "IfCi1", "8.8.8.8", "ext by 0.0.0.0/0"},
		{"10.0.0.10", "IfCi1", "10.0.254.2", "local"},
		{"10.0.0.10", "IfCi1", "10.2.0.9", "IfCi1 via 10.9.9.9 by 10.2.0.0/24"},
		{"10.0.0.10", "IfCi1", "10.1.0.5", "unreachable answered by 10.1.0.0/24"},
		{"10.0.254.2", "", "10.1.0.5", "unreachable answered by 10.1.0.0/24"},
		{"10.0.254.2", "", "10.0.0.10", "IfCi1 by 10.0.0.0/24"},
		{"10.0.254.2", "", "10.4.0.1", "IfCi1 via 10.0.254.9 by 10.4.0.0/24"},
		{"10.0.254.2", "IfCi1", "8.8.8.8", "no packet that can arrive"},
		{"2001:db8::10", "IfCi1", "2001:db8:9::1", "ext by ::/0"},
		{"2001:db8::10", "IfCi1", "2001:db8:1::1", "unreachable answered by 2001:db8:1::/64"},
		{"2001:db8::10", "IfCi1", "2001:db8:fe::2", "local"},
		{"2001:db8:9::1", "ext", "2001:db8::10", "IfCi1 by 2001:db8::/64"},
	} {
		way := lookup(t, g, ns, compartments.Packet{From: addr(c.from), To: addr(c.to), Link: c.link})
		if got := describeWay(way); !strings.HasPrefix(got, c.want) {
			t.Errorf("from %s on %q to %s: %s, want %s", c.from, c.link, c.to, got, c.want)
		}
	}
	// What the kernel says of a packet that is really sent.
	err := ns.Do(func() error {
		c, err := net.Dial("udp4", "10.1.0.5:9")
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("a packet to the unreachable prefix: %v", err)
	}
}

func describeWay(w compartments.Way) string {
	var words []string
	if w.Local {
		words = append(words, "local")
	}
	if w.Refused != "" {
		words = append(words, w.Refused)
	}
	if w.Answered {
		words = append(words, "answered")
	}
	if w.Link != "" && !w.Local {
		words = append(words, w.Link)
	}
	if w.Via.IsValid() {
		words = append(words, "via "+w.Via.String())
	}
	if w.Route.Prefix.IsValid() && !w.Local {
		words = append(words, "by "+w.Route.Prefix.String())
	}
	return strings.Join(words, " ")
}

func TestLookupChoosesAmongEqualRoutesByFlow(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	g.set(t, ns, contoso(t))
	seen := map[string]int{}
	for port := range uint16(64) {
		p := compartments.Packet{
			From: addr("10.0.0.10"), To: addr("10.3.0.7"), Link: "IfCi1", Protocol: unix.IPPROTO_TCP,
			SourcePort: 40000 + port, DestinationPort: 443,
		}
		first, again := lookup(t, g, ns, p), lookup(t, g, ns, p)
		if first.Link != again.Link {
			t.Errorf("port %d goes by %s, then by %s", p.SourcePort, first.Link, again.Link)
		}
		seen[first.Link]++
	}
	if seen["IfCi1"] == 0 || seen["ext"] == 0 {
		t.Errorf("64 flows go by %v, want both links", seen)
	}
}

func TestLookupOnALinkThatIsNotThereIsAnError(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	_, err := g.Lookup(ns, compartments.Packet{From: addr("10.0.0.1"), To: addr("10.0.0.2"), Link: "IfCe9"})
	if err == nil || !strings.Contains(err.Error(), "IfCe9") {
		t.Errorf("error %v, want one that names the link", err)
	}
}

func TestSpoofedSaysWhatTheSourceFilterDoes(t *testing.T) {
	c := contoso(t)
	for _, s := range []struct {
		link, from string
		want       bool
	}{
		{"ext", "10.0.0.10", true}, {"ext", "10.0.254.2", true}, {"ext", "127.0.0.1", true}, {"ext", "2001:db8::1", true},
		{"ext", "8.8.8.8", false}, {"IfCi1", "10.0.0.10", false},
	} {
		if got := c.Spoofed(s.link, addr(s.from)); got != s.want {
			t.Errorf("%s on %s: %v, want %v", s.from, s.link, got, s.want)
		}
	}
}
