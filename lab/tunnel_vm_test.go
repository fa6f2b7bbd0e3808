//go:build vm

package lab_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strongswan/govici/vici"
	"github.com/vishvananda/netlink"

	"bulkhead/lab"
)

// plainGateway is the least that a site can dial: charon in the gateway's namespace with one connection, made here by
// other means than the daemon's.
func plainGateway(t *testing.T, l *lab.Lab, peer netip.Addr) *lab.Charon {
	t.Helper()
	gateway := l.Gateway()
	for _, args := range [][]string{
		{"addr", "replace", "131.107.10.10/24", "dev", "If2"},
		{"link", "set", "If2", "up"},
		{"route", "replace", "default", "via", "131.107.10.1"},
		{"addr", "replace", "10.0.0.99/32", "dev", "lo"},
	} {
		if _, err := gateway.Run(t.Context(), "ip", args...); err != nil {
			t.Fatal(err)
		}
	}
	charon, err := l.StartGatewayCharon(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	addTunnelLink(t, gateway)
	session, err := vici.NewSession(vici.WithSocketPath(l.GatewayCharonSocket()))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	call := func(command string, fields ...any) {
		t.Helper()
		if _, err := session.Call(within(t, 10*time.Second), command, message(t, fields...)); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	all := []string{"0.0.0.0/0"}
	call("load-conn", "gw", message(t, "version", "2", "local_addrs", []string{"131.107.10.10"}, "if_id_in", "77",
		"if_id_out", "77", "remote_addrs", []string{peer.String()},
		"local", message(t, "auth", "psk"), "remote", message(t, "auth", "psk", "id", peer.String()),
		"children", message(t, "gw", message(t, "local_ts", all, "remote_ts", all))))
	call("load-shared", "id", "gw", "type", "IKE", "data", lab.PSK, "owners", []string{"131.107.10.10", peer.String()})
	return charon
}

func addTunnelLink(t *testing.T, n *lab.Node) {
	t.Helper()
	handle, err := n.NS.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	if _, err := handle.LinkByName("t77"); err == nil {
		return
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "t77"
	if err := handle.LinkAdd(&netlink.Xfrmi{LinkAttrs: attrs, Ifid: 77}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"link", "set", "t77", "up"}, {"route", "add", "10.1.0.0/24", "dev", "t77"}} {
		if _, err := n.Run(t.Context(), "ip", args...); err != nil {
			t.Fatal(err)
		}
	}
}

// message is a vici message of keys and values in turn.
func message(t *testing.T, fields ...any) *vici.Message {
	t.Helper()
	m := vici.NewMessage()
	for i := 0; i < len(fields); i += 2 {
		if err := m.Set(fmt.Sprint(fields[i]), fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestSiteDialsCarriesTrafficAndComesBackAfterTheGatewaysCharonWasKilled(t *testing.T) {
	l := newLab(t)
	site := l.Site("NY-Contoso")
	charon := plainGateway(t, l, site.Address)
	if err := site.Start(t.Context(), lab.IKE{Key: lab.PSK}); err != nil {
		t.Fatal(err)
	}
	up := func(ctx context.Context) {
		t.Helper()
		if err := site.Up(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := site.Host.Ping(within(t, 10*time.Second), addr("10.0.0.99")); err != nil {
			t.Fatal(err)
		}
	}
	up(t.Context())
	sas, err := site.SAs(t.Context())
	if err != nil || len(sas) != 1 || len(sas[0].SPIIn) != 8 || sas[0].RemoteHost != "131.107.10.10" {
		t.Errorf("SAs: %+v, %v", sas, err)
	}
	if err := site.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := site.Host.Ping(within(t, time.Second), addr("10.0.0.99")); err == nil {
		t.Error("10.0.0.99 answered without a tunnel")
	}
	up(t.Context())
	if err := charon.Kill(); err != nil {
		t.Fatal(err)
	}
	plainGateway(t, l, site.Address)
	if err := site.Restart(t.Context(), lab.IKE{Key: lab.PSK}); err != nil {
		t.Fatal(err)
	}
	up(t.Context())
}

func TestSiteWithTheWrongKeyIsRefusedAndSaysWhy(t *testing.T) {
	l := newLab(t)
	site := l.Site("SFO-Woodgrove")
	charon := plainGateway(t, l, site.Address)
	if err := site.Start(t.Context(), lab.IKE{Key: "not the key"}); err != nil {
		t.Fatal(err)
	}
	err := site.Up(t.Context())
	if err == nil || !strings.Contains(err.Error(), "AUTH_FAILED") {
		t.Errorf("with the wrong key: %v", err)
	}
	if err == nil || strings.Contains(err.Error(), "not the key") {
		t.Errorf("the error tells the secret: %v", err)
	}
	if filepath.Base(charon.LogPath) != "charon.log" || !strings.Contains(charon.LogTail(100), "MAC mismatched") {
		t.Errorf("the gateway's charon did not log it:\n%s", charon.LogTail(100))
	}
	if err := site.Restart(t.Context(), lab.IKE{Key: lab.PSK}); err != nil {
		t.Fatal(err)
	}
	if err := site.Up(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCloseLeavesNothingOfTunnels(t *testing.T) {
	leavesNothing(t, lab.Options{NamespaceDir: "netns"}, func(l *lab.Lab) {
		plainGateway(t, l, l.Site("NY-Contoso").Address)
		for _, name := range []string{"NY-Contoso", "NY-Woodgrove", "SFO-Woodgrove"} {
			if err := l.Site(name).Start(t.Context(), lab.IKE{Key: lab.PSK}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Site("NY-Contoso").Up(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
