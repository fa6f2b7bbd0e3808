package gateway

import (
	"log/slog"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"bulkhead/dataplane"
)

// What a tenant's lookup records may put in the log when messages from the provider network change them: tenants' machines
// send these, so a tenant must not be able to fill the disk. Show has all of it from the kernel.
const (
	learnedLines = 1 // a second
	learnedBurst = 20
)

// learnedLog tells in the log what became of lookup records. One goroutine uses it.
type learnedLog struct {
	log    *slog.Logger
	limits map[uuid.UUID]*learnedLimit // by routing domain
}

// learnedLimit is what one tenant may still put in the log, and how much of it was left out.
type learnedLimit struct {
	*rate.Limiter
	left int
}

func newLearnedLog(log *slog.Logger) *learnedLog {
	return &learnedLog{log: log, limits: map[uuid.UUID]*learnedLimit{}}
}

func (l *learnedLog) event(e dataplane.Event) {
	limit := l.limits[e.RoutingDomain]
	if limit == nil {
		limit = &learnedLimit{Limiter: rate.NewLimiter(learnedLines, learnedBurst)}
		l.limits[e.RoutingDomain] = limit
	}
	if !limit.Allow() {
		limit.left++
		return
	}
	log := l.log.With("tenant", e.Tenant)
	if limit.left > 0 {
		log.Info("more became of lookup records than is logged", "events", limit.left)
		limit.left = 0
	}
	log = log.With("ca", e.CA, "vsid", e.VSID, "mac", e.MAC.String(), "pa", e.PA)
	switch e.Kind {
	case dataplane.Moved:
		log.Info("lookup record moved", "from", e.OldPA)
	case dataplane.Refused:
		log.Warn("message about a lookup record not believed", "reason", e.Reason)
	case dataplane.Stale:
		log.Warn("lookup record stale: its host does not have the machine")
	default:
		log.Info("lookup record " + e.Kind.String())
	}
}
