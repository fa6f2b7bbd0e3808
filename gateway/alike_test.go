package gateway

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"bulkhead/lab/pki"
	"bulkhead/vpn"
)

const alikeGateway = `apiVersion: bulkhead/v1
kind: Gateway
metadata: {name: GW}
spec:
  backend: {interface: backend0, providerAddresses: [{address: 192.168.0.11/24}]}
  external:
    interface: If2
    addresses: [{address: 131.107.10.10/24}]
    natAddresses: [131.107.10.11-131.107.10.20]
    defaultGateways: [131.107.10.1]
  ike:
    certificateAuthorities: [{file: provider.pem}]
    certificate: {file: gateway.pem}
    privateKey: {file: gateway.key}
`

// alikeTenant is a tenant that is the other's double: only %[1]s, its name, and %[2]d, its number, are its own.
const alikeTenant = `apiVersion: bulkhead/v1
kind: Tenant
metadata: {name: %[1]s}
spec:
  routingDomainId: 12345678-1000-2000-3000-12345678000%[2]d
  virtualSubnets: [{vsid: 500%[2]d, prefix: 10.0.0.0/24}, {vsid: 600%[2]d, prefix: 10.0.254.0/24}]
  internalInterfaces: [{name: IfI1, vsid: 600%[2]d, addresses: [10.0.254.2/24], macAddress: "60:01:60:01:03:01"}]
  lookupRecords:
    - {customerAddress: 10.0.0.10, vsid: 500%[2]d, macAddress: "60:00:60:00:01:01", providerAddress: 192.168.0.22}
  certificateAuthorities: [{file: %[1]s.pem}]
  siteToSite:
    - name: IfE1
      destination: 59.10.10.%[2]d
      authentication:
        method: PSK
        sharedSecret: {value: abc}
        previousSharedSecret: {value: before}
        localIdentity: gw.example
        remoteIdentity: ny%[2]d.example
      subnets: ["10.1.0.0/24:100", "10.2.0.0/24:200"]
      idleDisconnect: 10m
      bandwidth: unlimited
      ike: {profile: azure-default}
    - name: IfE2
      destination: sites.example
      authentication: {method: Certificate, remoteIdentity: SFO%[2]d}
      subnets: ["10.2.0.0/24:100", "10.1.0.0/24:200"]
    - name: IfE3
      authentication: {method: EAP, userName: branch%[2]d, password: {value: "P@ssw0rd"}}
      postConnectionSubnets: ["10.3.0.0/24:100"]
    - name: IfE4
      initiate: always
      destination: 59.10.10.99
      authentication:
        method: EAP
        userName: hub%[2]d
        remoteIdentity: hub.example
        dialAs: {userName: provider, password: {value: "P@ssw0rd"}}
      postConnectionSubnets: ["10.3.0.0/24:200"]
      bandwidth: {txKbps: 1024, rxKbps: 2048}
  filters:
    - {interface: IfE1, direction: inbound, action: deny, established: allow, list: ["10.1.0.0/24:10.0.0.0/24:any"]}
    - {interface: IfI1, direction: inbound, action: allow, list: ["any:any:TCP:0:25"]}
  nat:
    externalAddresses: [{address: 131.107.10.1%[2]d}]
`

// alike translates the doubles Alpha and Bravo, each with an authority of its own of the same name.
func alike(t *testing.T) *Plan {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("gateway.yaml", alikeGateway)
	for n, name := range []string{"Alpha", "Bravo"} {
		put(name+".yaml", fmt.Sprintf(alikeTenant, name, n+1))
		put(name+".pem", newAuthority(t, "A Tenant's Own").PEM())
	}
	provider := newAuthority(t, "The Provider")
	own, err := provider.Issue(pki.Request{CommonName: "gw.example"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := own.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	put("provider.pem", provider.PEM())
	put("gateway.pem", own.PEM())
	put("gateway.key", key)
	return load(t, dir)
}

func newAuthority(t *testing.T, name string) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTenantsAlikeInEverythingHavePlansAlikeInEverything(t *testing.T) {
	plan := alike(t)
	text := map[string]string{}
	for _, tenant := range plan.Tenants {
		if len(tenant.VPN) != 4 || len(tenant.Limits) != 4 || len(tenant.Filters) != 2 || len(tenant.NAT.Addresses) != 1 {
			t.Fatalf("%s has the tunnels %v, limits %v, filters %v and public addresses %v", tenant.Name, tenant.VPN, tenant.Limits,
				tenant.Filters, tenant.NAT.Addresses)
		}
		for i := range tenant.VPN {
			tenant.VPN[i].Authorities = nil // another test's
		}
		indented, err := json.MarshalIndent(tenant, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		text[tenant.Name] = string(indented)
	}
	a, b := plan.tenant("Alpha"), plan.tenant("Bravo")
	pairs := []string{"Bravo", "Alpha", "3000-123456780002", "3000-123456780001", "59.10.10.2\"", "59.10.10.1\"",
		"59.10.10.2/32", "59.10.10.1/32", "site 59.10.10.2", "site 59.10.10.1",
		"ny2.example", "ny1.example", "SFO2", "SFO1", "branch2", "branch1", "hub2", "hub1",
		"131.107.10.12", "131.107.10.11", "5002", "5001", "6002", "6001"}
	for i := range a.VPN {
		if a.VPN[i].IfID == b.VPN[i].IfID {
			t.Errorf("both tenants' %s have the if_id %d", a.VPN[i].Name, a.VPN[i].IfID)
		}
		pairs = append(pairs, fmt.Sprintf(`"IfID": %d,`, b.VPN[i].IfID), fmt.Sprintf(`"IfID": %d,`, a.VPN[i].IfID))
	}
	for i, l := range a.Compartment.Links { // what is derived from the routing domain
		other := b.Compartment.Links[i]
		for _, pair := range [][2]any{{other.Peer, l.Peer}, {other.MAC, l.MAC}} {
			from, _ := json.Marshal(pair[0])
			to, _ := json.Marshal(pair[1])
			if len(from) > len(`""`) && string(from) != string(to) {
				pairs = append(pairs, string(from), string(to))
			}
		}
	}
	pairs = append(pairs, quoted(b.Doors.RoutingDomain), quoted(a.Doors.RoutingDomain))
	if diff := gocmp.Diff(text["Alpha"], strings.NewReplacer(pairs...).Replace(text["Bravo"])); diff != "" {
		t.Errorf("the plans differ in more than what tells the tenants apart (-Alpha +Bravo):\n%s", diff)
	}
}

func quoted(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

func TestEachTenantsAuthorityVouchesForItsOwnSitesOnlyThoughBothHaveOneName(t *testing.T) {
	plan := alike(t)
	has := map[string]string{} // the authority of each tenant
	for _, tenant := range plan.Tenants {
		for _, i := range tenant.VPN {
			switch {
			case i.Method == vpn.PSK && len(i.Authorities) != 0:
				t.Errorf("%s %s, of a pre-shared key, has authorities", tenant.Name, i.Name)
			case i.Method == vpn.PSK:
			case len(i.Authorities) != 1:
				t.Errorf("%s %s has %d authorities, want the tenant's own only", tenant.Name, i.Name, len(i.Authorities))
			case has[tenant.Name] == "":
				has[tenant.Name] = string(i.Authorities[0])
			case has[tenant.Name] != string(i.Authorities[0]):
				t.Errorf("%s %s has another authority than the tenant's other sites", tenant.Name, i.Name)
			}
		}
	}
	if has["Alpha"] == has["Bravo"] || len(plan.Credentials.Authorities) != 1 ||
		has["Alpha"] == string(plan.Credentials.Authorities[0]) || has["Bravo"] == string(plan.Credentials.Authorities[0]) {
		t.Error("the tenants share an authority, with each other or with the gateway")
	}
	for _, site := range plan.RADIUS.Sites {
		want := map[string]string{"hub1": has["Alpha"], "hub2": has["Bravo"]}[site.Name]
		switch {
		case want == "" && (len(site.Authorities) != 0 || len(site.Password) == 0):
			t.Errorf("the user %s, who has a password, has %d authorities", site.Name, len(site.Authorities))
		case want != "" && (len(site.Authorities) != 1 || string(site.Authorities[0]) != want):
			t.Errorf("the user %s is not vouched for by the tenant's own authority only", site.Name)
		}
	}
	if len(plan.RADIUS.Sites) != 4 {
		t.Errorf("FreeRADIUS knows the sites %v, want four", plan.RADIUS.Sites)
	}
}

func TestWhatTheDoublesDeclareIsWarnedOfAndCarriedOut(t *testing.T) {
	plan := alike(t)
	if len(plan.pending) != 0 {
		t.Errorf("not carried out: %q", plan.pending)
	}
	if w := plan.policy.config.Warnings(); len(w) != 4 || !strings.Contains(w[0], "Tenant/Alpha: siteToSite[IfE1].ike takes") ||
		!strings.Contains(w[2], "Tenant/Alpha: the gateway fetches") {
		t.Errorf("warnings %q, want one for each profile with weak algorithms, and for each authority of a tenant's own", w)
	}
}
