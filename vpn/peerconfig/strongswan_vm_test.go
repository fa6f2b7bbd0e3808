//go:build vm

package peerconfig_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"bulkhead/internal/testenv"
	"bulkhead/lab"
	"bulkhead/lab/pki"
	"bulkhead/vpn"
	"bulkhead/vpn/peerconfig"
)

const key = `it's "quoted" \ # and more`

// ends are a gateway with one tunnel's interface, and a site without anything, on a link.
type ends struct {
	gateway, site *lab.Node
	manager       *vpn.Manager
	charon        string // folder of the site's charon
	socket        string // of that charon
}

func newEnds(t *testing.T) ends {
	t.Helper()
	e := ends{
		gateway: &lab.Node{Name: "gateway", NS: testenv.Namespace(t)},
		site:    &lab.Node{Name: "site", NS: testenv.Namespace(t)}, charon: t.TempDir(),
	}
	h, err := e.gateway.NS.Netlink()
	must(t, err)
	defer h.Close()
	must(t, h.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "wan"}, PeerName: "wan", PeerNamespace: netlink.NsFd(e.site.NS.Fd()),
	}))
	for _, command := range []string{
		"ip link set lo up", "ip link set wan up", "ip addr add 131.107.10.10/24 dev wan", "ip addr add 10.0.0.1/32 dev lo",
		"ip route add 59.10.10.0/24 dev wan",
		"ip link add IfCe1 type xfrm if_id 101", "ip link set IfCe1 mtu 1400 up", "ip route add 10.1.0.0/24 dev IfCe1",
	} {
		run(t, e.gateway, command)
	}
	for _, command := range []string{
		"ip link set lo up", "ip link set wan up", "ip addr add 59.10.10.10/24 dev wan", "ip addr add 10.1.0.1/32 dev lo",
		"ip route add 131.107.10.0/24 dev wan",
	} {
		run(t, e.site, command)
	}
	gateway, err := lab.StartCharon(t.Context(), e.gateway, t.TempDir())
	must(t, err)
	t.Cleanup(func() { _ = gateway.Stop() })
	site, err := lab.StartCharon(t.Context(), e.site, e.charon)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the site's charon:\n%s\nthe gateway's:\n%s", site.LogTail(40), gateway.LogTail(40))
		}
		_ = site.Stop()
	})
	e.socket = site.Socket
	e.manager = manager(t, gateway.Socket)
	return e
}

func manager(t *testing.T, socket string) *vpn.Manager {
	t.Helper()
	m := vpn.New(vpn.Options{Socket: socket, OnEvent: func(vpn.Event) {}, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = m.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-m.Ready()
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, n *lab.Node, command string) {
	t.Helper()
	words := strings.Fields(command)
	if out, err := n.Run(t.Context(), words[0], words[1:]...); err != nil {
		t.Fatalf("%s: %s: %v\n%s", n.Name, command, err, out)
	}
}

// follow does what the text tells a person to do: it saves the file and runs the commands.
func (e ends) follow(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(e.charon, "IfCe1.conf")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	followed := 0
	for line := range strings.Lines(text) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "#   ")
		if !ok {
			continue
		}
		followed++
		if strings.HasPrefix(command, "swanctl") {
			// The lab's charons run side by side, so that each has a socket and a folder of its own.
			command = fmt.Sprintf("env SWANCTL_DIR=%s %s --file %s --uri unix://%s", e.charon, command, file, e.socket)
		}
		run(t, e.site, command)
	}
	if followed < 4 {
		t.Fatalf("the text has %d commands:\n%s", followed, text)
	}
}

// reach sends a packet from the site, which dials.
func (e ends) reach(t *testing.T) {
	t.Helper()
	testenv.Eventually(t, "the site reaches the network behind the gateway", func() bool {
		_, err := e.site.Run(t.Context(), "ping", "-c", "1", "-W", "1", "-I", "10.1.0.1", "10.0.0.1")
		return err == nil
	})
}

func wanted() vpn.Interface {
	return vpn.Interface{
		Name: "IfCe1", IfID: 101, LocalAddress: netip.MustParseAddr("131.107.10.10"),
		PeerAddress: netip.MustParseAddr("59.10.10.10"), PSK: vpn.Secret(key), Policy: newYork().Policy, Initiate: vpn.Never,
	}
}

func TestASiteThatFollowsTheTextForStrongSwanConnects(t *testing.T) {
	e := newEnds(t)
	must(t, e.manager.Set(t.Context(), "Contoso", []vpn.Interface{wanted()}))
	p := newYork()
	p.Secret = vpn.Secret(key)
	text, err := peerconfig.Render("strongswan", p)
	must(t, err)
	e.follow(t, text)
	e.reach(t)
}

func TestASiteWithACertificateThatFollowsTheTextConnects(t *testing.T) {
	e := newEnds(t)
	ca, err := pki.NewAuthority("Fabrikam CA")
	must(t, err)
	gateway, err := ca.Issue(pki.Request{CommonName: "gw.fabrikam.example", Names: []string{"gw.fabrikam.example"}})
	must(t, err)
	gatewayKey, err := gateway.KeyPEM()
	must(t, err)
	site, err := ca.Issue(pki.Request{CommonName: "ContosoNY"})
	must(t, err)
	siteKey, err := site.KeyPEM()
	must(t, err)
	must(t, e.manager.SetCredentials(t.Context(), vpn.Credentials{
		Certificate: [][]byte{gateway.Raw}, PrivateKey: vpn.Secret(gatewayKey), Authorities: [][]byte{ca.Raw},
	}))
	i := wanted()
	i.Method, i.PSK, i.RemoteID, i.Authorities = vpn.Certificate, nil, "ContosoNY", [][]byte{ca.Raw}
	i.LocalID = "gw.fabrikam.example"
	must(t, e.manager.Set(t.Context(), "Contoso", []vpn.Interface{i}))

	for path, content := range map[string][]byte{
		"x509ca/fabrikam.der": ca.Raw, "x509/IfCe1.pem": []byte(site.PEM()), "private/IfCe1.pem": []byte(siteKey),
	} {
		path = filepath.Join(e.charon, path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, content, 0o600))
	}
	p := newYork()
	p.Method, p.SiteID, p.GatewayID = vpn.Certificate, "ContosoNY", i.LocalID
	text, err := peerconfig.Render("strongswan", p)
	must(t, err)
	e.follow(t, text)
	e.reach(t)
}
