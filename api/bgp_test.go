package api_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/api"
	"bulkhead/bgp"
	"bulkhead/gateway"
	"bulkhead/internal/testenv"
)

const speakerYAML = `  bgp:
    identifier: 10.0.254.2
    asn: 65412
    peers: [{name: VM, localAddress: 10.0.254.2, address: 10.0.254.9, asn: 65413}]
    customRoutes: [{interface: IfCi1}, {prefix: 192.0.2.0/24}, {prefix: 192.0.2.128/25}]
`

func TestBGPIsShownChosenResetAndRestarted(t *testing.T) {
	c := serve(t)
	close(c.started)
	_, err := c.Apply(t.Context(), write(t, gatewayYAML, tenantYAML+speakerYAML))
	must(t, err)
	running := func() gateway.BGPRow {
		var rows []gateway.BGPRow
		testenv.Eventually(t, "the speaker runs", func() bool {
			must(t, c.Show(t.Context(), "bgp", &rows))
			return len(rows) == 1 && rows[0].State == "running"
		})
		return rows[0]
	}
	before := running()

	prefixes := func(q gateway.BGPQuery) string {
		t.Helper()
		var rows []gateway.BGPRouteRow
		must(t, c.ShowChosen(t.Context(), "bgp-routes", api.BGPQuery(q), &rows))
		var all []string
		for _, r := range rows {
			all = append(all, r.Prefix.String())
		}
		return strings.Join(all, " ")
	}
	chosen := func(prefix string, longer, covering bool) gateway.BGPQuery {
		return gateway.BGPQuery{Tenant: "Contoso", RouteQuery: bgp.RouteQuery{
			Prefix: netip.MustParsePrefix(prefix), Longer: longer, Covering: covering,
		}}
	}
	for _, test := range []struct {
		query gateway.BGPQuery
		want  string
	}{
		{gateway.BGPQuery{}, "10.0.254.0/24 192.0.2.0/24 192.0.2.128/25"},
		{chosen("192.0.2.0/24", false, false), "192.0.2.0/24"},
		{chosen("192.0.2.0/24", true, false), "192.0.2.0/24 192.0.2.128/25"},
		{chosen("192.0.2.200/32", false, true), "192.0.2.0/24 192.0.2.128/25"},
		{chosen("198.51.100.0/24", true, true), ""},
	} {
		if got := prefixes(test.query); got != test.want {
			t.Errorf("%+v chooses %q, want %q", test.query, got, test.want)
		}
	}

	must(t, c.ResetPeer(t.Context(), "Contoso", "VM", false))
	must(t, c.RestartSpeaker(t.Context(), "Contoso"))
	if after := running(); after.PID == before.PID {
		t.Errorf("the process is %d still", after.PID)
	}
	for what, err := range map[string]error{
		"Contoso": c.ResetPeer(t.Context(), "Contoso", "NY", true), "Litware": c.RestartSpeaker(t.Context(), "Litware"),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("what is not declared, of %s: %v", what, err)
		}
	}
	var rows []gateway.BGPRouteRow
	err = c.ShowChosen(t.Context(), "bgp-routes", map[string][]string{"prefix": {"10.0.0.0/33"}}, &rows)
	if err == nil || !strings.Contains(err.Error(), "10.0.0.0/33") {
		t.Errorf("what is no prefix: %v", err)
	}

	metrics, err := c.Metrics(t.Context())
	must(t, err)
	defer metrics.Close()
	text, err := io.ReadAll(metrics)
	must(t, err)
	for _, want := range []string{`bgp_peer_state{`, `tenant="Contoso"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("metrics lack %s:\n%s", want, text)
		}
	}
}

func TestMetricsAreAllThatIsServedOnTheirAddress(t *testing.T) {
	c := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	path := filepath.Join(c.runDir, "metrics")
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	must(t, err)
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	ended := make(chan error, 1)
	go func() { ended <- c.server.ServeMetrics(ctx, l) }()
	for path, want := range map[string]int{
		"/metrics": http.StatusOK, "/v1/show/bgp": http.StatusNotFound, "/": http.StatusNotFound,
	} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway"+path, nil)
		must(t, err)
		answer, err := client.Do(request)
		must(t, err)
		must(t, answer.Body.Close())
		if answer.StatusCode != want {
			t.Errorf("%s is answered with %s, want %d", path, answer.Status, want)
		}
	}
	cancel()
	must(t, <-ended)
}
