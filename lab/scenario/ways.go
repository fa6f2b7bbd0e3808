package scenario

import (
	"net/netip"

	"bulkhead/lab"
	"bulkhead/lab/pki"
)

// The site that the gateway finds by name. The name is in /etc/hosts of the machine that the lab runs on, a throw-away VM.
const (
	dialledName    = "dialled.litware.example"
	dialledAddress = "60.10.10.54"
)

// litwareSite is one with the prefix 10.N.0.0/24.
func litwareSite(name, iface, address, lan, host string) way {
	return way{
		site: site{name, "Litware", iface, host},
		options: lab.SiteOptions{
			Name: name, Address: netip.MustParseAddr(address), LAN: netip.MustParsePrefix(lan), HostAddress: netip.MustParseAddr(host),
		},
	}
}

// certified has a certificate, of which the interface's name is the common name, and no address that is known.
func certified() way {
	x := litwareSite("Certified", "IfLc1", "59.10.10.51", "10.51.0.1/24", "10.51.0.5")
	x.declared = "initiate: never\nauthentication: {method: Certificate}"
	x.ike = func(c *credentials) (lab.IKE, error) { return c.show(pki.Request{CommonName: x.iface}) }
	return x
}

// show is what a site says that has a certificate of the lab's authority.
func (c *credentials) show(r pki.Request) (lab.IKE, error) {
	ike := c.trust()
	var err error
	ike.Certificate, err = c.ca.Issue(r)
	return ike, err
}

// user logs in by name and password.
func user() way {
	x := litwareSite("User", "IfLe1", "59.10.10.52", "10.52.0.1/24", "10.52.0.5")
	x.declared = "initiate: never\npostConnectionSubnets: [\"10.152.0.0/24:100\"]\n" +
		`authentication: {method: EAP, userName: "branch@litware.example", password: {value: "a good password"}}`
	x.ike = func(c *credentials) (lab.IKE, error) {
		ike := c.trust()
		ike.UserName, ike.Password = "branch@litware.example", "a good password"
		return ike, nil
	}
	return x
}

// card logs in by name and certificate. The name is the interface's.
func card() way {
	x := litwareSite("Card", "IfLt1", "60.10.10.53", "10.53.0.1/24", "10.53.0.5")
	x.declared = "initiate: never\nauthentication: {method: EAP}"
	x.ike = func(c *credentials) (lab.IKE, error) {
		ike, err := c.show(pki.Request{CommonName: x.iface, Names: []string{x.iface}})
		ike.UserName = x.iface
		return ike, err
	}
	return x
}

// dialled is known by its name, and the gateway logs in there.
func dialled() way {
	x := litwareSite("Dialled", "IfLd1", dialledAddress, "10.54.0.1/24", "10.54.0.5")
	x.dialled = true
	x.declared = "destination: " + dialledName + "\n" +
		`authentication: {method: EAP, dialAs: {userName: fabrikam, password: {value: "another password"}}}`
	x.ike = func(c *credentials) (lab.IKE, error) {
		ike, err := c.show(pki.Request{CommonName: dialledName, Names: []string{dialledName}})
		ike.ID, ike.Users = dialledName, map[string]string{"fabrikam": "another password"}
		return ike, err
	}
	return x
}

// translated is behind NAT, with a pre-shared key and a name in place of its private address.
func translated() way {
	x := litwareSite("Translated", "IfLn1", "59.10.10.55", "10.55.0.1/24", "10.55.0.5")
	x.options.Behind = netip.MustParsePrefix("192.168.1.50/24")
	x.declared = "initiate: never\ndestination: 59.10.10.55\n" +
		"authentication: {method: PSK, sharedSecret: {value: a key}, remoteIdentity: home.litware.example}"
	x.ike = func(*credentials) (lab.IKE, error) { return lab.IKE{Key: "a key", ID: "home.litware.example"}, nil }
	return x
}

// six has IPv6 outside.
func six() way {
	x := litwareSite("Six", "IfL6", "2001:db8:60::56", "10.56.0.1/24", "10.56.0.5")
	x.dialled = true
	x.declared = "idleDisconnect: 10s\ndestination: \"2001:db8:60::56\"\nauthentication: {method: PSK, sharedSecret: {value: a key}}"
	x.ike = func(*credentials) (lab.IKE, error) { return lab.IKE{Key: "a key"}, nil }
	return x
}
