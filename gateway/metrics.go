package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"bulkhead/bgp"
)

// Collectors are the gateway's metrics: those of BGP by GoBGP's names, with a label for the tenant.
func (g *Gateway) Collectors() []prometheus.Collector {
	return []prometheus.Collector{bgp.NewCollector(g.bgp)}
}
