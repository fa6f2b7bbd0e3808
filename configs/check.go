package configs

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// gatewayDoc is a Gateway with its places.
type gatewayDoc struct {
	*Gateway
	doc *document
}

// tenantDoc is a Tenant with its places.
type tenantDoc struct {
	*Tenant
	doc    *document
	policy *policy
}

// bad notes a problem of the value at a path below spec.
func (t tenantDoc) bad(p *path, format string, args ...any) { t.doc.bad(p, format, args...) }

// checker holds decoded objects against each other. A value that did not decode is zero here and passed over, so that
// one mistake gives one message.
type checker struct {
	gateways []gatewayDoc
	tenants  []tenantDoc
	// gateway is the first of gateways, nil if there is none.
	gateway *gatewayDoc

	names        claims[string] // of tenants, in lower case
	rdids        claims[string]
	vsids        claims[uint32]
	destinations claims[netip.Addr] // of tunnels with a pre-shared key
	ids          identities
	dials        map[string]dialled // by user name and identity of the site
	users        claims[string]     // EAP and remote access user names, in lower case
	patterns     claims[string]
	natAddresses map[string][]natClaim
	parents      claims[string]     // parent NIC and VLAN of forwarding interfaces
	rewrites     claims[netip.Addr] // provider addresses of records with the rule rewrite
	ownRewrites  claims[netip.Addr] // provider addresses of internal interfaces
	rewriters    map[netip.Addr]rewriter

	provider provider
	reach    *reach // made by ways
	files    []*policyFile
}

// file is the policy file of a tenant or gateway; nil if there is none.
func (c *checker) file(name string) *policyFile {
	for _, f := range c.files {
		if f.name() == name && !f.used {
			return f
		}
	}
	return nil
}

// run fills in defaults and checks everything.
func (c *checker) run() {
	slices.SortStableFunc(c.tenants, func(a, b tenantDoc) int { return cmp.Compare(a.Name, b.Name) })
	c.natAddresses = map[string][]natClaim{}
	c.rewriters = map[netip.Addr]rewriter{}
	for i := range c.gateways {
		c.checkGateway(c.gateways[i])
	}
	var g *Gateway
	if len(c.gateways) > 0 {
		c.gateway = &c.gateways[0]
		g = c.gateway.Gateway
		for i, a := range g.OwnAddresses() {
			c.ids.own.take(a.String(), c.gateway.doc, at("external", "addresses", i, "address"))
		}
	}
	for i := range c.tenants {
		t := &c.tenants[i]
		t.setDefaults(g)
		t.policy = newPolicy(*t, c.file(t.Name))
		c.checkTenant(*t)
		t.policy.settle()
	}
	for _, g := range c.gateways {
		g.IKE.settle()
	}
	for _, t := range c.tenants {
		for i := range t.SiteToSite {
			t.SiteToSite[i].IKE.settle()
		}
	}
	c.checkKeyIdentifiers()
	c.checkRevocationLists()
	c.allocateNAT()
}

func (c *checker) checkTenant(t tenantDoc) {
	c.checkTenantName(t)
	c.claimRoutingDomain(t)
	c.checkVirtualSubnets(t)
	c.checkInternalInterfaces(t)
	c.checkForwardingInterfaces(t)
	c.checkLookupRecords(t)
	c.checkCustomerRoutes(t)
	c.checkRoutes(t)
	c.checkDNS(t)
	t.doc.checkAuthorityList(t.CertificateAuthorities, at("certificateAuthorities"))
	c.checkSiteToSite(t)
	t.checkDisabledInterfaces()
	t.checkSwitchedPeers()
	c.checkInterfaceNames(t)
	c.checkFilters(t)
	c.checkRemoteAccess(t)
	t.checkBGP()
	c.checkNAT(t)
}

// claims remembers who took what may be taken once.
type claims[K comparable] map[K]spot

// take claims the key for the value at p, or gives the place that has it already.
func (c *claims[K]) take(key K, doc *document, p *path) (taken string, ok bool) {
	return c.takeFor(key, spot{doc: doc, p: p})
}

func (c *claims[K]) takeFor(key K, s spot) (taken string, ok bool) {
	if *c == nil {
		*c = claims[K]{}
	}
	if first, is := (*c)[key]; is {
		return first.place(), false
	}
	(*c)[key] = s
	return "", true
}

// nameChars are what names of tenants and interfaces consist of.
const nameChars = letters + digits + "._-"

// checkName refuses what cannot be the name of a namespace or an interface.
func checkName(s string, most int) error {
	if s == "" || len(s) > most || strings.Trim(s, nameChars) != "" || strings.ContainsRune("._-", rune(s[0])) {
		return fmt.Errorf("%q is not a name; want 1 to %d of A-Z a-z 0-9 . _ -, starting with a letter or digit",
			shorten(s), most)
	}
	return nil
}

func (c *checker) checkTenantName(t tenantDoc) {
	p := (*path)(nil).key("metadata").key("name")
	if t.Name == "" {
		return
	}
	if err := checkName(t.Name, 63); err != nil {
		t.bad(p, "%v", err)
		return
	}
	if strings.EqualFold(t.Name, "default") {
		t.bad(p, "%q is the compartment that joins the tenants' ones; want another name", t.Name)
		return
	}
	if c.gateway != nil && t.Name == c.gateway.Name {
		t.bad(p, "%q is the gateway's name, by which its policy goes; want another name", t.Name)
		return
	}
	if taken, ok := c.names.take(strings.ToLower(t.Name), t.doc, p); !ok {
		t.bad(p, "the name is taken by %s; want one of its own, upper and lower case being the same", taken)
	}
}

func (c *checker) claimRoutingDomain(t tenantDoc) {
	id := t.RoutingDomainID.String()
	if t.RoutingDomainID == [16]byte{} {
		return
	}
	p := at("routingDomainId")
	if taken, ok := c.rdids.take(id, t.doc, p); !ok {
		t.bad(p, "the routing domain is taken by %s; want one of its own", taken)
	}
}

// reserved are interface names that Linux makes by itself in a namespace or that the gateway uses in every compartment.
var reserved = []string{
	"lo", "ext", dialInInterface, "all", "default", "tunl0", "gre0", "gretap0", "erspan0", "sit0", "ip6tnl0", "ip6gre0",
	"ip_vti0", "ip6_vti0",
}

// maxInterfaceName is the length of the longest name that an interface can have (IFNAMSIZ of Linux less its end).
const maxInterfaceName = 15

// checkInterfaceName refuses what cannot name an interface of a compartment.
func checkInterfaceName(s string) error {
	if err := checkName(s, maxInterfaceName); err != nil {
		return err
	}
	if slices.Contains(reserved, s) || isOwnLink(s) {
		return fmt.Errorf("%q is a name that Linux or the gateway uses itself; want another", s)
	}
	return nil
}

// isOwnLink tells whether a name is one of those that the gateway gives to the Default compartment's ends of links.
func isOwnLink(s string) bool {
	return strings.HasPrefix(s, "bhi") || strings.HasPrefix(s, "bhx")
}

// checkInterfaceNames holds all interfaces of a tenant to one space of names.
func (c *checker) checkInterfaceNames(t tenantDoc) {
	var names claims[string]
	check := func(name string, p *path) {
		if name == "" {
			return
		}
		if err := checkInterfaceName(name); err != nil {
			t.bad(p, "%v", err)
		} else if taken, ok := names.take(name, t.doc, p); !ok {
			t.bad(p, "the name %q is taken by %s; want one of its own", name, taken)
		}
	}
	for i, in := range t.InternalInterfaces {
		check(in.Name, at("internalInterfaces", i, "name"))
	}
	for i, f := range t.ForwardingInterfaces {
		check(f.Name, at("forwardingInterfaces", i, "name"))
	}
	for i, s := range t.SiteToSite {
		check(s.Name, at("siteToSite", i, "name"))
	}
}

// interfaces lists the names of the tenant's interfaces, for finding and for messages.
func (t *Tenant) interfaces() []string {
	var names []string
	for _, in := range t.InternalInterfaces {
		names = append(names, in.Name)
	}
	for _, f := range t.ForwardingInterfaces {
		names = append(names, f.Name)
	}
	for _, s := range t.SiteToSite {
		names = append(names, s.Name)
	}
	if t.RemoteAccess != nil {
		names = append(names, dialInInterface)
	}
	return names
}

// checkInterface notes a problem unless the name is that of one of the tenant's interfaces, or may be that of one whose
// name did not decode.
func (t tenantDoc) checkInterface(name string, p *path, among []string) {
	if name == "" || slices.Contains(among, name) || slices.Contains(among, "") {
		return
	}
	if near := nearest(name, among); near != "" {
		t.bad(p, "the tenant has no interface %q for this; did you mean %q?", shorten(name), near)
		return
	}
	t.bad(p, "the tenant has no interface %q for this; it has: %s", shorten(name), orNone(among))
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
