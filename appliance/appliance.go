// Package appliance holds the files that make a Debian machine a gateway.
package appliance

import _ "embed"

// StrongswanConf is the appliance's strongswan.conf; the lab runs its own charons with it too.
//
//go:embed strongswan.conf
var StrongswanConf string
