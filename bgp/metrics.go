package bgp

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// How speakers are asked for metrics.
const (
	collectPatience = 5 * time.Second // for all of them: a scrape ends after 10 s, where nobody says otherwise
	collectAtOnce   = 16              // at the same time, each with a socket
)

// The metrics of a session are those of GoBGP, by name, value and labels, with the tenant's before them. Three are not there:
// the length of a queue that our speaker does not tell, and two settings that it does not have.
var (
	peerLabels = []string{"tenant", "peer"}

	flapsDesc    = describe("bgp_peer_flop_count", "Number of flops with the peer", peerLabels)
	uptimeDesc   = describe("bgp_peer_uptime", "When the session came into its current state, in seconds since 1970", peerLabels)
	passwordDesc = describe("bgp_peer_password_set", "Whether the session is to be signed by MD5 (1) or not (0)", peerLabels)
	typeDesc     = describe("bgp_peer_type", "Type of the BGP peer, internal (0) or external (1)", peerLabels)
	asnDesc      = describe("bgp_peer_asn", "What is the AS number of the peer", append(peerLabels, "router_id"))
	localASNDesc = describe("bgp_peer_local_asn", "What is the AS number presented to the peer by this router",
		append(peerLabels, "router_id"))
	stateDesc = describe("bgp_peer_state", "State of the BGP session with peer and its administrative state",
		append(peerLabels, "session_state", "admin_state"))
	routesReceivedDesc   = describe("bgp_routes_received", "Number of routes received from peer", append(peerLabels, "route_family"))
	routesAcceptedDesc   = describe("bgp_routes_accepted", "Number of routes accepted from peer", append(peerLabels, "route_family"))
	routesAdvertisedDesc = describe("bgp_routes_advertised", "Number of routes advertised to peer", append(peerLabels, "route_family"))
	refusedDesc          = describe("bulkhead_bgp_refused_total", "What was refused of the peer, by reason", append(peerLabels, "reason"))

	upDesc        = describe("bulkhead_bgp_speaker_up", "Whether the tenant's speaker answers (1) or not (0)", []string{"tenant"})
	restartsDesc  = describe("bulkhead_bgp_speaker_restarts_total", "How often the speaker was started again after it had ended by itself", []string{"tenant"})
	memoryDesc    = describe("bulkhead_bgp_speaker_private_bytes", "Memory that the speaker shares with nobody", []string{"tenant"})
	kernelDesc    = describe("bulkhead_bgp_kernel_routes", "Number of routes by BGP in the compartment's table", []string{"tenant", "route_family"})
	withdrawnDesc = describe("bulkhead_bgp_withdrawn_prefixes", "Number of withdrawn prefixes that are kept unreachable", []string{"tenant"})
)

func describe(name, help string, labels []string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string(nil), labels...), nil)
}

// messageKind is a metric for each direction.
type messageKind struct {
	received, sent *prometheus.Desc
	count          func(Messages) uint64
}

var messageKinds = []messageKind{
	messages("update_total", "BGP UPDATE messages", func(m Messages) uint64 { return m.Update }),
	messages("notification_total", "BGP NOTIFICATION messages", func(m Messages) uint64 { return m.Notification }),
	messages("open_total", "BGP OPEN messages", func(m Messages) uint64 { return m.Open }),
	messages("refresh_total", "BGP REFRESH messages", func(m Messages) uint64 { return m.Refresh }),
	messages("keepalive_total", "BGP KEEPALIVE messages", func(m Messages) uint64 { return m.Keepalive }),
	messages("withdraw_update_total", "BGP updates treated as withdrawals", func(m Messages) uint64 { return m.WithdrawnUpdates }),
	messages("withdraw_prefix_total", "prefixes treated as withdrawn", func(m Messages) uint64 { return m.WithdrawnPrefixes }),
	messages("discarded_total", "discarded BGP messages", func(m Messages) uint64 { return m.Discarded }),
	messages("message_total", "BGP messages", func(m Messages) uint64 { return m.Total }),
}

func messages(name, what string, count func(Messages) uint64) messageKind {
	return messageKind{
		received: describe("bgp_received_"+name, "Number of received "+what+" from peer", peerLabels),
		sent:     describe("bgp_sent_"+name, "Number of sent "+what+" to peer", peerLabels),
		count:    count,
	}
}

type collector struct{ *Manager }

// NewCollector tells of all speakers that are declared, their sessions and their routes. One that does not answer is told
// to be down, and keeps the others' metrics back for 5 s at most.
func NewCollector(m *Manager) prometheus.Collector { return collector{m} }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, kind := range messageKinds {
		out <- kind.received
		out <- kind.sent
	}
	for _, d := range []*prometheus.Desc{
		flapsDesc, uptimeDesc, passwordDesc, typeDesc, asnDesc, localASNDesc, stateDesc, routesReceivedDesc, routesAcceptedDesc,
		routesAdvertisedDesc, refusedDesc, upDesc, restartsDesc, memoryDesc, kernelDesc, withdrawnDesc,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(c.ctx, collectPatience)
	defer cancel()
	slots := make(chan struct{}, collectAtOnce)
	var all sync.WaitGroup
	for _, k := range c.declared() {
		all.Go(func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
			}
			k.collect(ctx, out)
		})
	}
	all.Wait()
}

func (k *keeper) collect(ctx context.Context, out chan<- prometheus.Metric) {
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, kind, value, append([]string{k.tenant}, labels...)...)
	}
	send(restartsDesc, prometheus.CounterValue, float64(k.restarts.Load()))
	status, err := k.Status(ctx, k.tenant)
	peers, errPeers := k.Peers(ctx, k.tenant)
	want := k.want.Load()
	if err != nil || errPeers != nil || want == nil {
		send(upDesc, prometheus.GaugeValue, 0)
		return
	}
	send(upDesc, prometheus.GaugeValue, 1)
	send(memoryDesc, prometheus.GaugeValue, float64(status.PrivateBytes))
	send(kernelDesc, prometheus.GaugeValue, float64(status.IPv4Routes), family("ipv4"))
	send(kernelDesc, prometheus.GaugeValue, float64(status.IPv6Routes), family("ipv6"))
	send(withdrawnDesc, prometheus.GaugeValue, float64(status.Withdrawn))
	for _, p := range peers {
		collectPeer(p, want, func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
			send(desc, kind, value, append([]string{p.Address.String()}, labels...)...)
		})
	}
}

func collectPeer(p PeerState, want *Config, send func(*prometheus.Desc, prometheus.ValueType, float64, ...string)) {
	for _, kind := range messageKinds {
		send(kind.received, prometheus.CounterValue, float64(kind.count(p.Received)))
		send(kind.sent, prometheus.CounterValue, float64(kind.count(p.Sent)))
	}
	send(flapsDesc, prometheus.CounterValue, float64(p.Flaps))
	since := 0.0
	if !p.Since.IsZero() {
		since = float64(p.Since.Unix())
	}
	send(uptimeDesc, prometheus.CounterValue, since)
	send(passwordDesc, prometheus.GaugeValue, is(p.MD5 != ""))
	send(typeDesc, prometheus.GaugeValue, is(p.ASN != want.ASN))
	identifier := ""
	if p.PeerIdentifier.IsValid() {
		identifier = p.PeerIdentifier.String()
	}
	send(asnDesc, prometheus.GaugeValue, float64(p.ASN), identifier)
	send(localASNDesc, prometheus.GaugeValue, float64(want.ASN), want.Identifier.String())
	session, admin := states(p.State)
	send(stateDesc, prometheus.GaugeValue, 1, session, admin)
	for _, f := range p.Families {
		send(routesReceivedDesc, prometheus.GaugeValue, float64(f.Received), family(f.Name))
		send(routesAcceptedDesc, prometheus.GaugeValue, float64(f.Accepted), family(f.Name))
		send(routesAdvertisedDesc, prometheus.GaugeValue, float64(f.Advertised), family(f.Name))
	}
	for reason, count := range p.Refused {
		send(refusedDesc, prometheus.CounterValue, float64(count), reason)
	}
}

// states are a session's in GoBGP's words: its own, and the administrative one.
func states(state string) (session, admin string) {
	switch state {
	case Stopped:
		return "SESSION_STATE_IDLE", "ADMIN_STATE_DOWN"
	case OverLimit:
		return "SESSION_STATE_IDLE", "ADMIN_STATE_PFX_CT"
	}
	return "SESSION_STATE_" + strings.ToUpper(state), "ADMIN_STATE_UP"
}

// family is a family's name in GoBGP's words.
func family(name string) string { return name + "-unicast" }

func is(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
