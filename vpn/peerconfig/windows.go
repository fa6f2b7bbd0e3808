package peerconfig

import (
	"fmt"
	"net/netip"
	"strings"

	"bulkhead/vpn"
)

// The words of Add-VpnS2SInterface (module RemoteAccess).
var (
	windowsIKE       = words{"3des": "DES3", "aes128": "AES128", "aes192": "AES192", "aes256": "AES256"}
	windowsIntegrity = words{"md5": "MD5", "sha1": "SHA1", "sha256": "SHA256", "sha384": "SHA384"}
	windowsGroup     = words{
		"modp768": "Group1", "modp1024": "Group2", "modp2048": "Group14", "ecp256": "ECP256", "ecp384": "ECP384",
		"modp2048s256": "Group24",
	}
	windowsESP = words{
		"3des": "DES3", "aes128": "AES128", "aes192": "AES192", "aes256": "AES256", "aes128gcm16": "GCMAES128",
		"aes192gcm16": "GCMAES192", "aes256gcm16": "GCMAES256",
	}
	windowsHMAC = words{"md5": "MD596", "sha1": "SHA196", "sha256": "SHA256128"}
	windowsPFS  = words{
		"modp768": "PFS1", "modp1024": "PFS2", "modp2048": "PFS2048", "ecp256": "ECP256", "ecp384": "ECP384",
		"modp2048s256": "PFS24",
	}
)

// windowsMetric is that of the routes, as the book gives them.
const windowsMetric = 100

// windows writes a cmdlet of Windows Server. It offers one proposal only: the first that it has words for.
func windows(t *text, p Params, pol policy) error {
	if kind, _ := identity(p.SiteID); p.Method == vpn.PSK && kind != addressID {
		return fmt.Errorf("it presents its own address as its identity, never %s: give the interface that address as its "+
			"remoteIdentity", p.SiteID)
	}
	ike, ikeOut := known(pol.ike, func(q proposal) bool {
		return windowsIKE.has(q.encryption) && windowsIntegrity.has(q.integrity) && q.pseudorandom() == q.integrity &&
			windowsGroup.has(q.keyExchange)
	})
	if len(ike) == 0 {
		return errNothingLeft("IKE", ikeOut)
	}
	esp, espOut := known(pol.esp, func(q proposal) bool {
		return windowsESP.has(q.encryption) && windowsHMAC.has(q.integrity) && windowsPFS.has(q.keyExchange)
	})
	if len(esp) == 0 {
		return errNothingLeft("ESP", espOut)
	}
	t.line("# Windows Server 2012 R2 or later with the role Remote Access: the site's end of %s of %s.", p.Name, p.Tenant)
	t.line("# It offers one proposal for IKE, %s, and one for ESP, %s.", ike[0].text, esp[0].text)
	if p.Method == vpn.Certificate {
		t.certificateName("#", p)
	}
	t.line("Add-VpnS2SInterface -Name %s -Destination %s -Protocol IKEv2 `", powershell(p.Name),
		powershell(p.Gateway.String()))
	t.line("    %s `", p.windowsAuthentication())
	if p.own.IsValid() {
		t.line("    -SourceIpAddress %s `", powershell(p.own.String()))
	}
	t.windowsSubnets("IPv4Subnet", p.Networks, netip.Addr.Is4)
	t.windowsSubnets("IPv6Subnet", p.Networks, netip.Addr.Is6)
	t.seconds("    -MMSALifeTimeSeconds %d `", p.Policy.IKELifetime)
	t.seconds("    -SALifeTimeSeconds %d `", p.Policy.ESPLifetime)
	if p.Policy.ESPLifetimeBytes > 0 {
		t.line("    -SADataSizeForRenegotiationKilobytes %d `", p.Policy.ESPLifetimeBytes/1024)
	}
	t.line("    -CustomPolicy -EncryptionMethod %s -IntegrityCheckMethod %s -DHGroup %s `", windowsIKE[ike[0].encryption],
		windowsIntegrity[ike[0].integrity], windowsGroup[ike[0].keyExchange])
	authentication, pfs := windowsHMAC[esp[0].integrity], "None"
	if esp[0].aead() {
		authentication = windowsESP[esp[0].encryption]
	}
	if esp[0].keyExchange != "" {
		pfs = windowsPFS[esp[0].keyExchange]
	}
	t.line("    -CipherTransformConstants %s -AuthenticationTransformConstants %s -PfsGroup %s",
		windowsESP[esp[0].encryption], authentication, pfs)
	return nil
}

func (p Params) windowsAuthentication() string {
	switch p.Method {
	case vpn.Certificate:
		return "-AuthenticationMethod MachineCertificates -Certificate <certificate>"
	case vpn.EAP:
		return fmt.Sprintf("-AuthenticationMethod EAP -EapMethod EAP-MSCHAPv2 -UserName %s -Password %s",
			powershell(p.UserName), powershell(p.secret(func(s string) string { return s })))
	default:
		return "-AuthenticationMethod PSKOnly -SharedSecret " +
			powershell(p.secret(func(s string) string { return s }))
	}
}

func (t *text) windowsSubnets(parameter string, all []netip.Prefix, family func(netip.Addr) bool) {
	var list []string
	for _, n := range all {
		if family(n.Addr()) {
			list = append(list, powershell(fmt.Sprintf("%v:%d", n, windowsMetric)))
		}
	}
	if len(list) > 0 {
		t.line("    -%s @(%s) `", parameter, strings.Join(list, ", "))
	}
}

// powershellQuotes doubles what ends a string in single quotes: PowerShell takes typographic quotes for plain ones
// (about_Quoting_Rules).
var powershellQuotes = strings.NewReplacer("'", "''", "‘", "‘‘", "’", "’’", "‚", "‚‚", "‛", "‛‛")

// powershell is a string of PowerShell in which nothing is expanded.
func powershell(s string) string { return "'" + powershellQuotes.Replace(s) + "'" }
