//go:build !vm

// Bookkeeping that no kernel does differently: not repeated in the VM.

package dataplane

import "testing"

func TestReleaseChangesNothingWhereNobodyWantsWhatAnotherHas(t *testing.T) {
	d := fabrikamDoors(t)
	before := d.snapshot(t)
	shrunk := woodgrove()
	shrunk.External, shrunk.Interfaces = nil, nil // giving up is for SetTenant
	for name, wanted := range map[string][]Tenant{
		"all as it is": {contoso(), woodgrove()}, "one gives up": {contoso(), shrunk}, "none": nil,
	} {
		if err := d.Release(wanted); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same(t, before, d.snapshot(t))
	}
}

func TestTenantsThatSwapAllTheyOwnCanBeSetAfterARelease(t *testing.T) {
	d := fabrikamDoors(t)
	c, w := contoso(), woodgrove()
	c.Interfaces[0].VSID, w.Interfaces[0].VSID = w.Interfaces[0].VSID, c.Interfaces[0].VSID
	c.Subnets, w.Subnets = w.Subnets, c.Subnets
	c.Records, w.Records = nil, nil
	c.External.Owned, w.External.Owned = w.External.Owned, c.External.Owned
	if err := d.ns.Do(func() error { return d.SetTenant(c) }); err == nil {
		t.Fatal("a tenant took what another has")
	}
	if err := d.Release([]Tenant{c, w}); err != nil {
		t.Fatal(err)
	}
	if left := d.snapshot(t); len(left.Vsids) != 0 || len(left.Interfaces) != 0 || len(left.Records) != 6 {
		t.Errorf("after the release: %+v", left)
	}
	d.set(t, c, w)
	got := d.snapshot(t)
	if len(got.Vsids) != 4 || len(got.Interfaces) != 4 {
		t.Errorf("%d VSIDs and %d interface addresses, want 4 and 4", len(got.Vsids), len(got.Interfaces))
	}
	id, _ := d.id(c.RoutingDomain)
	for vsid, v := range got.Vsids {
		if (v.Tenant == id) != (vsid%10 == 2) {
			t.Errorf("VSID %d is tenant %d's, Contoso is %d", vsid, v.Tenant, id)
		}
	}
	for k, v := range got.Owners {
		if fromAddress(k.Ip) == contosoNAT && v.Tenant == id {
			t.Errorf("%v is Contoso's still", contosoNAT)
		}
	}
}
