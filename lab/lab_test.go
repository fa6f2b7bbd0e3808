package lab_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"bulkhead/internal/testenv"
	"bulkhead/lab"
	"bulkhead/lab/hnv"
	"bulkhead/lab/ipflow"
)

// newLab is a lab that goes with the test.
func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	testenv.Root(t)
	l, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// within is a context for what must fail, or succeed, soon.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestVMsOfATenantReachEachOtherOverNVGREAndNotTheOtherTenants(t *testing.T) {
	l := newLab(t)
	for _, tenant := range []string{"Contoso", "Woodgrove"} {
		if _, err := l.VM(tenant, "10.0.0.100").Serve(lab.TCP, 80, tenant); err != nil {
			t.Fatal(err)
		}
	}
	for _, tenant := range []string{"Contoso", "Woodgrove"} {
		vm := l.VM(tenant, "10.0.0.10")
		if _, err := vm.Ping(t.Context(), addr("10.0.0.100")); err != nil {
			t.Error(err)
		}
		reply, err := vm.Fetch(t.Context(), lab.TCP, netip.MustParseAddrPort("10.0.0.100:80"))
		if err != nil {
			t.Error(err)
		} else if reply.Content != tenant || reply.Client != reply.Local {
			t.Errorf("%s reached %+v", tenant, reply)
		}
	}
	for _, o := range l.Host("Host33").Observations() {
		if o.Dropped != "" || o.VSID != 5001 && o.VSID != 5002 {
			t.Errorf("Host33 saw %v", o)
		}
	}
}

func TestDistributedRouterAnswersForItselfAndSendsTheRestToTheGatewaysVSID(t *testing.T) {
	l := newLab(t)
	vm, host := l.VM("Woodgrove", "10.0.0.10"), l.Host("Host22")
	for _, router := range []string{"10.0.0.1", "10.0.254.1"} {
		if _, err := vm.Ping(t.Context(), addr(router)); err != nil {
			t.Error(err)
		}
	}
	if sent := host.Observations(); len(sent) != 0 {
		t.Errorf("pings of the router left the host: %v", sent)
	}
	// The gateway's kernel gets the provider address, which is all that the hosts need to find it by ARP.
	gatewayHasPA(t, l)
	if _, err := vm.Ping(within(t, time.Second), addr("8.8.8.8")); err == nil {
		t.Error("somebody answered for 8.8.8.8")
	}
	o, err := host.Await(within(t, time.Second), func(o hnv.Observation) bool { return o.Sent })
	if err != nil {
		t.Fatal(err)
	}
	if o.VSID != 6002 || o.Destination != lab.GatewayPA || !strings.Contains(o.Inner, "10.0.0.10 > 8.8.8.8 ICMP") {
		t.Errorf("sent %v, want VSID 6002 to %v", o, lab.GatewayPA)
	}
	if _, err := vm.Ping(within(t, 300*time.Millisecond), addr("10.0.254.77")); err == nil {
		t.Error("somebody answered for a CA without a record")
	}
	if host.Drops()[hnv.DropNoRecord] == 0 {
		t.Errorf("drops: %v, want no-record", host.Drops())
	}
}

// gatewayHasPA puts the provider address on backend0, as the daemon does.
func gatewayHasPA(t *testing.T, l *lab.Lab) {
	t.Helper()
	if _, err := l.Gateway().Run(t.Context(), "ip", "addr", "add", "192.168.0.11/24", "dev", "backend0"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Gateway().Run(t.Context(), "ip", "link", "set", "backend0", "up"); err != nil {
		t.Fatal(err)
	}
}

func TestFramesMadeByHandAreDroppedByTheirNamedReason(t *testing.T) {
	l := newLab(t)
	from, to := l.Host("Host22"), l.Host("Host33")
	good := hnv.EchoRequest(lab.VMMAC, lab.VM2MAC, addr("10.0.0.10"), addr("10.0.0.100"), 1, 1)
	for _, c := range []struct {
		want   hnv.Drop
		change func(*hnv.Packet)
	}{
		{"", func(*hnv.Packet) {}},
		{hnv.DropUnknownVSID, func(p *hnv.Packet) { p.VSID = 7777 }},
		{hnv.DropUnknownSource, func(p *hnv.Packet) { p.Source = addr("192.168.0.44") }},
		{hnv.DropVLAN, func(p *hnv.Packet) { p.Inner = hnv.Tag(p.Inner, 5) }},
		{hnv.DropBadGRE, func(p *hnv.Packet) { p.Flags = 0xa000 }},
		{hnv.DropBadGRE, func(p *hnv.Packet) { p.Protocol = 0x0800 }},
		{hnv.DropNoVM, func(p *hnv.Packet) { copy(p.Inner, lab.GatewayMAC) }},
		{hnv.DropBadInner, func(p *hnv.Packet) { p.Inner = p.Inner[:9] }},
	} {
		before := to.Drops()[c.want]
		to.Forget()
		p := from.Packet(to.PA(), 5001, append([]byte(nil), good...))
		c.change(&p)
		if err := from.Send(p); err != nil {
			t.Fatal(err)
		}
		o, err := to.Await(within(t, 2*time.Second), func(o hnv.Observation) bool { return !o.Sent })
		if err != nil {
			t.Errorf("%s: %v", c.want, err)
			continue
		}
		if o.Dropped != c.want || c.want != "" && to.Drops()[c.want] != before+1 {
			t.Errorf("received %v; drops %v; want %q", o, to.Drops(), c.want)
		}
	}
}

func TestInternetRoutesBetweenItsNetworksAndServersNameTheirClients(t *testing.T) {
	l := newLab(t)
	for _, protocol := range []string{lab.UDP, lab.HTTP} {
		server, err := l.Web().Serve(protocol, 80, "web")
		if err != nil {
			t.Fatal(err)
		}
		reply, err := l.Client().Fetch(t.Context(), protocol, netip.AddrPortFrom(lab.WebAddress, 80))
		if err != nil {
			t.Error(err)
		} else if reply.Content != "web" || reply.Client.Addr() != lab.ClientAddress || reply.Client != reply.Local {
			t.Errorf("%s: %+v", protocol, reply)
		}
		if clients := server.Clients(); len(clients) == 0 || clients[0].Addr() != lab.ClientAddress {
			t.Errorf("%s: the server saw %v", protocol, clients)
		}
	}
	for _, site := range []string{"NY-Contoso", "NY-Woodgrove", "SFO-Woodgrove"} {
		s := l.Site(site)
		if _, err := s.Router.Ping(t.Context(), lab.WebAddress); err != nil {
			t.Error(err)
		}
		if _, err := s.Host.Ping(t.Context(), s.LAN.Addr()); err != nil {
			t.Error(err)
		}
		_, err := s.Host.Ping(within(t, time.Second), addr("10.0.0.10"))
		var refused *lab.Unreachable
		if !errors.As(err, &refused) || refused.From != s.LAN.Addr() {
			t.Errorf("a site without a tunnel did not refuse the virtual network: %v", err)
		}
	}
}

func TestCaptureSeesForgedPacketsAtTheGatewaysExternalNIC(t *testing.T) {
	l := newLab(t)
	if _, err := l.Gateway().Run(t.Context(), "ip", "addr", "add", "131.107.10.10/24", "dev", "If2"); err != nil {
		t.Fatal(err)
	}
	capture, err := l.CaptureExternal()
	if err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 28)
	packet[0], packet[8], packet[9] = 0x45, 64, ipflow.UDP
	binary.BigEndian.PutUint16(packet[2:], 28)
	copy(packet[12:], addr("10.9.9.9").AsSlice())
	copy(packet[16:], lab.GatewayAddress.AsSlice())
	binary.BigEndian.PutUint16(packet[24:], 8)
	if err := l.Client().SendIP(packet); err != nil {
		t.Fatal(err)
	}
	if _, err := capture.Await(within(t, 3*time.Second), func(f ipflow.Flow) bool {
		return f.Source == addr("10.9.9.9") && f.Destination == lab.GatewayAddress
	}); err != nil {
		t.Errorf("%v; seen: %v", err, capture.Packets())
	}
}

func TestFlowCountsEveryPacketAndWhatGoesMissing(t *testing.T) {
	l := newLab(t)
	if err := l.VM("Contoso", "10.0.0.100").ServeEcho(7); err != nil {
		t.Fatal(err)
	}
	vm := l.VM("Contoso", "10.0.0.10")
	flow, err := vm.StartFlow(t.Context(), netip.MustParseAddrPort("10.0.0.100:7"), 200)
	if err != nil {
		t.Fatal(err)
	}
	if err := flow.AwaitReplies(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	if r := flow.Stop(); r.Lost != 0 || r.Sent < 100 || r.Received != r.Sent || r.Duplicates != 0 {
		t.Errorf("undisturbed: %+v", r)
	}

	flow, err = vm.StartFlow(t.Context(), netip.MustParseAddrPort("10.0.0.100:7"), 200)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vm.Run(t.Context(), "ip", "route", "add", "blackhole", "10.0.0.100/32"); err != nil {
		t.Fatal(err)
	}
	deadline := within(t, 5*time.Second)
	for flow.Result().Refused < 10 && deadline.Err() == nil {
		if _, err := vm.Run(t.Context(), "true"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := vm.Run(t.Context(), "ip", "route", "del", "blackhole", "10.0.0.100/32"); err != nil {
		t.Fatal(err)
	}
	if err := flow.AwaitReplies(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	r := flow.Stop()
	if r.Lost < 10 || r.Lost+r.Received != r.Sent || r.FirstLost.IsZero() || r.LongestGap < 40*time.Millisecond {
		t.Errorf("with a hole of ten packets: %+v", r)
	}
}

func TestConfigDirIsTheContractVerbatim(t *testing.T) {
	dir := t.TempDir() + "/config"
	if err := lab.ConfigDir(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gateway.yaml", "contoso.yaml", "woodgrove.yaml"} {
		want, err := os.ReadFile("../configs/fabrikam/" + name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s differs:\n%s", name, got)
		}
	}
}

func TestLabsStandSideBySideAndLeaveNothingBehind(t *testing.T) {
	a, b := newLab(t), newLab(t)
	dir := a.Dir()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	if _, err := b.VM("Contoso", "10.0.0.10").Ping(t.Context(), addr("10.0.0.100")); err != nil {
		t.Error(err)
	}
}

func TestPinnedNamespacesGoWithTheLab(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	l, err := lab.New(lab.Options{NamespaceDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/GW-VM"); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
