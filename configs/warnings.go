package configs

import (
	"fmt"
	"slices"
)

// Warnings lists what is allowed and better avoided, object by object.
func (c *Config) Warnings() []string {
	out := slices.Clone(c.standing.torn)
	for _, t := range c.Tenants {
		out = append(out, t.warnings()...)
	}
	return out
}

// warnings tells of VMs in the gateway's own virtual subnets, which the book forbids: a Windows host does not carry them.
func (t *Tenant) warnings() (out []string) {
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
