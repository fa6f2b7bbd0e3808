package configs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
)

func (c *checker) checkGateway(g gatewayDoc) {
	if g.Name != "" {
		if err := checkName(g.Name, 63); err != nil {
			g.doc.bad((*path)(nil).key("metadata").key("name"), "%v", err)
		}
	}
	g.checkNICs()
	c.provider = g.declare(c.file(g.Name))
	c.provider.check()
	if err := g.Backend.checkMTU(); err != nil {
		g.doc.bad(at("backend", "mtu"), "%v", err)
	}
	g.checkExternal(c.provider)
	g.checkPool()
	g.checkIKE()
	for i, s := range g.RADIUS.Upstream {
		for _, other := range g.RADIUS.Upstream[:i] {
			if s.Address == other.Address && s.Address.IsValid() {
				g.doc.bad(at("radius", "upstream", i, "address"), "stands twice; keep one")
			}
		}
	}
}

func (g gatewayDoc) checkNICs() {
	nics := map[string]int{}
	check := func(name, section string) {
		if name == "" {
			return
		}
		p := at(section, "interface")
		if err := checkName(name, 15); err != nil {
			g.doc.bad(p, "%v", err)
		} else if name == "lo" || isOwnLink(name) {
			g.doc.bad(p, "%q is not a NIC; want the Linux name of one", name)
		}
		if nics[name]++; nics[name] == 3 {
			g.doc.bad(p, "backend, external and management are all %s; any two of them may be one NIC, not all", name)
		}
	}
	check(g.Backend.Interface, "backend")
	check(g.External.Interface, "external")
	if g.Management != nil {
		check(g.Management.Interface, "management")
	}
}

func externalPrefixes(g *Gateway) []netip.Prefix {
	out := make([]netip.Prefix, len(g.External.Addresses))
	for i, a := range g.External.Addresses {
		out[i] = a.Address
	}
	return out
}

// onLink tells whether a router can be reached in one of the subnets, or whether that cannot be told since one of them
// did not decode.
func (g gatewayDoc) onLink(router netip.Addr, subnets []netip.Prefix) bool {
	for _, s := range subnets {
		if !s.IsValid() || s.Contains(router) && s.Addr() != router {
			return true
		}
	}
	return false
}

// checkHostAddress refuses addresses that no machine can have in their subnet.
func (g gatewayDoc) checkHostAddress(a netip.Prefix, p *path) bool {
	if !a.IsValid() {
		return false
	}
	if isEdge(a.Addr(), a) {
		g.doc.bad(p, "%s is the network or broadcast address of %s; want a host's address", a.Addr(), a.Masked())
		return false
	}
	return true
}

// isEdge tells whether an address is the network or broadcast address of its subnet. Subnets of one or two addresses
// have neither (RFC 3021), and IPv6 has no broadcast.
func isEdge(a netip.Addr, subnet netip.Prefix) bool {
	if a.BitLen()-subnet.Bits() < 2 {
		return false
	}
	return a == subnet.Masked().Addr() || a.Is4() && a == lastOf(subnet)
}

// checkMTU wants room for the smallest packet of IPv6 (RFC 8200, 5) inside of NVGRE over IPv6.
func (b *Backend) checkMTU() error {
	const least = 1280 + 62
	for _, a := range b.ProviderAddresses {
		if b.MTU != 0 && b.MTU < least && a.Address.Addr().Is6() {
			return fmt.Errorf("%d bytes leave less than 1280 inside of NVGRE between IPv6 addresses such as %s; want at least %d",
				b.MTU, a.Address.Addr(), least)
		}
	}
	return nil
}

func (g gatewayDoc) checkExternal(p provider) {
	var seen claims[netip.Addr]
	for i, a := range g.Backend.ProviderAddresses {
		if a.Address.IsValid() {
			seen.takeFor(a.Address.Addr(), p.address(i).key("address"))
		}
	}
	for i, a := range g.External.Addresses {
		where := at("external", "addresses", i, "address")
		if !g.checkHostAddress(a.Address, where) {
			continue
		}
		if taken, ok := seen.take(a.Address.Addr(), g.doc, where); !ok {
			g.doc.bad(where, "the address is that of %s; want one of its own", taken)
		}
	}
	for i, r := range g.External.DefaultGateways {
		p := at("external", "defaultGateways", i)
		if r.IsValid() && !g.onLink(r, externalPrefixes(g.Gateway)) {
			g.doc.bad(p, "%s is in no subnet of the external addresses, or is the gateway's own; want a router in one", r)
		}
		for _, other := range g.External.DefaultGateways[:i] {
			if r.IsValid() && r == other {
				g.doc.bad(p, "stands twice; keep one")
			}
		}
	}
}

// checkPool keeps what belongs to the gateway or to its neighbours out of the tenants' addresses.
func (g gatewayDoc) checkPool() {
	for i, r := range g.External.NATAddresses {
		p := at("external", "natAddresses", i)
		for j, other := range g.External.NATAddresses[:i] {
			if r.Overlaps(other) {
				g.doc.bad(p, "overlaps %s; want each address once", g.doc.place(at("external", "natAddresses", j)))
			}
		}
		for j, a := range g.External.Addresses {
			if a.Address.IsValid() && r.Contains(a.Address.Addr()) {
				g.doc.bad(p, "holds %s, the gateway's own by %s; leave it out", a.Address.Addr(),
					g.doc.place(at("external", "addresses", j, "address")))
			}
			if edge, ok := edgeIn(r, a.Address); ok {
				g.doc.bad(p, "holds %s, the network or broadcast address of %s; leave it out", edge, a.Address.Masked())
			}
		}
		for _, router := range g.External.DefaultGateways {
			if r.Contains(router) {
				g.doc.bad(p, "holds %s, a default gateway; leave it out", router)
			}
		}
	}
}

// edgeIn finds the network or broadcast address of a subnet in a range.
func edgeIn(r AddressRange, subnet netip.Prefix) (netip.Addr, bool) {
	if !subnet.IsValid() {
		return netip.Addr{}, false
	}
	for _, a := range []netip.Addr{subnet.Masked().Addr(), lastOf(subnet)} {
		if r.Contains(a) && isEdge(a, subnet) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (g gatewayDoc) checkIKE() {
	g.doc.checkPolicy(g.IKE.IKEPolicy, at("ike"))
	ike := g.IKE
	if len(ike.Certificate) > 0 && ike.PrivateKey.IsZero() && !g.doc.has(at("ike", "privateKey")) {
		g.doc.bad(at("ike", "certificate"), "has no private key; want privateKey besides it")
	}
	if !ike.PrivateKey.IsZero() && !g.doc.has(at("ike", "certificate")) {
		g.doc.bad(at("ike", "privateKey"), "has no certificate; want certificate besides it")
	}
	if !ike.PrivateKey.IsZero() && len(ike.Certificate) > 0 {
		// The error of the library could hold a piece of the key, so it is not passed on.
		if _, err := tls.X509KeyPair(toPEM(ike.Certificate), ike.PrivateKey.Reveal()); err != nil {
			g.doc.bad(at("ike", "privateKey"), "is not the private key of ike.certificate in PEM; want that one")
		}
	}
	g.doc.checkAuthorityList(ike.CertificateAuthorities, at("ike", "certificateAuthorities"))
	if ike.Revocation == RevocationOff && len(ike.RevocationLists) > 0 {
		g.doc.bad(at("ike", "revocationLists"), "are not asked with revocation: off; want one of them")
	}
}

// checkAuthorityList wants authorities, each once.
func (d *document) checkAuthorityList(list []Certificate, p *path) {
	var seen claims[string]
	for i, ca := range list {
		for _, cert := range ca {
			if !cert.IsCA {
				d.bad(p.item(i), "the certificate %q is not an authority's; want one with basic constraints CA", cert.Subject)
			} else if taken, ok := seen.take(string(cert.Raw), d, p.item(i)); !ok {
				d.bad(p.item(i), "the authority %q stands in %s already; keep one", cert.Subject, taken)
			}
		}
	}
}

func toPEM(chain []*x509.Certificate) []byte {
	var out []byte
	for _, cert := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}

// checkPolicy refuses proposals that charon would refuse. Those that were inherited are at no path of this document and
// known to be good.
func (d *document) checkPolicy(policy IKEPolicy, p *path) {
	strong := policy.WeakAlgorithms != WeakAllowed
	if d.has(p.key("proposals")) {
		d.checkProposals(policy.Proposals, p.key("proposals"), checkIKEProposal, strong)
	}
	if d.has(p.key("espProposals")) {
		d.checkProposals(policy.ESPProposals, p.key("espProposals"), checkESPProposal, strong)
	}
	if p = p.key("perfectForwardSecrecy"); d.has(p) {
		if err := checkPFS(policy.PerfectForwardSecrecy, strong); err != nil {
			d.bad(p, "%q %v", shorten(string(policy.PerfectForwardSecrecy)), err)
		}
	}
}

func (d *document) checkProposals(proposals []string, p *path, check func(string) error, strong bool) {
	for i, s := range proposals {
		if s == "" {
			continue
		}
		err := check(s)
		if err == nil && strong {
			err = checkStrong(s)
		}
		if err != nil {
			d.bad(p.item(i), "%q %v", shorten(s), err)
		}
	}
}
