package bgp_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"bulkhead/bgp"
	"bulkhead/internal/testenv"
)

func TestRoutesComeOneByOneAndAListThatBreaksOffSaysSo(t *testing.T) {
	w := newWorld(t)
	m := w.manager()
	w.set(m, testenv.Namespace(t), "Contoso", config("Contoso"))
	count := 0
	for route, err := range m.Routes(t.Context(), "Contoso", bgp.RouteQuery{Peer: "NY", Limit: 900}) {
		if err != nil || route.Peer != "NY" || !route.Prefix.IsValid() {
			t.Fatalf("got %+v, %v", route, err)
		}
		count++
	}
	if count != 900 {
		t.Errorf("got %d routes", count)
	}
	var last error
	count = 0
	for _, err := range m.Routes(t.Context(), "Contoso", bgp.RouteQuery{Limit: 5000}) {
		if last != nil {
			t.Fatal("something came after an error")
		}
		if last = err; err == nil {
			count++
		}
	}
	if last == nil || last.Error() != "tenant Contoso: list BGP routes: the table broke" || count != 1000 {
		t.Errorf("after %d routes the error is %v", count, last)
	}
	for _, err := range m.Routes(t.Context(), "Contoso", bgp.RouteQuery{Limit: 900}) {
		w.check(err)
		break // who has seen enough keeps nobody
	}
	for _, err := range m.Advertised(t.Context(), "Contoso", bgp.RouteQuery{Peer: "Paris"}) {
		if err == nil || !strings.Contains(err.Error(), `peer "Paris" is not declared`) {
			t.Errorf("the error is %v", err)
		}
	}
	if err := m.Reset(t.Context(), "Contoso", "NY", true); err == nil || !strings.Contains(err.Error(), "tenant Contoso: peer NY, soft true") {
		t.Errorf("the reset came as %v", err)
	}
}

func TestMetricsHaveTheNamesOfGoBGPAndTheTenant(t *testing.T) {
	w := newWorld(t)
	m := w.manager()
	for _, tenant := range []string{"Contoso", "Woodgrove"} {
		w.set(m, testenv.Namespace(t), tenant, config(tenant))
	}
	_ = m.Set(t.Context(), testenv.Namespace(t), "broken", config("broken"))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(bgp.NewCollector(m))
	want := `
# HELP bgp_received_update_total Number of received BGP UPDATE messages from peer
# TYPE bgp_received_update_total counter
bgp_received_update_total{peer="10.1.0.1",tenant="Contoso"} 5
bgp_received_update_total{peer="10.1.0.1",tenant="Woodgrove"} 5
# HELP bgp_peer_state State of the BGP session with peer and its administrative state
# TYPE bgp_peer_state gauge
bgp_peer_state{admin_state="ADMIN_STATE_UP",peer="10.1.0.1",session_state="SESSION_STATE_ESTABLISHED",tenant="Contoso"} 1
bgp_peer_state{admin_state="ADMIN_STATE_UP",peer="10.1.0.1",session_state="SESSION_STATE_ESTABLISHED",tenant="Woodgrove"} 1
# HELP bgp_routes_accepted Number of routes accepted from peer
# TYPE bgp_routes_accepted gauge
bgp_routes_accepted{peer="10.1.0.1",route_family="ipv4-unicast",tenant="Contoso"} 2
bgp_routes_accepted{peer="10.1.0.1",route_family="ipv4-unicast",tenant="Woodgrove"} 2
# HELP bulkhead_bgp_refused_total What was refused of the peer, by reason
# TYPE bulkhead_bgp_refused_total counter
bulkhead_bgp_refused_total{peer="10.1.0.1",reason="its AS path has our own number",tenant="Contoso"} 4
bulkhead_bgp_refused_total{peer="10.1.0.1",reason="its AS path has our own number",tenant="Woodgrove"} 4
# HELP bulkhead_bgp_speaker_up Whether the tenant's speaker answers (1) or not (0)
# TYPE bulkhead_bgp_speaker_up gauge
bulkhead_bgp_speaker_up{tenant="Contoso"} 1
bulkhead_bgp_speaker_up{tenant="Woodgrove"} 1
bulkhead_bgp_speaker_up{tenant="broken"} 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "bgp_received_update_total", "bgp_peer_state",
		"bgp_routes_accepted", "bulkhead_bgp_refused_total", "bulkhead_bgp_speaker_up"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil {
		t.Error(err)
	} else {
		for _, p := range problems {
			if strings.HasPrefix(p.Metric, "bulkhead_") {
				t.Errorf("%s: %s", p.Metric, p.Text)
			}
		}
	}
}
