package peerconfig

import (
	"encoding/base64"
	"strings"
	"time"

	"bulkhead/vpn"
)

// strongswan writes a swanctl.conf for strongSwan 5.8 or later with an xfrm interface, and the commands for the latter.
func strongswan(t *text, p Params, _ policy) error {
	t.line("# strongSwan on Linux: the site's end of %s of %s.", p.Name, p.Tenant)
	t.line("# Put this into /etc/swanctl/conf.d/%s.conf, have \"install_routes = no\" in the section charon of", p.Name)
	t.line("# strongswan.conf, and run as root, now and at each boot:")
	t.line("#   ip link add %s type xfrm if_id 1", p.Name)
	t.line("#   ip link set %s mtu %d up", p.Name, p.MTU)
	for _, n := range p.Networks {
		t.line("#   ip route replace %v dev %s", n, p.Name)
	}
	t.line("#   swanctl --load-all")
	if p.Method != vpn.PSK {
		t.line("# The authority of the gateway's certificate goes into /etc/swanctl/x509ca.")
	}
	if p.Method == vpn.Certificate {
		t.line("# The site's certificate goes into /etc/swanctl/x509, its key into /etc/swanctl/private.")
		t.certificateName("#", p)
	}
	t.line("")
	t.line("connections {")
	t.line("  %s {", p.Name)
	t.line("    version = 2")
	t.line("    local_addrs = %s", address(p.own, "%any"))
	t.line("    remote_addrs = %v", p.Gateway)
	t.line("    proposals = %s", strings.Join(p.Policy.IKEProposals, ", "))
	t.line("    if_id_in = 1")
	t.line("    if_id_out = 1")
	t.seconds("    dpd_delay = %ds", p.Policy.DPD)
	t.seconds("    rekey_time = %ds", p.Policy.IKELifetime)
	t.line("    mobike = %s", yesNo(!p.Policy.NoMOBIKE))
	t.line("    fragmentation = %s", yesNo(!p.Policy.NoFragmentation))
	t.line("    encap = %s", yesNo(p.Policy.ForceEncapsulation))
	t.line("    keyingtries = 0")
	t.strongswanEnds(p)
	t.strongswanChild(p)
	t.line("  }")
	t.line("}")
	t.strongswanSecrets(p)
	return nil
}

// strongswanEnds writes how the ends prove who they are. The site's own identity is its certificate's subject, unless it
// is to be an alternative name.
func (t *text) strongswanEnds(p Params) {
	auth := map[vpn.Method]string{vpn.PSK: "psk", vpn.Certificate: "pubkey", vpn.EAP: "eap-mschapv2"}[p.Method]
	t.line("    local {")
	t.line("      auth = %s", auth)
	switch p.Method {
	case vpn.EAP:
		t.line("      eap_id = %s", quoted(p.UserName))
	case vpn.Certificate:
		t.line("      certs = %s.pem", p.Name)
		if strings.ContainsAny(p.SiteID, "=:") {
			t.line("      id = %s", quoted(p.SiteID))
		}
	default:
		t.line("      id = %s", quoted(p.SiteID))
	}
	t.line("    }")
	t.line("    remote {")
	if p.Method == vpn.PSK {
		t.line("      auth = psk")
	} else {
		t.line("      auth = pubkey")
	}
	if p.GatewayID != "" {
		t.line("      id = %s", quoted(p.GatewayID))
	}
	t.line("    }")
}

// strongswanChild writes the ESP part. Everything may go through the tunnel; routes decide. Where the gateway cannot dial
// the site, the site does so at once, and otherwise when a packet asks for it.
func (t *text) strongswanChild(p Params) {
	action := "trap"
	if !p.Site.IsValid() {
		action = "start"
	}
	t.line("    children {")
	t.line("      %s {", p.Name)
	t.line("        local_ts = 0.0.0.0/0, ::/0")
	t.line("        remote_ts = 0.0.0.0/0, ::/0")
	t.line("        esp_proposals = %s", strings.Join(p.Policy.ESPProposals, ", "))
	t.seconds("        rekey_time = %ds", p.Policy.ESPLifetime)
	if p.Policy.ESPLifetimeBytes > 0 {
		t.line("        rekey_bytes = %d", p.Policy.ESPLifetimeBytes)
	}
	for _, when := range []string{"start", "close", "dpd"} {
		t.line("        %s_action = %s", when, action)
	}
	t.line("      }")
	t.line("    }")
}

func (t *text) strongswanSecrets(p Params) {
	if p.Method == vpn.Certificate {
		return
	}
	t.line("")
	t.line("secrets {")
	if p.Method == vpn.EAP {
		t.line("  eap-%s {", p.Name)
		t.line("    id = %s", quoted(p.UserName))
	} else {
		t.line("  ike-%s {", p.Name)
		t.line("    id-gateway = %s", quoted(p.GatewayID))
		t.line("    id-site = %s", quoted(p.SiteID))
	}
	t.line("    secret = %s", p.secret(swanctlSecret))
	t.line("  }")
	t.line("}")
}

// certificateName tells what the site's certificate must say.
func (t *text) certificateName(comment string, p Params) {
	switch {
	case strings.Contains(p.SiteID, "="):
		t.line("%s The certificate's subject must be %s.", comment, p.SiteID)
	case strings.Contains(p.SiteID, ":"):
		t.line("%s The certificate must have the alternative name %s.", comment, p.SiteID)
	default:
		t.line("%s The certificate's subject must have the common name %s.", comment, p.SiteID)
	}
}

// seconds writes a line with a time, unless it is left to the device.
func (t *text) seconds(format string, d time.Duration) {
	if d > 0 {
		t.line(format, int64(d/time.Second))
	}
}

// quoted is a string in double quotes, in which a backslash escapes. swanctl and FortiOS read them so.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// swanctlSecret hides from swanctl that a secret looks like an encoded one.
func swanctlSecret(s string) string {
	if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0s") {
		return "0s" + base64.StdEncoding.EncodeToString([]byte(s))
	}
	return quoted(s)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
