package gateway

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/uuid"

	"bulkhead/dataplane"
)

func TestATenantsMachinesCannotFillTheLogNorKeepAnothersEventsOut(t *testing.T) {
	var out bytes.Buffer
	l := newLearnedLog(slog.New(slog.NewTextHandler(&out, nil)))
	for range 10_000 {
		l.event(dataplane.Event{Tenant: "Contoso", RoutingDomain: uuid.UUID{1}, Kind: dataplane.Refused, Reason: "it lies"})
	}
	if lines := strings.Count(out.String(), "\n"); lines < learnedBurst || lines > 2*learnedBurst {
		t.Errorf("10000 messages gave %d lines", lines)
	}
	out.Reset()
	l.event(dataplane.Event{
		Tenant: "Woodgrove", RoutingDomain: uuid.UUID{2}, Kind: dataplane.Moved, CA: netip.MustParseAddr("10.0.0.10"), VSID: 5002,
		PA: netip.MustParseAddr("192.168.0.33"), OldPA: netip.MustParseAddr("192.168.0.22"),
	})
	for _, want := range []string{"Woodgrove", "moved", "10.0.0.10", "5002", "192.168.0.33", "from=192.168.0.22"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log says %q, not %q", out.String(), want)
		}
	}
}
