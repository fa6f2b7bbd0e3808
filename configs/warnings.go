package configs

import (
	"fmt"
	"slices"
	"strings"
)

// Warnings lists what is allowed and better avoided, object by object.
func (c *Config) Warnings() []string {
	out := slices.Clone(c.standing.torn)
	out = append(out, c.unusedVSIDs()...)
	out = append(out, c.weakAlgorithms()...)
	out = append(out, c.askedURLs()...)
	for _, t := range c.Tenants {
		out = append(out, t.crowded()...)
		out = append(out, t.unanswered()...)
		out = append(out, t.passedBy()...)
		out = append(out, t.cutSessions()...)
		out = append(out, t.idleBGP()...)
	}
	return out
}

// askedURLs tells of tenants that make the gateway ask URLs of their choice: charon fetches what certificates of their own
// authorities say, whatever its size, files of the gateway included.
func (c *Config) askedURLs() (out []string) {
	for _, t := range c.Tenants {
		if len(t.CertificateAuthorities) > 0 && c.Gateway.IKE.Revocation != RevocationOff {
			out = append(out, fmt.Sprintf("%s/%s: the gateway fetches what URLs in certificates of the tenant's own "+
				"certificateAuthorities name; trust whoever keeps them, or set ike.revocation: %s at the gateway", kindTenant, t.Name,
				RevocationOff))
		}
	}
	return out
}

// weakAlgorithms tells of policies that take algorithms which are not safe any more, by a profile or by the operator's word.
func (c *Config) weakAlgorithms() (out []string) {
	tell := func(whose string, p IKEPolicy) {
		if weak := weakIn(slices.Concat(p.Proposals, p.ESPProposals)...); len(weak) > 0 {
			why := "weakAlgorithms: " + string(WeakAllowed)
			if p.WeakAlgorithms == "" {
				why = "profile: " + string(p.Profile)
			}
			out = append(out, fmt.Sprintf("%s takes algorithms that are not safe any more: %s (%s)", whose,
				strings.Join(weak, ", "), why))
		}
	}
	tell(fmt.Sprintf("%s/%s: ike", kindGateway, c.Gateway.Name), c.Gateway.IKE.IKEPolicy)
	for _, t := range c.Tenants {
		for _, s := range t.SiteToSite {
			// Without either the policy has no weak algorithms but the gateway's.
			if s.IKE.Profile != "" || s.IKE.WeakAlgorithms != "" {
				tell(fmt.Sprintf("%s/%s: siteToSite[%s].ike", kindTenant, t.Name, s.Name), s.IKE)
			}
		}
	}
	return out
}

// unusedVSIDs tells of provider addresses that are kept for virtual subnets which no tenant has.
func (c *Config) unusedVSIDs() (out []string) {
	declared := map[uint32]bool{}
	for _, t := range c.Tenants {
		for _, s := range t.VirtualSubnets {
			declared[s.VSID] = true
		}
	}
	for _, a := range c.Gateway.Backend.ProviderAddresses {
		for _, v := range a.VSIDs {
			if !declared[v] {
				out = append(out, fmt.Sprintf("%s/%s: provider address %s is for VSID %d, which no tenant has", kindGateway,
					c.Gateway.Name, a.Address.Addr(), v))
			}
		}
	}
	return out
}

// unanswered tells of a tenant whose hosts rewrite addresses while no interface of its compartment has one to be rewritten
// to.
func (t *Tenant) unanswered() []string {
	for _, in := range t.InternalInterfaces {
		if in.ProviderAddress.IsValid() {
			return nil
		}
	}
	for i := range t.LookupRecords {
		if r := &t.LookupRecords[i]; r.Rule == RuleRewrite {
			return []string{fmt.Sprintf("%s/%s: the lookup record for %s has the rule rewrite, and no internal interface has a "+
				"providerAddress: nothing is sent to it", kindTenant, t.Name, r.subject())}
		}
	}
	return nil
}

// crowded tells of VMs in the gateway's own virtual subnets, which the book forbids: a Windows host does not carry them.
func (t *Tenant) crowded() (out []string) {
	for _, in := range t.InternalInterfaces {
		count, first := 0, ""
		for i := range t.LookupRecords {
			if r := &t.LookupRecords[i]; r.VSID == in.VSID && r.Type != RecordGatewayWildcard {
				if count++; count == 1 {
					first = r.subject()
				}
			}
		}
		if count > 0 {
			out = append(out, fmt.Sprintf("%s/%s: %d lookup records, such as that of %s, are in VSID %d, the gateway's own; hosts "+
				"of Windows Server 2012 R2 want it for the gateway alone", kindTenant, t.Name, count, first, in.VSID))
		}
	}
	return out
}
