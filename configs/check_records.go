package configs

import (
	"bytes"
	"net/netip"
	"strconv"
)

// complaint takes what is wrong with a value of an object, by its key; "" is the object itself.
type complaint func(key, format string, args ...any)

// rewriter is who has a provider address to itself, by the rule rewrite.
type rewriter struct {
	tenant string
	ca     netip.Addr
}

// checkRecord holds a lookup record against what is declared besides other records.
func (t *Tenant) checkRecord(r *LookupRecord, ways *reach, say complaint) {
	s, ok := t.checkVSID(r.VSID, say)
	own := t.isOwn(r)
	if r.Type == RecordL2Only {
		if r.CustomerAddress.IsValid() && !r.CustomerAddress.IsUnspecified() {
			say("customerAddress", "%s: a record of type L2Only has none, since it is to be learned", r.CustomerAddress)
		}
		if r.Rule == RuleRewrite {
			say("rule", "a record of type L2Only has no customer address to rewrite; want encap")
		}
	} else if r.CustomerAddress.IsValid() {
		t.checkCustomerAddress(r, s, ok, say)
	}
	if !r.ProviderAddress.IsValid() || ways == nil {
		return
	}
	if r.Rule == RuleRewrite && r.CustomerAddress.IsValid() && r.CustomerAddress.Is4() != r.ProviderAddress.Is4() {
		say("providerAddress", "%s is not of the address family of %s; want one that is, for the rule rewrite",
			r.ProviderAddress, r.CustomerAddress)
	}
	switch i := ways.index(r.ProviderAddress); {
	case i >= 0 && !own:
		say("providerAddress", "%s is the gateway's own; want that of the VM's host", r.ProviderAddress)
	case i < 0 && own:
		say("providerAddress", "%s is none of the gateway's, whose interface the record describes; want one of its own",
			r.ProviderAddress)
	case i < 0:
		if err := ways.check(r.ProviderAddress, r.VSID); err != nil {
			say("providerAddress", "%v", err)
		}
	}
}

// checkVSID finds the virtual subnet of an object.
func (t *Tenant) checkVSID(vsid uint32, say complaint) (s VirtualSubnet, ok bool) {
	if vsid == 0 {
		return s, false
	}
	if s, ok = t.Subnet(vsid); ok {
		return s, s.Prefix.IsValid()
	}
	if _, undecided := t.Subnet(0); !undecided {
		var known []string
		for _, s := range t.VirtualSubnets {
			known = append(known, strconv.Itoa(int(s.VSID)))
		}
		say("vsid", "VSID %d is none of the tenant's virtual subnets; it has: %s", vsid, orNone(known))
	}
	return s, false
}

func (t *Tenant) checkCustomerAddress(r *LookupRecord, s VirtualSubnet, inSubnet bool, say complaint) {
	if err := checkUnicast(r.CustomerAddress); err != nil {
		say("customerAddress", "%q %v", r.CustomerAddress, err)
		return
	}
	if inSubnet {
		if err := checkMember(r.CustomerAddress, s); err != nil {
			say("customerAddress", "%v", err)
		}
	}
	own, is := t.interfaceOf(r.CustomerAddress)
	switch {
	case !is:
	case r.Type != RecordGatewayWildcard:
		say("customerAddress", "%s is the address of internal interface %s; want another, or type GatewayWildcard",
			r.CustomerAddress, own.Name)
	case r.VSID != 0 && own.VSID != 0 && r.VSID != own.VSID:
		say("vsid", "%d is not the VSID of internal interface %s, which has the address; want %d", r.VSID, own.Name, own.VSID)
	case r.MACAddress != nil && own.MACAddress != nil && !bytes.Equal(r.MACAddress, own.MACAddress):
		say("macAddress", "%s is not that of internal interface %s, which has the address; want %s", r.MACAddress, own.Name,
			own.MACAddress)
	}
}

// checkCustomerRoute holds a customer route against what is declared besides.
func (t *Tenant) checkCustomerRoute(r *CustomerRoute, say complaint) {
	s, ok := t.checkVSID(r.VSID, say)
	switch {
	case !r.Prefix.IsValid() || !r.NextHop.IsValid():
	case r.NextHop.Is4() != r.Prefix.Addr().Is4():
		say("nextHop", "%s is not of the prefix's address family; want one that is", r.NextHop)
	case !ok:
	case r.OnLink() && r.Prefix.Addr().Is4() != s.Prefix.Addr().Is4():
		say("prefix", "%s is not of the address family of VSID %d; want one that is", r.Prefix, s.VSID)
	case r.OnLink():
	default:
		if err := checkMember(r.NextHop, s); err != nil {
			say("nextHop", "%v; or 0.0.0.0 or :: where the prefix is on-link", err)
		}
	}
}

func (c *checker) checkLookupRecords(t tenantDoc) {
	o := t.policy.records
	macs := newIndex(len(o.list), t.policy.mac)
	for i := range o.list {
		if !o.live(i) {
			continue
		}
		r := &o.list[i]
		say := func(key, format string, args ...any) { t.recordSpot(i).key(key).bad(format, args...) }
		if r.Type != RecordL2Only && !r.CustomerAddress.IsValid() && o.line(i) == 0 &&
			!t.doc.has(at("lookupRecords", i, "customerAddress")) {
			t.bad(at("lookupRecords", i), `lacks the key "customerAddress"`)
		}
		t.checkRecord(r, c.ways(), say)
		if t.policy.hasMAC(r) {
			if first, ok := macs.add(uint32(i)); !ok {
				say("macAddress", "%s is taken by %s; want each MAC address once in a routing domain", r.MACAddress,
					t.recordSpot(int(first)).key("macAddress").place())
			}
		}
		if r.Rule == RuleRewrite && r.ProviderAddress.IsValid() {
			if taken, ok := c.rewrites.takeFor(r.ProviderAddress, t.recordSpot(i)); !ok {
				say("providerAddress", "%s is taken by %s; want one for each customer address, for the rule rewrite",
					r.ProviderAddress, taken)
			}
			c.rewriters[r.ProviderAddress] = rewriter{t.Name, r.CustomerAddress}
		}
	}
	if router := t.ExternalRouter; router != nil && len(router.MACAddress) == 6 {
		if first, is := macs.find([6]byte(router.MACAddress)); is {
			t.bad(at("externalRouter", "macAddress"), "%s is that of %s; want one of the gateway's own", router.MACAddress,
				t.recordSpot(int(first)).key("macAddress").place())
		}
	}
	for i, in := range t.InternalInterfaces {
		// A tenant's interfaces may share a MAC address, being in different virtual subnets.
		if len(in.MACAddress) != 6 {
			continue
		}
		if first, is := macs.find([6]byte(in.MACAddress)); is {
			t.bad(at("internalInterfaces", i, "macAddress"), "%s is that of %s; want one of the gateway's own",
				in.MACAddress, t.recordSpot(int(first)).key("macAddress").place())
		}
	}
}

func (c *checker) checkCustomerRoutes(t tenantDoc) {
	for i := range t.policy.routes.list {
		if t.policy.routes.live(i) {
			t.checkCustomerRoute(&t.policy.routes.list[i], func(key, format string, args ...any) {
				t.routeSpot(i).key(key).bad(format, args...)
			})
		}
	}
}

// ways are how the gateway reaches hosts; nil if there is no gateway.
func (c *checker) ways() *reach {
	if c.reach == nil && c.gateway != nil {
		c.reach = newReach(&c.gateway.Backend)
	}
	return c.reach
}
