package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bulkhead/gateway"
	"bulkhead/lab"
)

// azure is a site that offers what Azure's VPN gateways do by default, weak algorithms among them.
func azure() way {
	x := litwareSite("Azure", "IfLp1", "59.10.10.58", "10.58.0.1/24", "10.58.0.5")
	x.declared = "initiate: never\ndestination: 59.10.10.58\nike: {profile: azure-default}\n" +
		"authentication: {method: PSK, sharedSecret: {value: a key}}"
	x.ike = func(*credentials) (lab.IKE, error) {
		return lab.IKE{Key: "a key", Proposals: []string{"aes256-sha1-modp1024"}, ESPProposals: []string{"aes256-sha1"}}, nil
	}
	return x
}

func policies() Part {
	return Part{Title: "Policies", Steps: []Step{
		{"a peer with Azure's defaults is let in by the profile, for that interface", func(ctx context.Context, w *World) ([]string, error) {
			return w.arrives(ctx, azure())
		}},
		{"ESP goes in UDP where that is declared, though there is no NAT", encapsulated},
		{"vpn config tells the site's side for every device, and the secret only on request", deviceConfigs},
	}}
}

func encapsulated(ctx context.Context, w *World) ([]string, error) {
	x := dialled()
	undo, err := w.declare(ctx, x.iface, "ike: {forceEncapsulation: true}")
	if err == nil {
		_, err = w.operate(ctx, "reset", x.iface)
	}
	var row gateway.TunnelRow
	if err == nil {
		row, err = w.tunnel(ctx, x.iface)
	}
	if err == nil && !row.Encapsulated {
		err = fmt.Errorf("%s is not encapsulated", x.iface)
	}
	if err != nil {
		return nil, err
	}
	seen, err := talk(ctx, w, x.site)
	if err != nil {
		return seen, err
	}
	if err := undo(); err != nil {
		return seen, err
	}
	_, err = w.operate(ctx, "reset", x.iface)
	return seen, err
}

// devices are those that vpn config knows.
var devices = []string{"strongswan", "cisco-ios-xe", "vyos", "windows", "fortigate", "generic"}

func deviceConfigs(ctx context.Context, w *World) (seen []string, err error) {
	for _, device := range devices {
		for _, secret := range []bool{false, true} {
			args := []string{"vpn", "config", "IfWe1", "--device", device}
			if secret {
				args = append(args, "--secret")
			}
			text, err := w.bulkhead(ctx, args...)
			if err != nil {
				return seen, err
			}
			words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n\"'=;,", r) })
			if !strings.Contains(text, lab.GatewayAddress.String()) || slices.Contains(words, lab.PSK) != secret {
				return seen, fmt.Errorf("%s: the gateway's address is missing, or the secret is (asked for: %t):\n%s", device, secret, text)
			}
		}
		seen = append(seen, device+": "+"the gateway's address, and the key on request")
	}
	return seen, nil
}
