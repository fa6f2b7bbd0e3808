package vpn

import (
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/strongswan/govici/vici"
)

// ofAnyMethod are interfaces with everything declared, by the name of their golden.
func ofAnyMethod() map[string]complete {
	own := &identity{leaf: &x509.Certificate{Raw: []byte("the gateway's certificate")}, revocation: RevocationStrict}
	policy := Policy{
		IKEProposals: []string{"aes128-sha256-x25519"}, ESPProposals: []string{"aes256gcm16-ecp384"},
		DPD: 2500 * time.Millisecond, IKELifetime: time.Hour, ESPLifetime: time.Minute, ESPLifetimeBytes: 1e9,
		NoMOBIKE: true, NoFragmentation: true, ForceEncapsulation: true, HardwareOffload: true,
	}
	certificate := func(i *Interface) {
		i.Method, i.PSK, i.Authorities = Certificate, nil, [][]byte{[]byte("an authority"), []byte("another one")}
		i.RemoteID, i.Initiate = "NY", OnDemand
	}
	return map[string]complete{
		"on-demand": {Interface: iface("IfCe1", 10, func(i *Interface) { i.Initiate = OnDemand })},
		"never":     {Interface: iface("IfCe1", 10)},
		"all-declared": {Interface: iface("IfWe1", 100, func(i *Interface) {
			i.Initiate, i.LocalID, i.RemoteID = Always, "gw.example", "fqdn:ny.example"
			i.Policy, i.Idle = policy, 10*time.Minute
		})},
		"two-keys":            {Interface: iface("IfCe1", 10, func(i *Interface) { i.PreviousPSK = Secret("hushed") })},
		"certificate-dialled": {own: own, Interface: iface("IfCe1", 10, certificate)},
		"certificate-dialled-by-name": {own: own, resolved: netip.MustParseAddr("59.10.10.10"),
			Interface: iface("IfCe1", 10, certificate, func(i *Interface) {
				i.PeerAddress, i.PeerHost, i.RemoteID = netip.Addr{}, "ny.example", "O=Contoso, CN=NY"
			})},
		"certificate-from-anywhere": {own: own, Interface: iface("IfCe1", 10, certificate, func(i *Interface) {
			i.PeerAddress, i.Initiate, i.LocalID = netip.Addr{}, Never, "fqdn:gw.example"
		})},
	}
}

func TestMessagesToCharonAreAsTheGoldensSay(t *testing.T) {
	for name, i := range ofAnyMethod() {
		t.Run(name, func(t *testing.T) {
			got := told(t, "Contoso/"+i.Name, i)
			path := filepath.Join("testdata", "message-"+name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The goldens say so too, but can be written anew without a thought.
func TestCharonNeitherDialsNorEndsATunnelByItself(t *testing.T) {
	for name, i := range ofAnyMethod() {
		orders, err := messages("T/"+i.Name, i)
		if err != nil {
			t.Fatal(err)
		}
		for _, order := range orders.conns {
			conn := section(order.msg, order.name)
			if unique := text(conn, "unique"); unique != "never" {
				t.Errorf("%s: unique = %s: a peer that starts anew ends SAs", name, unique)
			}
			child := section(section(conn, "children"), i.Name)
			for _, action := range []string{"start_action", "close_action", "dpd_action"} {
				if value := text(child, action); value != "trap" && value != "none" {
					t.Errorf("%s: %s = %q: a reload dials or ends SAs", name, action, value)
				}
			}
		}
	}
}

// charon trusts every authority that any connection names.
func TestNoConnectionTakesACertificateWithoutSayingWhoMayVouchForIt(t *testing.T) {
	for name, i := range ofAnyMethod() {
		orders, err := messages("T/"+i.Name, i)
		if err != nil {
			t.Fatal(err)
		}
		for _, order := range orders.conns {
			remote := section(section(order.msg, order.name), "remote")
			if text(remote, "auth") == "pubkey" && len(texts(remote, "cacerts")) != len(i.Authorities) {
				t.Errorf("%s: %s is open to whom any authority vouches for", name, order.name)
			}
			if id := text(remote, "id"); id == "" || id == "%any" {
				t.Errorf("%s: %s takes any peer", name, order.name)
			}
		}
	}
}

// told is all that charon is told about an interface.
func told(t *testing.T, name string, i complete) string {
	t.Helper()
	orders, err := messages(name, i)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, conn := range orders.conns {
		b.WriteString("load-conn " + conn.msg.String())
	}
	for _, secret := range orders.secrets {
		b.WriteString("load-shared " + secret.msg.String())
	}
	return b.String()
}

// connMessage is an interface's first connection as it is told charon, and secretMessage its first secret.
func connMessage(name string, i Interface) (*vici.Message, error) {
	orders, err := messages(name, complete{Interface: i})
	if err != nil {
		return nil, err
	}
	return orders.conns[0].msg, nil
}

func secretMessage(name string, i Interface) (*vici.Message, error) {
	orders, err := messages(name, complete{Interface: i})
	if err != nil {
		return nil, err
	}
	return orders.secrets[0].msg, nil
}
