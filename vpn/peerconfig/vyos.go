package peerconfig

import (
	"errors"
	"fmt"
	"strings"

	"bulkhead/vpn"
)

// The words of VyOS (docs.vyos.io, "IPsec" of 1.4), which hands most of charon's through. Its gcm128 has a check value of
// 128 bits, charon's gcm16 one of 16 octets.
var (
	vyosCipher = words{
		"3des": "3des", "aes128": "aes128", "aes192": "aes192", "aes256": "aes256", "aes128gcm16": "aes128gcm128",
		"aes192gcm16": "aes192gcm128", "aes256gcm16": "aes256gcm128", "chacha20poly1305": "chacha20poly1305",
	}
	vyosHash = iosHash
)

func vyos(t *text, p Params, pol policy) error {
	if p.Method == vpn.EAP {
		return errEAP
	}
	if strings.ContainsAny(string(p.Secret), `'"\`) {
		return errors.New("it cannot have a pre-shared key with a quotation mark or a backslash: choose another")
	}
	for _, id := range []string{p.SiteID, p.GatewayID} {
		if strings.ContainsAny(id, `'"\`) {
			return fmt.Errorf("it cannot have an identity with a quotation mark or a backslash, such as %s: choose another", id)
		}
	}
	fits := func(q proposal) bool {
		return vyosCipher.has(q.encryption) && vyosHash.has(q.integrity, q.prf) && words(keyExchanges).has(q.keyExchange)
	}
	ike, ikeOut := known(pol.ike, fits)
	if len(ike) == 0 {
		return errNothingLeft("IKE", ikeOut)
	}
	esp, espOut := samePFS(known(pol.esp, fits))
	if len(esp) == 0 {
		return errNothingLeft("ESP", espOut)
	}
	t.line("# VyOS 1.4 or later: the site's end of %s of %s.", p.Name, p.Tenant)
	t.line("# In configure mode; fill in what is in angle brackets. vti1 is to be a free number.")
	t.leftOut("#", "IKE", ikeOut)
	t.leftOut("#", "ESP", espOut)
	t.vyosGroups(p, ike, esp)
	t.vyosPeer(p)
	t.line("set interfaces vti vti1 description '%s of %s'", p.Name, p.Tenant)
	t.line("set interfaces vti vti1 mtu '%d'", p.MTU)
	for _, n := range p.Networks {
		if n.Addr().Is4() {
			t.line("set protocols static route %v interface vti1", n)
		} else {
			t.line("set protocols static route6 %v interface vti1", n)
		}
	}
	return nil
}

func (t *text) vyosGroups(p Params, ike, esp []proposal) {
	group := "set vpn ipsec ike-group " + p.Name
	t.line("%s key-exchange 'ikev2'", group)
	t.seconds(group+" lifetime '%d'", p.Policy.IKELifetime)
	if p.Policy.DPD > 0 {
		t.line("%s dead-peer-detection action 'restart'", group)
		t.seconds(group+" dead-peer-detection interval '%d'", p.Policy.DPD)
		t.seconds(group+" dead-peer-detection timeout '%d'", 3*p.Policy.DPD)
	}
	if p.Policy.NoMOBIKE {
		t.line("%s disable-mobike", group)
	}
	for i, q := range ike {
		t.line("%s proposal %d encryption '%s'", group, i+1, vyosCipher[q.encryption])
		t.line("%s proposal %d hash '%s'", group, i+1, vyosHash[q.pseudorandom()])
		t.line("%s proposal %d prf 'prf%s'", group, i+1, vyosHash[q.pseudorandom()])
		t.line("%s proposal %d dh-group '%s'", group, i+1, keyExchanges[q.keyExchange])
	}
	group = "set vpn ipsec esp-group " + p.Name
	t.line("%s mode 'tunnel'", group)
	t.seconds(group+" lifetime '%d'", p.Policy.ESPLifetime)
	if p.Policy.ESPLifetimeBytes > 0 {
		t.line("%s life-bytes '%d'", group, p.Policy.ESPLifetimeBytes)
	}
	pfs := "disable"
	if esp[0].keyExchange != "" {
		pfs = "dh-group" + keyExchanges[esp[0].keyExchange]
	}
	t.line("%s pfs '%s'", group, pfs)
	for i, q := range esp {
		t.line("%s proposal %d encryption '%s'", group, i+1, vyosCipher[q.encryption])
		hash := vyosHash[q.integrity]
		if q.aead() {
			hash = "sha256" // must be given, and is not used with such a cipher
		}
		t.line("%s proposal %d hash '%s'", group, i+1, hash)
	}
}

func (t *text) vyosPeer(p Params) {
	peer := "set vpn ipsec site-to-site peer " + p.Name
	if p.Method == vpn.PSK {
		psk := "set vpn ipsec authentication psk " + p.Name
		t.line("%s id '%s'", psk, p.SiteID)
		t.line("%s id '%s'", psk, p.GatewayID)
		t.line("%s secret '%s'", psk, p.secret(func(s string) string { return s }))
		t.line("%s authentication mode 'pre-shared-secret'", peer)
		t.line("%s authentication local-id '%s'", peer, p.SiteID)
	} else {
		t.certificateName("#", p)
		t.line("%s authentication mode 'x509'", peer)
		t.line("%s authentication x509 certificate '<certificate>'", peer)
		t.line("%s authentication x509 ca-certificate '<authority>'", peer)
	}
	t.line("%s authentication remote-id '%s'", peer, p.GatewayID)
	t.line("%s connection-type 'initiate'", peer)
	if p.Policy.ForceEncapsulation {
		t.line("%s force-udp-encapsulation", peer)
	}
	t.line("%s ike-group '%s'", peer, p.Name)
	t.line("%s local-address '%s'", peer, address(p.own, "any"))
	t.line("%s remote-address '%v'", peer, p.Gateway)
	t.line("%s vti bind 'vti1'", peer)
	t.line("%s vti esp-group '%s'", peer, p.Name)
	t.line("set vpn ipsec interface '<WAN interface>'")
	t.line("set vpn ipsec options disable-route-autoinstall")
}
