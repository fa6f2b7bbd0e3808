package peerconfig

import (
	"encoding/hex"
	"net/netip"
	"strings"

	"bulkhead/vpn"
)

// The words of FortiOS (CLI reference of 7.4, "vpn ipsec phase1-interface" and "phase2-interface").
var (
	fortiCipher = words{
		"3des": "3des", "aes128": "aes128", "aes192": "aes192", "aes256": "aes256", "aes128gcm16": "aes128gcm",
		"aes256gcm16": "aes256gcm", "chacha20poly1305": "chacha20poly1305",
	}
	fortiHash  = iosHash
	fortiGroup = without(keyExchanges, "modp768", "modp2048s256")
)

func fortigate(t *text, p Params, pol policy) error {
	if p.Method == vpn.EAP {
		return errEAP
	}
	ike, ikeOut := known(pol.ike, func(q proposal) bool {
		return fortiCipher.has(q.encryption) && fortiHash.has(q.pseudorandom()) && fortiGroup.has(q.keyExchange) &&
			(q.aead() || q.pseudorandom() == q.integrity)
	})
	if len(ike) == 0 {
		return errNothingLeft("IKE", ikeOut)
	}
	esp, espOut := samePFS(known(pol.esp, func(q proposal) bool {
		return fortiCipher.has(q.encryption) && fortiHash.has(q.integrity) && fortiGroup.has(q.keyExchange)
	}))
	if len(esp) == 0 {
		return errNothingLeft("ESP", espOut)
	}
	t.line("# FortiGate with FortiOS 7: the site's end of %s of %s.", p.Name, p.Tenant)
	t.line("# Fill in what is in angle brackets.")
	t.leftOut("#", "IKE", ikeOut)
	t.leftOut("#", "ESP", espOut)
	t.fortiPhase1(p, ike)
	t.line("config vpn ipsec phase2-interface")
	v4, v6 := p.inner()
	if v4 {
		t.fortiPhase2(p, esp, p.Name, "")
	}
	if v6 {
		t.fortiPhase2(p, esp, p.Name+"-6", "6")
	}
	t.line("end")
	t.fortiRoutes(p.Name, "static", p.Networks, netip.Addr.Is4)
	t.fortiRoutes(p.Name, "static6", p.Networks, netip.Addr.Is6)
	t.fortiPolicies(p, v6)
	return nil
}

func (t *text) fortiPhase1(p Params, ike []proposal) {
	proposals := each(ike, func(q proposal) string {
		if q.aead() {
			return fortiCipher[q.encryption] + "-prf" + fortiHash[q.pseudorandom()]
		}
		return fortiCipher[q.encryption] + "-" + fortiHash[q.integrity]
	})
	t.line("config vpn ipsec phase1-interface")
	t.line("    edit \"%s\"", p.Name)
	t.line("        set interface \"<WAN interface>\"")
	t.line("        set ike-version 2")
	remote, local := "remote-gw", "local-gw"
	if p.Gateway.Is6() {
		t.line("        set ip-version 6")
		remote, local = "remote-gw6", "local-gw6"
	}
	t.line("        set %s %v", remote, p.Gateway)
	if p.own.IsValid() {
		t.line("        set %s %v", local, p.own)
	}
	t.line("        set net-device disable")
	t.line("        set proposal %s", strings.Join(proposals, " "))
	t.line("        set dhgrp %s", strings.Join(each(ike, func(q proposal) string { return fortiGroup[q.keyExchange] }), " "))
	t.seconds("        set keylife %d", p.Policy.IKELifetime)
	if p.Policy.DPD > 0 {
		t.line("        set dpd on-idle")
		t.seconds("        set dpd-retryinterval %d", p.Policy.DPD)
	}
	if p.Policy.NoFragmentation {
		t.line("        set fragmentation disable")
	}
	if p.Policy.ForceEncapsulation {
		t.line("        set nattraversal forced")
	}
	if p.Method == vpn.PSK {
		kind, id := identity(p.SiteID)
		t.line("        set peertype any")
		t.line("        set localid-type %s", map[identityKind]string{
			addressID: "address", fqdnID: "fqdn", emailID: "user-fqdn", dnID: "keyid",
		}[kind])
		t.line("        set localid %s", quoted(id))
		t.line("        set psksecret %s", p.secret(fortiSecret))
	} else {
		t.certificateName("        #", p)
		t.line("        set authmethod signature")
		t.line("        set certificate \"<certificate>\"")
		t.line("        set localid-type asn1dn")
		t.line("        set peertype peer")
		t.line("        set peer \"<peer with the authority and the identity %s>\"", p.GatewayID)
	}
	t.line("    next")
	t.line("end")
}

// fortiPhase2 writes a child for one address family: FortiOS has no other.
func (t *text) fortiPhase2(p Params, esp []proposal, name, family string) {
	t.line("    edit \"%s\"", name)
	t.line("        set phase1name \"%s\"", p.Name)
	t.line("        set proposal %s", strings.Join(each(esp, func(q proposal) string {
		if q.aead() {
			return fortiCipher[q.encryption]
		}
		return fortiCipher[q.encryption] + "-" + fortiHash[q.integrity]
	}), " "))
	if groups := each(esp, func(q proposal) string { return fortiGroup[q.keyExchange] }); len(groups) > 0 {
		t.line("        set pfs enable")
		t.line("        set dhgrp %s", strings.Join(groups, " "))
	} else {
		t.line("        set pfs disable")
	}
	t.line("        set auto-negotiate enable")
	t.seconds("        set keylifeseconds %d", p.Policy.ESPLifetime)
	if p.Policy.ESPLifetimeBytes > 0 {
		t.line("        set keylife-type both")
		t.line("        set keylifekbs %d", p.Policy.ESPLifetimeBytes/1024)
	}
	if family == "6" {
		t.line("        set src-addr-type subnet6")
		t.line("        set dst-addr-type subnet6")
		t.line("        set src-subnet6 ::/0")
		t.line("        set dst-subnet6 ::/0")
	} else {
		t.line("        set src-subnet 0.0.0.0 0.0.0.0")
		t.line("        set dst-subnet 0.0.0.0 0.0.0.0")
	}
	t.line("    next")
}

func (t *text) fortiRoutes(device, table string, all []netip.Prefix, family func(netip.Addr) bool) {
	var lines []string
	for _, n := range all {
		if !family(n.Addr()) {
			continue
		}
		dst := n.String()
		if n.Addr().Is4() {
			dst = n.Addr().String() + " " + mask(n)
		}
		lines = append(lines, "    edit 0", "        set dst "+dst, "        set device \""+device+"\"", "    next")
	}
	if len(lines) > 0 {
		t.line("config router %s\n%s\nend", table, strings.Join(lines, "\n"))
	}
}

func (t *text) fortiPolicies(p Params, v6 bool) {
	t.line("config firewall policy")
	for _, way := range [][3]string{{"to", "<LAN interface>", p.Name}, {"from", p.Name, "<LAN interface>"}} {
		t.line("    edit 0")
		t.line("        set name \"%s-%s\"", p.Name, way[0])
		t.line("        set srcintf \"%s\"", way[1])
		t.line("        set dstintf \"%s\"", way[2])
		t.line("        set srcaddr \"all\"")
		t.line("        set dstaddr \"all\"")
		if v6 {
			t.line("        set srcaddr6 \"all\"")
			t.line("        set dstaddr6 \"all\"")
		}
		t.line("        set action accept")
		t.line("        set schedule \"always\"")
		t.line("        set service \"ALL\"")
		t.line("    next")
	}
	t.line("end")
}

// fortiSecret hides from FortiOS that a secret looks like a hexadecimal one.
func fortiSecret(s string) string {
	if strings.HasPrefix(s, "0x") {
		return "0x" + hex.EncodeToString([]byte(s))
	}
	return quoted(s)
}
