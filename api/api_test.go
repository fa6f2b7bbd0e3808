package api_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"bulkhead/api"
	"bulkhead/bgp/speaker/speakertest"
	"bulkhead/configs"
	"bulkhead/dataplane"
	"bulkhead/gateway"
	"bulkhead/internal/testenv"
)

// TestMain gives the tests a machine's network of their own: the Default compartment is the process's namespace.
func TestMain(m *testing.M) {
	speakertest.Main()
	testenv.Isolated(m)
}

const gatewayYAML = `apiVersion: bulkhead/v1
kind: Gateway
metadata: {name: GW}
spec:
  backend: {interface: backend0, mtu: 1600, providerAddresses: [{address: 192.168.0.11/24}]}
  external: {interface: If2, addresses: [{address: 131.107.10.10/24}]}
`

const tenantYAML = `apiVersion: bulkhead/v1
kind: Tenant
metadata: {name: Contoso}
spec:
  routingDomainId: 12345678-1000-2000-3000-000000000001
  virtualSubnets: [{vsid: 6001, prefix: 10.0.254.0/24}]
  internalInterfaces: [{name: IfCi1, vsid: 6001, addresses: [10.0.254.2/24]}]
`

// control is a control socket with its daemon's gateway behind it.
type control struct {
	server *api.Server
	*api.Client
	runDir  string
	started chan struct{}
	stop    func()
}

// serve serves a gateway on a machine with two NICs; what it makes goes with the test.
func serve(t *testing.T) *control {
	t.Helper()
	testenv.Root(t)
	for _, name := range []string{"backend0", "If2"} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		nic := &netlink.Bridge{LinkAttrs: attrs}
		must(t, netlink.LinkAdd(nic))
		t.Cleanup(func() { must(t, netlink.LinkDel(nic)) })
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	c := &control{runDir: t.TempDir(), started: make(chan struct{})}
	g, err := gateway.Open(gateway.Options{RunDir: c.runDir, CharonSocket: filepath.Join(c.runDir, "none"), Log: log})
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	listener, err := api.Listen(ctx, c.runDir)
	must(t, err)
	ended := make(chan error, 1)
	c.server = api.NewServer(g, "/etc/bulkhead", log, c.started)
	go func() { ended <- c.server.Serve(ctx, listener) }()
	stopped := false
	c.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		must(t, <-ended)
	}
	t.Cleanup(func() {
		c.stop()
		path := write(t, gatewayYAML)
		cfg, err := configs.Load(path)
		must(t, err)
		must(t, errors.Join(g.Apply(context.Background(), path, func() (*configs.Config, error) { return cfg, nil }), g.Close()))
		doors, err := dataplane.Open(filepath.Join(c.runDir, "bpf"))
		must(t, err)
		must(t, doors.Destroy())
	})
	c.Client = api.NewClient(c.runDir)
	return c
}

// write makes a folder with one file of these documents.
func write(t *testing.T, documents ...string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(strings.Join(documents, "---\n")), 0o600))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c *control) tenants(t *testing.T) string {
	t.Helper()
	var rows []gateway.CompartmentRow
	must(t, c.Show(t.Context(), "compartments", &rows))
	var names []string
	for _, r := range rows {
		names = append(names, r.Tenant+" "+r.State)
	}
	return strings.Join(names, ", ")
}

func TestApplyTakesUpAFolderAndShowTellsSo(t *testing.T) {
	c := serve(t)
	close(c.started)
	answer, err := c.Apply(t.Context(), write(t, gatewayYAML, tenantYAML))
	must(t, err)
	if answer.Tenants != 1 || len(answer.Notes) != 1 || !strings.Contains(answer.Notes[0], "/etc/bulkhead") {
		t.Errorf("answer %+v, want one tenant and a note on the daemon's own folder", answer)
	}
	if got := c.tenants(t); got != "Contoso applied" {
		t.Errorf("tenants %q", got)
	}
	for _, view := range api.Views() {
		var rows []map[string]any
		if err := c.Show(t.Context(), view, &rows); err != nil || rows == nil {
			t.Errorf("show %s: rows %v, error %v", view, rows, err)
		}
	}
}

func TestRefusedFolderChangesNothingAndSaysWhy(t *testing.T) {
	c := serve(t)
	close(c.started)
	_, err := c.Apply(t.Context(), write(t, gatewayYAML, tenantYAML))
	must(t, err)
	for name, test := range map[string]struct {
		folder string
		want   []string
	}{
		"mistakes":    {write(t, gatewayYAML, strings.Replace(tenantYAML, "6001", "1", 1)), []string{"all.yaml:", "vsid"}},
		"no folder":   {"/nowhere/at/all", []string{"nothing was changed", "/nowhere/at/all"}},
		"missing NIC": {write(t, strings.Replace(gatewayYAML, "If2", "If9", 1)), []string{"nothing was changed", "If9"}},
		"relative":    {"here", []string{"absolute"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Apply(t.Context(), test.folder)
			if err == nil || strings.Contains(err.Error(), "goes on trying") {
				t.Fatalf("error %v, want a refusal", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not name %q", err, want)
				}
			}
			var problems configs.Problems
			if errors.As(err, &problems) != (name == "mistakes") {
				t.Errorf("problems %v", problems)
			}
			if got := c.tenants(t); got != "Contoso applied" {
				t.Errorf("tenants %q after a refusal", got)
			}
		})
	}
}

func TestApplyIsFinishedWhenItsAskerGoesAway(t *testing.T) {
	c := serve(t)
	close(c.started)
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	folder := write(t, gatewayYAML, tenantYAML)
	go func() {
		_, err := c.Apply(ctx, folder)
		asked <- err
	}()
	testenv.Eventually(t, "the change was begun", func() bool { return c.tenants(t) != "" })
	cancel()
	if err := <-asked; err == nil {
		t.Log("it was quicker than the asker")
	}
	testenv.Eventually(t, "the tenant is applied", func() bool { return c.tenants(t) == "Contoso applied" })
}

func TestShowAnswersWhileTheDaemonStartsAndApplyWaits(t *testing.T) {
	c := serve(t)
	asked := make(chan error, 1)
	go func() { // refused at once, if it were looked at
		_, err := c.Apply(context.WithoutCancel(t.Context()), "/nowhere/at/all")
		asked <- err
	}()
	for range 300 { // long enough for an apply that does not wait
		if got := c.tenants(t); got != "" {
			t.Fatalf("tenants %q before the daemon took up its own folder", got)
		}
	}
	select {
	case err := <-asked:
		t.Fatalf("apply did not wait: %v", err)
	default:
	}
	close(c.started)
	if err := <-asked; err == nil || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Errorf("error %v, want that the folder is not there", err)
	}
}

func TestBadRequestsAreRefusedAndTheServerGoesOn(t *testing.T) {
	c := serve(t)
	close(c.started)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.runDir, api.SocketName))
	}}}
	defer client.CloseIdleConnections()
	for name, test := range map[string]struct {
		method, path, body string
		status             int
	}{
		"no JSON":        {"POST", "/v1/apply", "config=/etc", http.StatusBadRequest},
		"nothing":        {"POST", "/v1/apply", "", http.StatusBadRequest},
		"unknown key":    {"POST", "/v1/apply", `{"config": "/etc", "force": true}`, http.StatusBadRequest},
		"wrong type":     {"POST", "/v1/apply", `{"config": 7}`, http.StatusBadRequest},
		"huge":           {"POST", "/v1/apply", `{"config": "/` + strings.Repeat("x", 2<<20) + `"}`, http.StatusBadRequest},
		"two documents":  {"POST", "/v1/apply", `{"config": "/etc"} {"config": "/usr"}`, http.StatusBadRequest},
		"unknown view":   {"GET", "/v1/show/secrets", "", http.StatusNotFound},
		"unknown path":   {"GET", "/v2", "", http.StatusNotFound},
		"apply by GET":   {"GET", "/v1/apply", "", http.StatusMethodNotAllowed},
		"show by DELETE": {"DELETE", "/v1/show/drops", "", http.StatusMethodNotAllowed},
		"policy of all":  {"POST", "/v1/policy/", `{"statements": []}`, http.StatusNotFound},
		"policy by GET":  {"GET", "/v1/policy/Contoso", "", http.StatusMethodNotAllowed},
		"policy in text": {"POST", "/v1/policy/Contoso", "no lookup-record 10.0.0.10", http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), test.method, "http://bulkhead"+test.path, strings.NewReader(test.body))
			must(t, err)
			response, err := client.Do(request)
			must(t, err)
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			must(t, err)
			if response.StatusCode != test.status || len(text) == 0 || len(text) > 1000 {
				t.Errorf("status %d, want %d; text %.200s", response.StatusCode, test.status, text)
			}
		})
	}
	if got := c.tenants(t); got != "" {
		t.Errorf("tenants %q", got)
	}
}

func TestPolicyIsChangedAsAWholeOrRefusedWithTheReason(t *testing.T) {
	c := serve(t)
	close(c.started)
	_, err := c.Apply(t.Context(), write(t, gatewayYAML, tenantYAML))
	must(t, err)
	records := func() (all []string) {
		t.Helper()
		var rows []gateway.RecordRow
		must(t, c.Show(t.Context(), "lookup-records", &rows))
		for _, r := range rows {
			all = append(all, r.CustomerAddress.String())
		}
		return all
	}
	good := "lookup-record 10.0.254.10 vsid 6001 mac 60:00:60:00:01:01 pa 192.168.0.22"
	answer, err := c.ChangePolicy(t.Context(), "Contoso", []string{good})
	must(t, err)
	if got := records(); answer.Changes != 1 || !slices.Equal(got, []string{"10.0.254.10"}) {
		t.Errorf("answer %+v, records %v", answer, got)
	}
	for name, test := range map[string]struct {
		to         string
		statements []string
		want       []string
	}{
		"not a statement": {"Contoso", []string{"no lookup-record 10.0.254.10", "lookup-recrd 10.0.254.11"}, []string{"statement 2", "lookup-record"}},
		"no such VSID": {
			"Contoso", []string{"no lookup-record 10.0.254.10", strings.Replace(good, "6001", "6002", 1)}, []string{"6002"},
		},
		"no such tenant": {"Contos", []string{good}, []string{"Contos", "Contoso"}},
		"no name":        {"", []string{good}, []string{`""`, "name"}},
		"no path":        {"..", []string{good}, []string{`".."`, "name"}},
	} {
		_, err := c.ChangePolicy(t.Context(), test.to, test.statements)
		if err == nil || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: error %v, want a refusal", name, err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not name %q", name, err, want)
			}
		}
		if got := records(); !slices.Equal(got, []string{"10.0.254.10"}) {
			t.Errorf("%s: records %v after a refusal", name, got)
		}
	}
}

func TestOnlyRootMayOpenTheSocketAndAStaleOneIsReplaced(t *testing.T) {
	c := serve(t)
	close(c.started)
	path := filepath.Join(c.runDir, api.SocketName)
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	stale := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(stale, api.SocketName)})
	must(t, err)
	l.SetUnlinkOnClose(false) // as after kill -9
	must(t, l.Close())
	if err := api.NewClient(stale).Show(t.Context(), "drops", nil); err == nil || !strings.Contains(err.Error(), "bulkhead daemon") {
		t.Errorf("error %v, want the advice to start the daemon", err)
	}
	fresh, err := api.Listen(t.Context(), stale)
	must(t, err)
	must(t, fresh.Close())
}
