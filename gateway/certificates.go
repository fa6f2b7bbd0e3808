package gateway

import (
	"context"
	"strings"
	"time"

	"bulkhead/vpn"
)

const (
	// expiryNotice is how long before the end of a certificate or revocation list operators are warned.
	expiryNotice = 30 * 24 * time.Hour
	// expiryLook is how often that is looked at.
	expiryLook = 24 * time.Hour
)

// Certificates lists the certificates and revocation lists in use, with their ends.
func (g *Gateway) Certificates(context.Context) ([]CertificateRow, error) {
	rows := []CertificateRow{}
	for _, c := range g.vpn.Certificates() {
		row := CertificateRow{Use: c.Use, Subject: c.Subject, Tenants: c.Tenants, State: expiry(c, time.Now())}
		if !c.NotAfter.IsZero() {
			row.NotAfter = &c.NotAfter
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// expiry says in a word how a certificate or list stands.
func expiry(c vpn.CertificateStatus, now time.Time) string {
	switch left := c.NotAfter.Sub(now); {
	case c.NotAfter.IsZero(), left > expiryNotice:
		return "good"
	case left > 0:
		return "expiring"
	}
	return "expired"
}

// watchExpiry warns of certificates and lists that end soon: when they are declared, and every day.
func (g *Gateway) watchExpiry(ctx context.Context) error {
	tick := time.NewTicker(expiryLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.declared:
		case <-tick.C:
		}
		for _, c := range g.vpn.Certificates() {
			if state := expiry(c, time.Now()); state != "good" {
				g.log.Warn("certificate or revocation list is "+state+"; declare its successor and apply", "event", "certificate",
					"use", c.Use, "subject", c.Subject, "tenants", strings.Join(c.Tenants, " "), "notAfter", c.NotAfter.UTC())
			}
		}
	}
}
