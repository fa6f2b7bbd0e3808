package gateway

import (
	"testing"
	"time"

	"bulkhead/vpn"
)

func TestTheEndOfACertificateIsSeenComing(t *testing.T) {
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	for end, want := range map[time.Time]string{
		{}:                             "good", // a list that does not say
		now.Add(31 * 24 * time.Hour):   "good",
		now.Add(expiryNotice):          "expiring",
		now.Add(time.Minute):           "expiring",
		now:                            "expired",
		now.Add(-365 * 24 * time.Hour): "expired",
	} {
		if got := expiry(vpn.CertificateStatus{NotAfter: end}, now); got != want {
			t.Errorf("with the end %v: %s, want %s", end, got, want)
		}
	}
}
