package peerconfig

import (
	"encoding/hex"
	"fmt"
	"strings"

	"bulkhead/vpn"
)

// The words of IOS XE (Security and VPN Configuration Guide, IOS XE 17, "Configuring Internet Key Exchange Version 2" and
// "IPsec Virtual Tunnel Interfaces").
var (
	iosIKE = words{
		"3des": "3des", "aes128": "aes-cbc-128", "aes192": "aes-cbc-192", "aes256": "aes-cbc-256",
		"aes128gcm16": "aes-gcm-128", "aes256gcm16": "aes-gcm-256",
	}
	iosESP = words{
		"3des": "esp-3des", "aes128": "esp-aes", "aes192": "esp-aes 192", "aes256": "esp-aes 256",
		"aes128gcm16": "esp-gcm", "aes192gcm16": "esp-gcm 192", "aes256gcm16": "esp-gcm 256",
	}
	iosHash = words{"md5": "md5", "sha1": "sha1", "sha256": "sha256", "sha384": "sha384", "sha512": "sha512"}
	iosHMAC = words{
		"md5": "esp-md5-hmac", "sha1": "esp-sha-hmac", "sha256": "esp-sha256-hmac", "sha384": "esp-sha384-hmac",
		"sha512": "esp-sha512-hmac",
	}
	iosGroups = without(keyExchanges, "modp6144", "modp8192", "curve25519", "x25519", "curve448")
)

// iosTransformSets is how many an IPsec profile takes.
const iosTransformSets = 6

func without(all map[string]string, missing ...string) words {
	w := words{}
	for word, device := range all {
		w[word] = device
	}
	for _, m := range missing {
		delete(w, m)
	}
	return w
}

func iosXE(t *text, p Params, pol policy) error {
	if p.Method == vpn.EAP {
		return errEAP
	}
	ike, ikeOut := known(pol.ike, func(q proposal) bool {
		return iosIKE.has(q.encryption) && iosHash.has(q.integrity, q.prf) && iosGroups.has(q.keyExchange)
	})
	if len(ike) == 0 {
		return errNothingLeft("IKE", ikeOut)
	}
	esp, espOut := samePFS(known(pol.esp, func(q proposal) bool {
		return iosESP.has(q.encryption) && iosHMAC.has(q.integrity) && iosGroups.has(q.keyExchange)
	}))
	if len(esp) == 0 {
		return errNothingLeft("ESP", espOut)
	}
	for len(esp) > iosTransformSets {
		espOut, esp = append(espOut, esp[len(esp)-1].text), esp[:len(esp)-1]
	}
	t.line("! Cisco IOS XE 17: the site's end of %s of %s.", p.Name, p.Tenant)
	t.line("! Fill in what is in angle brackets; Tunnel1 is to be a free number.")
	t.leftOut("!", "IKE", ikeOut)
	t.leftOut("!", "ESP", espOut)
	t.iosProposals(p, ike)
	t.iosProfile(p)
	t.iosESP(p, esp)
	t.iosTunnel(p)
	return nil
}

func (t *text) iosProposals(p Params, ike []proposal) {
	for i, q := range ike {
		t.line("crypto ikev2 proposal %s-%d", p.Name, i+1)
		t.line(" encryption %s", iosIKE[q.encryption])
		if !q.aead() {
			t.line(" integrity %s", iosHash[q.integrity])
		}
		t.line(" prf %s", iosHash[q.pseudorandom()])
		t.line(" group %s", iosGroups[q.keyExchange])
	}
	t.line("crypto ikev2 policy %s", p.Name)
	if p.own.IsValid() {
		t.line(" match address local %v", p.own)
	}
	for i := range ike {
		t.line(" proposal %s-%d", p.Name, i+1)
	}
	if !p.Policy.NoFragmentation {
		t.line("crypto ikev2 fragmentation")
	}
}

func (t *text) iosProfile(p Params) {
	gatewayKind, gateway := identity(p.GatewayID)
	if p.Method == vpn.PSK {
		t.line("crypto ikev2 keyring %s", p.Name)
		t.line(" peer gateway")
		t.line("  address %v", p.Gateway)
		t.line("  pre-shared-key %s", p.secret(iosSecret))
	} else if gatewayKind == dnID {
		t.line("crypto pki certificate map %s 10", p.Name)
		t.line(" subject-name co cn = %s", strings.ToLower(commonName(gateway)))
	}
	t.line("crypto ikev2 profile %s", p.Name)
	switch gatewayKind {
	case addressID:
		t.line(" match identity remote address %s%s", gateway, iosHostMask(gateway))
	case emailID:
		t.line(" match identity remote email %s", gateway)
	case dnID:
		t.line(" match certificate %s", p.Name)
	default:
		t.line(" match identity remote fqdn %s", gateway)
	}
	if p.Method == vpn.PSK {
		siteKind, site := identity(p.SiteID)
		t.line(" identity local %s %s", map[identityKind]string{
			addressID: "address", fqdnID: "fqdn", emailID: "email", dnID: "key-id",
		}[siteKind], site)
		t.line(" authentication remote pre-share")
		t.line(" authentication local pre-share")
		t.line(" keyring local %s", p.Name)
	} else {
		t.certificateName(" !", p)
		t.line(" identity local dn")
		t.line(" authentication remote rsa-sig")
		t.line(" authentication local rsa-sig")
		t.line(" pki trustpoint <trustpoint>")
	}
	t.seconds(" lifetime %d", p.Policy.IKELifetime)
	t.seconds(" dpd %d 2 on-demand", p.Policy.DPD)
}

func iosHostMask(address string) string {
	if strings.Contains(address, ":") {
		return "/128"
	}
	return " 255.255.255.255"
}

func (t *text) iosESP(p Params, esp []proposal) {
	names := ""
	for i, q := range esp {
		transform := iosESP[q.encryption]
		if !q.aead() {
			transform += " " + iosHMAC[q.integrity]
		}
		name := fmt.Sprintf("%s-%d", p.Name, i+1)
		names += " " + name
		t.line("crypto ipsec transform-set %s %s", name, transform)
		t.line(" mode tunnel")
	}
	t.line("crypto ipsec profile %s", p.Name)
	t.line(" set transform-set%s", names)
	if group := iosGroups[esp[0].keyExchange]; group != "" {
		t.line(" set pfs group%s", group)
	}
	t.seconds(" set security-association lifetime seconds %d", p.Policy.ESPLifetime)
	if p.Policy.ESPLifetimeBytes > 0 {
		t.line(" set security-association lifetime kilobytes %d", p.Policy.ESPLifetimeBytes/1024)
	}
	t.line(" set ikev2-profile %s", p.Name)
}

func (t *text) iosTunnel(p Params) {
	v4, v6 := p.inner()
	mode := "ipv4"
	switch {
	case v4 && v6 || v4 && p.Gateway.Is6() || v6 && p.Gateway.Is4():
		mode = "dual-overlay"
	case v6:
		mode = "ipv6"
	}
	t.line("interface Tunnel1")
	t.line(" description %s of %s", p.Name, p.Tenant)
	if v4 {
		t.line(" ip unnumbered <LAN interface>")
		t.line(" ip mtu %d", p.MTU)
		t.line(" ip tcp adjust-mss %d", p.MTU-40) // IPv4 and TCP headers
	}
	if v6 {
		t.line(" ipv6 enable")
		t.line(" ipv6 mtu %d", p.MTU)
	}
	t.line(" tunnel source %s", address(p.own, "<WAN interface>"))
	t.line(" tunnel mode ipsec %s", mode)
	t.line(" tunnel destination %v", p.Gateway)
	t.line(" tunnel protection ipsec profile %s", p.Name)
	for _, n := range p.Networks {
		if n.Addr().Is4() {
			t.line("ip route %v %s Tunnel1", n.Addr(), mask(n))
		} else {
			t.line("ipv6 route %v Tunnel1", n)
		}
	}
}

// iosSecret writes in hexadecimal what the command line would take for something else.
func iosSecret(s string) string {
	plain := func(r rune) bool { return r > ' ' && r < 0x7f && r != '?' && r != '"' && r != '\\' }
	for _, r := range s {
		if !plain(r) {
			return "hex " + hex.EncodeToString([]byte(s))
		}
	}
	return s
}
