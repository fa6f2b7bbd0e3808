package peerconfig

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"bulkhead/vpn"
)

// generic writes what any device needs to know, in words of the standards.
func generic(t *text, p Params, pol policy) error {
	row := func(what, format string, args ...any) { t.line("%-26s %s", what+":", fmt.Sprintf(format, args...)) }
	t.line("Site-to-site tunnel %s of %s: what the site's device needs.", p.Name, p.Tenant)
	t.line("")
	row("Protocol", "IKEv2 (RFC 7296), ESP in tunnel mode (RFC 4303)")
	row("Gateway's address", "%v", p.Gateway)
	row("Site's address", "%s", address(p.Site, "any"))
	row("Gateway's identity", "%s", p.GatewayID)
	if p.SiteID != "" {
		row("Site's identity", "%s", p.SiteID)
	}
	plain := func(s string) string { return s }
	switch p.Method {
	case vpn.PSK:
		row("Authentication", "pre-shared key")
		row("Pre-shared key", "%s", p.secret(plain))
	case vpn.Certificate:
		row("Authentication", "X.509 certificates at both ends")
	case vpn.EAP:
		row("Authentication", "EAP-MSCHAPv2 for the site, an X.509 certificate for the gateway")
		row("User name", "%s", p.UserName)
		row("Password", "%s", p.secret(plain))
	}
	t.genericProposals("IKE", pol.ike)
	row("IKE lifetime", "%s", lifetime(p.Policy.IKELifetime))
	t.genericProposals("ESP", pol.esp)
	row("ESP lifetime", "%s", lifetime(p.Policy.ESPLifetime))
	if p.Policy.ESPLifetimeBytes > 0 {
		row("ESP lifetime in bytes", "%d", p.Policy.ESPLifetimeBytes)
	}
	row("Dead peer detection", "%s", lifetime(p.Policy.DPD))
	row("MOBIKE (RFC 4555)", "%s", yesNo(!p.Policy.NoMOBIKE))
	row("Fragments (RFC 7383)", "%s", yesNo(!p.Policy.NoFragmentation))
	row("Always in UDP (RFC 3948)", "%s", yesNo(p.Policy.ForceEncapsulation))
	row("Traffic selectors", "0.0.0.0/0 and ::/0 at both ends: routes decide what goes through the tunnel")
	row("Tunnel MTU", "%d; TCP maximum segment size %d (IPv4), %d (IPv6)", p.MTU, p.MTU-40, p.MTU-60)
	row("Behind the gateway", "%s", prefixes(p.Networks))
	row("Behind the site", "%s", prefixes(p.SiteNetworks))
	return nil
}

func (t *text) genericProposals(kind string, all []proposal) {
	for i, q := range all {
		parts := []string{q.encryption}
		if q.encryption != q.text {
			for _, part := range []struct{ prefix, word string }{
				{"integrity ", q.integrity}, {"PRF ", q.prf}, {"key exchange group ", keyExchanges[q.keyExchange]},
			} {
				if part.word != "" {
					parts = append(parts, part.prefix+part.word)
				}
			}
		}
		t.line("%-26s %s", fmt.Sprintf("%s proposal %d:", kind, i+1), strings.Join(parts, ", "))
	}
}

func lifetime(d time.Duration) string {
	if d == 0 {
		return "as the device has it"
	}
	return fmt.Sprintf("%d s", int64(d/time.Second))
}

func prefixes(list []netip.Prefix) string {
	if len(list) == 0 {
		return "none that is declared"
	}
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = n.String()
	}
	return strings.Join(out, ", ")
}
