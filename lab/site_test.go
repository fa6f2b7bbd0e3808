package lab_test

import (
	"net/netip"
	"testing"
	"time"

	"bulkhead/lab"
)

func addSite(t *testing.T, l *lab.Lab, o lab.SiteOptions) *lab.Site {
	t.Helper()
	o.LAN, o.HostAddress = netip.MustParsePrefix("10.5.0.1/24"), addr("10.5.0.5")
	s, err := l.AddSite(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASiteBehindNATIsSeenByTheAddressOfItsNATDevice(t *testing.T) {
	l := newLab(t)
	s := addSite(t, l, lab.SiteOptions{
		Name: "Home", Address: addr("59.10.10.33"), Behind: netip.MustParsePrefix("192.168.1.50/24"),
	})
	if _, err := l.Web().Serve(lab.UDP, 80, "web"); err != nil {
		t.Fatal(err)
	}
	reply, err := s.Router.Fetch(t.Context(), lab.UDP, netip.AddrPortFrom(lab.WebAddress, 80))
	if err != nil {
		t.Fatal(err)
	}
	if reply.Client.Addr() != s.Address || s.Local() != addr("192.168.1.50") {
		t.Errorf("the server saw %v, of %v", reply.Client, s.Local())
	}
}

func TestASiteMayHaveIPv6OutsideAndInside(t *testing.T) {
	l := newLab(t)
	s := addSite(t, l, lab.SiteOptions{
		Name: "Six", Address: addr("2001:db8:59::6"), LAN6: netip.MustParsePrefix("fd00:5::1/64"),
	})
	if s.Gateway() != lab.GatewayAddress6 {
		t.Errorf("it dials %v", s.Gateway())
	}
	if _, err := s.Router.Ping(t.Context(), addr("2001:db8:131::1")); err != nil {
		t.Error(err)
	}
	if _, err := s.Host.Ping(t.Context(), s.LAN6.Addr()); err != nil {
		t.Error(err)
	}
}

func TestASiteThatIsCutOffComesBackWhenMended(t *testing.T) {
	l := newLab(t)
	ny, sfo := l.Site("NY-Woodgrove"), l.Site("SFO-Woodgrove")
	if err := l.Join(ny, sfo); err != nil {
		t.Fatal(err)
	}
	if err := ny.Cut(); err != nil {
		t.Fatal(err)
	}
	if _, err := ny.Router.Ping(within(t, time.Second), lab.WebAddress); err == nil {
		t.Error("the Internet answers a site that was cut off")
	}
	if _, err := sfo.Host.Ping(t.Context(), ny.HostAddress); err != nil {
		t.Errorf("the sites' own link: %v", err)
	}
	if err := ny.Mend(); err != nil {
		t.Fatal(err)
	}
	if _, err := ny.Router.Ping(t.Context(), lab.WebAddress); err != nil {
		t.Error(err)
	}
}

func TestASinkCountsWhatLoadsSend(t *testing.T) {
	l := newLab(t)
	sink, err := l.Web().ServeSink(9)
	if err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(lab.WebAddress, 9)
	push, err := l.Client().Push(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Await(t.Context(), 1<<20); err != nil {
		t.Error(err)
	}
	if sent := push.Stop(); sent < 1<<20 {
		t.Errorf("the sender counts %d bytes", sent)
	}
	// Another one: what was pushed may still be on its way to the first.
	dry, err := l.Web().ServeSink(10)
	if err != nil {
		t.Fatal(err)
	}
	flood, err := l.Client().Flood(t.Context(), netip.AddrPortFrom(lab.WebAddress, 10), 8000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dry.Await(t.Context(), 100_000); err != nil {
		t.Error(err)
	}
	if sent := flood.Stop(); sent < 100_000 {
		t.Errorf("the sender counts %d bytes", sent)
	}
}
