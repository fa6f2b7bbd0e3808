package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"bulkhead/bgp/speaker/speakertest"
	"bulkhead/configs"
	"bulkhead/dataplane"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// TestMain gives the tests a machine's network of their own: the Default compartment is the process's namespace.
func TestMain(m *testing.M) {
	speakertest.Main()
	testenv.Isolated(m)
}

// machine is a gateway's machine: the namespace of the process with two NICs, whose cables end in another one.
type machine struct {
	runDir string
	def    *netns.Namespace
	wire   *netns.Namespace
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	testenv.Root(t)
	def, err := netns.Current()
	must(t, err)
	m := &machine{runDir: t.TempDir(), def: def, wire: testenv.Namespace(t)}
	t.Cleanup(func() {
		for _, nic := range []string{"backend0", "If2"} {
			m.removeLink(t, nic)
		}
		def.Close()
	})
	m.addNIC(t, "backend0")
	m.addNIC(t, "If2")
	t.Cleanup(func() {
		// What a gateway leaves is meant to outlive it: nothing of it may meet the next test.
		d := m.open(t)
		must(t, d.take(context.Background(), declare(t)))
		d.stop()
		doors, err := dataplane.Open(filepath.Join(m.runDir, "bpf"))
		must(t, err)
		must(t, doors.Destroy())
	})
	return m
}

func (m *machine) addNIC(t testing.TB, name string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerNamespace = name, netlink.NsFd(m.wire.Fd())
	must(t, netlink.LinkAdd(v))
	far, err := m.wire.Netlink()
	must(t, err)
	defer far.Close()
	peer, err := far.LinkByName(name)
	must(t, err)
	must(t, far.LinkSetUp(peer))
}

// removeLink removes a link of the Default compartment, if it is there.
func (m *machine) removeLink(t testing.TB, name string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return
	}
	must(t, err)
	must(t, netlink.LinkDel(link))
}

// daemon is a gateway that runs, as in `bulkhead daemon`; no charon answers.
type daemon struct {
	*Gateway
	stop func()
}

// open starts a daemon, which ends with the test at the latest.
func (m *machine) open(t testing.TB) *daemon {
	t.Helper()
	g, err := Open(Options{
		RunDir: m.runDir, CharonSocket: filepath.Join(m.runDir, "no charon"),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	d := &daemon{Gateway: g}
	stopped := false
	d.stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := errors.Join(<-ended, g.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(d.stop)
	return d
}

// tenant is a tenant of a test. All are alike but for what is named here.
type tenant struct {
	name   string
	rdid   int
	vsid   int
	public string
	link   string // IfCi1 where empty
}

var (
	contoso   = tenant{name: "Contoso", rdid: 1, vsid: 6001, public: "131.107.10.12"}
	woodgrove = tenant{name: "Woodgrove", rdid: 2, vsid: 6002, public: "131.107.10.13"}
)

const gatewayYAML = `apiVersion: bulkhead/v1
kind: Gateway
metadata: {name: GW}
spec:
  backend: {interface: backend0, mtu: 1600, providerAddresses: [{address: 192.168.0.11/24}]}
  external:
    interface: If2
    addresses: [{address: 131.107.10.10/24}]
    natAddresses: [131.107.10.11-131.107.10.20]
    defaultGateways: [131.107.10.1]
`

func (n tenant) yaml() string {
	if n.link == "" {
		n.link = "IfCi1"
	}
	return fmt.Sprintf(`apiVersion: bulkhead/v1
kind: Tenant
metadata: {name: %s}
spec:
  routingDomainId: 12345678-1000-2000-3000-%012d
  virtualSubnets: [{vsid: %d, prefix: 10.0.0.0/24}, {vsid: %d, prefix: 10.0.254.0/24}]
  internalInterfaces: [{name: %s, vsid: %d, addresses: [10.0.254.2/24], macAddress: "60:01:60:01:03:01"}]
  lookupRecords:
    - {customerAddress: 10.0.0.10, vsid: %d, macAddress: "60:00:60:00:01:01", providerAddress: 192.168.0.22}
  nat: {externalAddresses: [{address: %s}]}
`, n.name, n.rdid, n.vsid-1000, n.vsid, n.link, n.vsid, n.vsid-1000, n.public)
}

// declare is the declaration of the Fabrikam gateway with these tenants.
func declare(t testing.TB, tenants ...tenant) *configs.Config {
	t.Helper()
	return declareOn(t, gatewayYAML, tenants...)
}

func declareOn(t testing.TB, gateway string, tenants ...tenant) *configs.Config {
	t.Helper()
	documents := []string{gateway}
	for _, n := range tenants {
		documents = append(documents, n.yaml())
	}
	path := filepath.Join(t.TempDir(), "all.yaml")
	must(t, os.WriteFile(path, []byte(strings.Join(documents, "---\n")), 0o600))
	cfg, err := configs.Load(path)
	must(t, err)
	return cfg
}

// folder is a folder with the declaration of the Fabrikam gateway and these documents.
func folder(t testing.TB, documents ...string) string {
	t.Helper()
	dir := t.TempDir()
	text := strings.Join(append([]string{gatewayYAML}, documents...), "---\n")
	must(t, os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(text), 0o600))
	return dir
}

// takeFolder makes the daemon take up a folder as it stands.
func (d *daemon) takeFolder(ctx context.Context, dir string) error {
	return d.Apply(ctx, dir, func() (*configs.Config, error) { return configs.Load(dir) })
}

// compartment opens a tenant's namespace until the test ends.
func (d *daemon) compartment(t *testing.T, name string) *netns.Namespace {
	t.Helper()
	ns, err := d.compartments.Open(name)
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	return ns
}

// wantApplied checks that these tenants are as declared, that no others are left, and where their internal interfaces
// lead to by the kernel.
func (d *daemon) wantApplied(t *testing.T, tenants ...tenant) {
	t.Helper()
	rows, err := d.Compartments(t.Context())
	must(t, err)
	if len(rows) != len(tenants) {
		t.Fatalf("compartments are %+v, want %d", rows, len(tenants))
	}
	for i, n := range tenants {
		if rows[i].Tenant != n.name || rows[i].State != "applied" || rows[i].Error != "" {
			t.Errorf("%s: %+v", n.name, rows[i])
		}
		state, err := d.state(t.Context(), n.name)
		must(t, err)
		var peers []string
		for _, l := range state.Links {
			peers = append(peers, l.Peer)
		}
		slices.Sort(peers) // that of loopback is empty
		got, want := strings.Join(peers, " "), " "+internalPeer(uint32(n.vsid))+" "+externalPeer(rdidOf(n))
		if got != want {
			t.Errorf("%s: the links lead to %q, want %q", n.name, got, want)
		}
	}
	known, err := d.doors.Tenants()
	must(t, err)
	if len(known) != len(tenants) {
		t.Errorf("the doors know %v", known)
	}
	for _, n := range tenants {
		if known[rdidOf(n)] != n.name {
			t.Errorf("the doors know %v, want %s among them", known, n.name)
		}
		records, err := d.doors.Records(rdidOf(n))
		must(t, err)
		if len(records) != 1 || records[0].VSID != uint32(n.vsid-1000) {
			t.Errorf("%s: lookup records %+v", n.name, records)
		}
	}
}

// take makes the daemon take up a declaration.
func (d *daemon) take(ctx context.Context, cfg *configs.Config) error {
	return d.Apply(ctx, "", func() (*configs.Config, error) { return cfg, nil })
}

func (d *daemon) apply(t *testing.T, tenants ...tenant) {
	t.Helper()
	must(t, d.take(t.Context(), declare(t, tenants...)))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
