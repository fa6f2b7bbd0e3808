package vpn

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"bulkhead/internal/testenv"
)

// silentName is a name that gets no answer.
const silentName = "silent.woodgrove.example"

// nameServer answers questions for addresses as it is told to.
type nameServer struct {
	t     *testing.T
	mu    sync.Mutex
	names map[string]netip.Addr
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	return &nameServer{t: t, names: map[string]netip.Addr{}}
}

func (s *nameServer) point(name, addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name+"."] = netip.MustParseAddr(addr)
}

func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go s.serve(there)
		return here, nil
	}}
}

// serve speaks DNS as over TCP (RFC 1035 section 4.2.2): the resolver does so on what is no packet socket.
func (s *nameServer) serve(conn net.Conn) {
	defer conn.Close()
	for {
		size := make([]byte, 2)
		if _, err := io.ReadFull(conn, size); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint16(size))
		if _, err := io.ReadFull(conn, packet); err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(packet); err != nil {
			s.t.Error(err)
			return
		}
		s.answer(&m)
		out, err := m.Pack()
		if err != nil {
			s.t.Error(err)
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
			return
		}
	}
}

func (s *nameServer) answer(m *dnsmessage.Message) {
	if m.Questions[0].Name.String() == silentName+"." {
		<-s.t.Context().Done()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeSuccess, nil
	question := m.Questions[0]
	addr, known := s.names[question.Name.String()]
	switch {
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	case addr.Is4() && question.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: addr.As4()},
		}}
	}
}

// remotes are the addresses at which charon was told that an interface's peer is.
func (f *fakeCharon) remotes(name string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.conns[name]
	if m == nil {
		return nil
	}
	return texts(section(m, name), "remote_addrs")
}

// resolving runs a Manager that asks the name server, with certificates.
func resolving(t *testing.T, f *fakeCharon, names *nameServer) (*Manager, *testCertificates) {
	t.Helper()
	f.start()
	m := New(Options{
		Socket: f.socket, Resolver: names.resolver(), Settings: filepath.Join(t.TempDir(), "charon.conf"),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	<-m.Ready()
	c := newTestCertificates(t)
	if err := m.SetCredentials(t.Context(), c.gateway); err != nil {
		t.Fatal(err)
	}
	return m, c
}

func TestAPeersNameIsLookedUpAgainAndItsTunnelStays(t *testing.T) {
	f, names := newFake(t), newNameServer(t)
	m, c := resolving(t, f, names)
	i := c.iface("IfCe1", 1, func(i *Interface) {
		i.PeerAddress, i.PeerHost, i.Initiate = netip.Addr{}, "ny.contoso.example", OnDemand
	})
	mustSet(t, m, "Contoso", i)
	if got := f.remotes("Contoso/IfCe1"); !slices.Equal(got, []string{"%any"}) {
		t.Errorf("before the name is known, the peer may be at %q", got)
	}
	testenv.Eventually(t, "the reason", func() bool {
		tunnels, err := m.Tunnels(t.Context())
		return err == nil && len(tunnels) == 1 && tunnels[0].LastError != ""
	})
	if state := m.States("Contoso")["IfCe1"]; state != Unreachable {
		t.Errorf("without an address the peer is %s, want unreachable", state)
	}
	for _, addr := range []string{"59.10.10.10", "59.10.10.11"} {
		names.point("ny.contoso.example", addr)
		poke(m.auth.newHost)
		testenv.Eventually(t, "the address "+addr, func() bool {
			return slices.Equal(f.remotes("Contoso/IfCe1"), []string{addr, "%any"})
		})
	}
	if did := f.did(); slices.ContainsFunc(did, func(c string) bool { return c[:4] == "term" }) {
		t.Errorf("charon was told %q", did)
	}
}

func TestANameWithoutAnAnswerKeepsNoOtherWaiting(t *testing.T) {
	f, names := newFake(t), newNameServer(t)
	names.point("ny.contoso.example", "59.10.10.10")
	m, c := resolving(t, f, names)
	at := func(iface string, ifID int, name string) Interface {
		return c.iface(iface, ifID, func(i *Interface) {
			i.PeerAddress, i.PeerHost, i.Initiate = netip.Addr{}, name, OnDemand
		})
	}
	mustSet(t, m, "Woodgrove", at("IfWe1", 1, silentName))
	mustSet(t, m, "Contoso", at("IfCe1", 2, "ny.contoso.example"))
	testenv.Eventually(t, "the address", func() bool {
		return slices.Equal(f.remotes("Contoso/IfCe1"), []string{"59.10.10.10", "%any"})
	})
	if states := m.States("Woodgrove"); states["IfWe1"] != Disconnected {
		t.Errorf("the name without an answer was waited for: %v", states)
	}
}
