package configs_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bulkhead/configs"
)

// certified is a gateway with all credentials, to which keys of ike and of the kind can be added.
func certified(ike, more string) string {
	return `apiVersion: bulkhead/v1
kind: Gateway
metadata: {name: GW}
spec:
  backend: {interface: backend0, providerAddresses: [{address: 192.168.0.11/24}]}
  external: {interface: If2, addresses: [{address: 131.107.10.10/24}, {address: 131.107.10.11/24}]}
  ike:
    certificate: {env: BULKHEAD_TEST_CERTIFICATE}
    privateKey: {env: BULKHEAD_TEST_KEY}
` + ike + more
}

const providersAuthority = "    certificateAuthorities: [{env: BULKHEAD_TEST_CA}]\n"

// tenantOf is a tenant that is like any other but for its name and number, with these keys and S2S interfaces.
func tenantOf(name string, number int, more string, sites ...string) string {
	text := fmt.Sprintf(`---
apiVersion: bulkhead/v1
kind: Tenant
metadata: {name: %s}
spec:
  routingDomainId: 12345678-1000-2000-3000-12345678000%d
  virtualSubnets: [{vsid: 500%d, prefix: 10.0.0.0/24}]
  internalInterfaces: [{name: IfI1, vsid: 500%d, addresses: [10.0.0.2/24], macAddress: "60:01:60:01:03:01"}]
`, name, number, number, number) + more
	if len(sites) > 0 {
		text += "  siteToSite:\n"
	}
	for _, s := range sites {
		text += "    - " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n      ") + "\n"
	}
	return text
}

func loadText(t *testing.T, text ...string) (*configs.Config, error) {
	t.Helper()
	setCredentials(t)
	dir := t.TempDir()
	write(t, dir, "all.yaml", strings.Join(text, ""))
	return configs.Load(dir)
}

// wantOne holds an error to being one problem of that text; none where it is empty.
func wantOne(t *testing.T, what string, err error, want string) {
	t.Helper()
	var problems configs.Problems
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: refused: %v", what, err)
	case want != "" && err == nil:
		t.Errorf("%s: taken, want %q", what, want)
	case want != "" && (!errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: error\n%v\nwant one problem with %q", what, err, want)
	}
}

// what the outside tells the tenants' sites apart by.
type apart struct{ peer, pskIdentity, commonName, user string }

// alike is a tenant with an interface of each method, which is the same for all but for what tells them apart.
func alike(name string, number int, a apart) string {
	return tenantOf(name, number, `  certificateAuthorities: [{env: BULKHEAD_TEST_TENANT_CA}]
  filters:
    - {interface: IfE1, direction: inbound, action: deny, established: allow, list: ["10.1.0.0/24:10.0.0.0/24:any"]}
    - {interface: IfE2, direction: outbound, action: allow, list: ["any:any:TCP:0:25"]}
`, `name: IfE1
destination: `+a.peer+`
authentication:
  method: PSK
  sharedSecret: {value: abc}
  previousSharedSecret: {value: before}
  localIdentity: gw.example
  remoteIdentity: `+a.pskIdentity+`
subnets: ["10.1.0.0/24:100", "10.2.0.0/24:200"]
idleDisconnect: 10m
bandwidth: unlimited
ike: {profile: azure-default}`, `name: IfE2
destination: sites.example
authentication: {method: Certificate, localIdentity: gw.example, remoteIdentity: "`+a.commonName+`"}
subnets: ["10.2.0.0/24:100", "10.1.0.0/24:200"]`, `name: IfE3
authentication: {method: EAP, userName: `+a.user+`, password: {value: "P@ssw0rd"}}
postConnectionSubnets: ["10.3.0.0/24:100"]`, `name: IfE4
initiate: always
destination: 59.10.10.99
authentication:
  method: EAP
  userName: `+a.user+`-too
  password: {value: "P@ssw0rd"}
  remoteIdentity: hub.example
  dialAs: {userName: provider, password: {value: "P@ssw0rd"}}
postConnectionSubnets: ["10.3.0.0/24:200"]`)
}

var (
	contosoApart   = apart{"59.10.10.10", "10.9.9.1", "NY", "ny"}
	woodgroveApart = apart{"59.10.10.100", "10.9.9.2", "SFO", "sfo"}
)

func TestTwoTenantsMayBeAlikeInAllThatTheirSitesAreNotToldApartBy(t *testing.T) {
	c, err := loadText(t, certified(providersAuthority, ""), alike("Contoso", 1, contosoApart),
		alike("Woodgrove", 2, woodgroveApart))
	if err != nil {
		t.Fatal(err)
	}
	differs := cmp.Options{equal, cmpopts.IgnoreFields(configs.Tenant{}, "Name", "RoutingDomainID", "VirtualSubnets"),
		cmpopts.IgnoreFields(configs.InternalInterface{}, "VSID"), cmpopts.IgnoreFields(configs.SiteToSite{}, "Destination"),
		cmpopts.IgnoreFields(configs.Authentication{}, "RemoteIdentity", "UserName")}
	if diff := cmp.Diff(c.Tenant("Contoso"), c.Tenant("Woodgrove"), differs); diff != "" {
		t.Errorf("the tenants differ (-Contoso +Woodgrove):\n%s", diff)
	}
	if len(c.Pending()) != 0 {
		t.Errorf("not carried out: %q", c.Pending())
	}
	for _, tenant := range c.Tenants {
		for i, want := range []configs.Initiate{
			configs.InitiateOnDemand, configs.InitiateOnDemand, configs.InitiateNever, configs.InitiateAlways,
		} {
			if got := tenant.SiteToSite[i].Initiate; got != want {
				t.Errorf("%s %s: initiate %s, want %s", tenant.Name, tenant.SiteToSite[i].Name, got, want)
			}
		}
	}
}

func TestWhatTellsSitesApartIsOneSitesOnly(t *testing.T) {
	for want, same := range map[string]apart{
		"is the destination of Tenant/Contoso spec.siteToSite[0].destination": {peer: contosoApart.peer},
		`the identity "10.9.9.1" is that of Tenant/Contoso`:                   {pskIdentity: contosoApart.pskIdentity},
		`the identity "NY" is that of Tenant/Contoso`:                         {commonName: contosoApart.commonName},
		`the identity "ny" is that of Tenant/Contoso`:                         {commonName: "ny"},
		`the identity "O=Woodgrove, CN=NY" is that of Tenant/Contoso`:         {commonName: "O=Woodgrove, CN=NY"},
		`the identity "ipv4:10.9.9.1" is that of Tenant/Contoso`:              {commonName: "ipv4:10.9.9.1"},
	} {
		w := woodgroveApart
		for _, f := range []struct{ to, from *string }{
			{&w.peer, &same.peer}, {&w.pskIdentity, &same.pskIdentity}, {&w.commonName, &same.commonName},
		} {
			if *f.from != "" {
				*f.to = *f.from
			}
		}
		_, err := loadText(t, certified(providersAuthority, ""), alike("Contoso", 1, contosoApart), alike("Woodgrove", 2, w))
		wantOne(t, fmt.Sprint(same), err, want)
	}
	w := woodgroveApart
	w.user = "NY" // RADIUS compares without case
	_, err := loadText(t, certified(providersAuthority, ""), alike("Contoso", 1, contosoApart), alike("Woodgrove", 2, w))
	var problems configs.Problems
	if !errors.As(err, &problems) || len(problems) != 2 || !strings.Contains(err.Error(), `the user name "NY-too" is that of`) {
		t.Errorf("the same users: %v, want a problem for each", err)
	}
}

func TestSitesThatDeclareNoIdentityAreKnownByTheInterfaceWhoseNameMustBeOneOnly(t *testing.T) {
	for _, method := range []string{"Certificate", "EAP"} {
		site := "name: IfE1\nauthentication: {method: " + method + "}"
		_, err := loadText(t, certified(providersAuthority, ""), tenantOf("A", 1, "", site), tenantOf("B", 2, "", site))
		wantOne(t, method, err, "siteToSite[0].name (")
	}
	// A certificate's common name and a user name are asked of different peers.
	_, err := loadText(t, certified(providersAuthority, ""), tenantOf("A", 1, "", "name: IfE1\nauthentication: {method: EAP}"),
		tenantOf("B", 2, "", "name: IfE1\nauthentication: {method: Certificate}"))
	wantOne(t, "both methods", err, "")
}

func TestIdentitiesThatIKECouldTakeForOneAnotherAreRefused(t *testing.T) {
	cert := func(id string) string {
		return "name: IfE1\nauthentication: {method: Certificate, remoteIdentity: '" + id + "'}"
	}
	psk := func(last int, keys string) string {
		return fmt.Sprintf("name: IfE1\ndestination: 59.10.10.%d\nauthentication: {method: PSK, sharedSecret: {value: abc}, %s}",
			last, keys)
	}
	for _, tt := range []struct{ a, b, want string }{
		{cert("CN=NY, O=Contoso"), cert("o = contoso,cn=ny"), "is that of"},
		{cert("CN=NY, O=Contoso"), cert("NY"), "is that of"},
		{cert("NY"), cert("CN=NY, OU=Edge, O=Contoso"), "is that of"},
		{cert("O=Contoso"), cert("CN=NY, O=Contoso"), "is that of"},
		{cert("CN=NY, O=Contoso"), cert("CN=NY, O=Woodgrove"), ""},
		{cert("CN=NY, O=Contoso"), cert("CN=SFO, O=Contoso"), ""},
		{cert("fqdn:ny.example"), cert("@NY.example"), "is that of"},
		{cert("fqdn:ny.example"), cert("ny.example"), ""}, // an alternative name and a common one
		{cert("fqdn:ny.example"), psk(2, "remoteIdentity: ny.example"), "is that of"},
		{cert("59.10.10.2"), psk(2, ""), "is that of"},
		{cert("email:ny@contoso.example"), psk(2, "remoteIdentity: ny@contoso.example"), "is that of"},
		{psk(1, "remoteIdentity: 10.9.9.9"), psk(2, "remoteIdentity: 'ipv4:10.9.9.9'"), "is that of"},
		{psk(1, "remoteIdentity: 59.10.10.2"), psk(2, ""), "is that of"},
		{psk(1, "localIdentity: gw.example"), psk(2, "localIdentity: gw.example"), ""},
		{psk(1, "localIdentity: gw.example"), psk(2, "remoteIdentity: '@GW.example'"), "is what the gateway calls itself"},
		{psk(1, "remoteIdentity: gw.example"), psk(2, "localIdentity: gw.example"), `the gateway's identity "gw.example" is that of`},
		{psk(1, "remoteIdentity: 131.107.10.10"), psk(2, ""), "is what the gateway calls itself by Gateway/GW"},
		{psk(1, ""), psk(2, "remoteIdentity: 131.107.10.10"), "is what the gateway calls itself"},
		{psk(1, ""), psk(2, "remoteIdentity: '%any'"), "has a wildcard"},
		{psk(1, ""), psk(2, "remoteIdentity: '*.example'"), "has a wildcard"},
		{psk(1, ""), psk(2, "localIdentity: '*'"), "has a wildcard"},
		{psk(1, ""), psk(2, "remoteIdentity: ' ny'"), "white space"},
		{psk(1, ""), psk(2, `remoteIdentity: "n\ty"`), "control character"},
		{psk(1, ""), psk(2, "remoteIdentity: "+strings.Repeat("n", 256)), "256 bytes"},
		{cert("CN=*"), psk(2, ""), "has a wildcard"},
		{cert("Contoso, Ltd"), psk(2, ""), "separates the parts of a subject"},
		{cert(`Contoso\Ltd`), psk(2, ""), "separates the parts of a subject"},
		{cert("CN=Contoso/Ltd"), psk(2, ""), `is not a subject, by the part "Ltd"`},
		{cert("O=Contoso, CN="), psk(2, ""), `by the part " CN="`},
		{cert("=NY"), psk(2, ""), "is not a subject"},
		{cert("/O=Contoso/CN=NY"), cert("CN=NY, O=Contoso"), "is that of"},
		{cert("/C=US/CN=NY"), cert("NY"), "is that of"},
		{cert("emailAddress=ny@contoso.example, CN=NY"), cert("E=NY@Contoso.example"), "is that of"},
		{cert("keyid:6e79"), psk(2, "remoteIdentity: 'keyid:6e79'"), "is that of"},
		{cert("fqdn:a=b"), cert("fqdn:a=c"), ""},
		{psk(1, "remoteIdentity: 0.0.0.0/0"), psk(2, ""), "is a range of addresses"},
		{psk(1, "remoteIdentity: 'ipv4:0.0.0.0/0'"), psk(2, ""), "is a range of addresses"},
		{psk(1, "remoteIdentity: 0.0.0.0-255.255.255.255"), psk(2, ""), "is a range of addresses"},
		{psk(1, "remoteIdentity: '::/0'"), psk(2, ""), "is a range of addresses"},
		{psk(1, "remoteIdentity: 'ipv4net:0.0.0.0/0'"), psk(2, ""), `begins with "ipv4net:"`},
		{psk(1, "remoteIdentity: 0.0.0.0"), psk(2, ""), "has a wildcard"},
		{psk(1, "remoteIdentity: '::'"), psk(2, ""), "has a wildcard"},
		{psk(1, "remoteIdentity: ny.example"), psk(2, "remoteIdentity: 'DNS:ny.example'"), `begins with "dns:"`},
		{psk(1, "remoteIdentity: ny.example"), psk(2, "remoteIdentity: '{2}:ny.example'"), `begins with "{"`},
		{psk(1, "remoteIdentity: ny@a.example"), psk(2, "remoteIdentity: '@@ny@a.example'"), `begins with "@@"`},
		{psk(1, "remoteIdentity: ny"), psk(2, "remoteIdentity: 'fqdn:#6e79'"), "is in hexadecimal"},
		{psk(1, "remoteIdentity: 'keyid:n:y'"), psk(2, "remoteIdentity: 'n:y'"), "want keyid: before it"},
		{psk(1, "remoteIdentity: 'ipv4:ny'"), psk(2, ""), "no IP address behind its kind"},
		{cert("CN=NY, O=Contoso"), cert("CN==NY, O=Contoso"), "is that of"},
		{cert("CN=NY, O=Contoso"), psk(2, "remoteIdentity: 'CN NY, O=Contoso'"), "is that of"},
		{cert("CN=NY, EN=1"), cert("CN=NY, employeeNumber=1"), "is that of"},
	} {
		_, err := loadText(t, certified(providersAuthority, ""), tenantOf("A", 1, "", tt.a), tenantOf("B", 2, "", tt.b))
		wantOne(t, tt.a+"\nand\n"+tt.b, err, tt.want)
	}
}

func TestEachMethodHasItsKeysAndWantsItsCredentials(t *testing.T) {
	bare := strings.SplitAfter(certified("", ""), "  ike:\n")[0]
	bare = strings.TrimSuffix(bare, "  ike:\n")
	upstream := "  radius: {upstream: [{address: 192.0.2.1, secret: {value: s}}]}\n"
	own := "  certificateAuthorities: [{env: BULKHEAD_TEST_TENANT_CA}]\n"
	dial := "dialAs: {userName: provider, password: {value: p}}"
	named := "destination: a.example\n" // of a site that can be dialled
	psk := func(keys, more string) string {
		return "destination: 59.10.10.10\nauthentication: {method: PSK, " + keys + "}\n" + more
	}
	for _, tt := range []struct{ gateway, tenant, site, want string }{
		{certified(providersAuthority, ""), "", "authentication: {method: Certificate}", ""},
		{certified("", ""), own, "authentication: {method: Certificate}", ""},
		{certified("", ""), "", "authentication: {method: Certificate}", "needs certificateAuthorities"},
		{bare, own, "authentication: {method: Certificate}", "needs ike.certificate of the gateway"},
		{bare, own, "authentication: {method: EAP}", "needs ike.certificate of the gateway"},
		{certified("", ""), "", "authentication: {method: EAP, password: {value: p}}", ""},
		{certified("", ""), own, "authentication: {method: EAP}", ""},
		{certified("", upstream), "", "authentication: {method: EAP}", ""},
		{certified("", ""), "", "authentication: {method: EAP}", "nothing that would let the site in"},
		{certified("", ""), "", "authentication: {method: EAP, password: {value: p}, remoteIdentity: x}", "there is no destination"},
		{certified("", ""), "", "authentication: {method: EAP, password: {value: p}, " + dial + "}", "there is no destination"},
		{certified("", upstream), "", named + "authentication: {method: EAP, " + dial + "}", "needs certificateAuthorities"},
		{certified("", ""), own, named + "authentication: {method: EAP, " + dial + "}", ""},
		{certified("", ""), own, named + "authentication: {method: EAP, dialAs: {userName: provider}}", ""},
		{certified("", ""), own, named + "authentication: {method: EAP, remoteIdentity: 'a/b', " + dial + "}", "separates the parts"},
		{certified("", ""), own, named + "authentication: {method: EAP, remoteIdentity: 'fqdn:b', " + dial + "}", ""},
		{certified("", ""), own, named + "authentication: {method: EAP}", ""},
		{certified("", ""), own, named + "subnets: [10.1.0.0/24:1]\nauthentication: {method: EAP}", "lacks dialAs"},
		{certified("", ""), own, named + "initiate: never\nsubnets: [10.1.0.0/24:1]\nauthentication: {method: EAP}", ""},
		{certified("", ""), own, "authentication: {method: EAP, sharedSecret: {value: abc}}", "is of method PSK only"},
		{certified("", ""), own, "authentication: {method: EAP, previousSharedSecret: {value: abc}}", "is of method PSK only"},
		{certified("", ""), own, "authentication: {method: EAP, userName: ' x'}", "white space"},
		{certified("", ""), own, "authentication: {method: EAP, userName: 'x*'}", "takes it for a pattern"},
		{certified("", ""), own, "authentication: {method: EAP, userName: 'fqdn:x'}", "kind of an identity"},
		{certified("", ""), own, "authentication: {method: EAP, userName: 10.0.0.1}", "is an address"},
		{certified("", ""), own, "authentication: {method: EAP, userName: 10.0.0.0/8}", "is an address"},
		{certified("", ""), own, `authentication: {method: EAP, userName: "x\ny"}`, "control character"},
		{certified("", ""), own, "authentication: {method: EAP, userName: " + strings.Repeat("x", 254) + "}", "254 bytes"},
		{certified("", ""), own, "authentication: {method: Certificate, password: {value: p}}", "is of method EAP only"},
		{certified("", ""), own, "authentication: {method: Certificate, " + dial + "}", "is of method EAP only"},
		{certified("", ""), own, "authentication: {method: Certificate, localIdentity: GW.example}", ""},
		{certified("", ""), own, "authentication: {method: Certificate, localIdentity: 'CN=gw.example'}", ""},
		{certified("", ""), own, "authentication: {method: Certificate, localIdentity: gw2.example}", "which has: gw.example"},
		{bare, "", psk("sharedSecret: {value: a}, password: {value: p}", ""), "is of method EAP only"},
		{bare, "", psk("sharedSecret: {value: a}, previousSharedSecret: {value: a}", ""), "is the same as sharedSecret"},
		{bare, "", psk("previousSharedSecret: {value: a}", ""), "lacks sharedSecret"},
		{bare, "", psk("sharedSecret: {value: a}", "initiate: always\nidleDisconnect: 10m"), "contradicts initiate: always"},
		{bare, "", psk("sharedSecret: {value: a}", "idleDisconnect: 1s"), "not a duration from 10s"},
		{certified("", ""), own, "authentication: {method: Certificate}\nike: {profile: azure-default}", "the gateway's policy governs"},
	} {
		_, err := loadText(t, tt.gateway, tenantOf("A", 1, tt.tenant, "name: IfE1\n"+tt.site))
		wantOne(t, tt.tenant+tt.site, err, tt.want)
	}
}

func TestAUserAtASiteHasOnePassword(t *testing.T) {
	site := func(destination, keys string) string {
		return "name: If" + destination + "\ninitiate: always\ndestination: " + destination + ".example\n" +
			"authentication: {method: EAP, userName: " + rand.Text() + ", password: {value: p}, " + keys + "}"
	}
	for _, tt := range []struct{ a, b, want string }{
		{site("a", "dialAs: {userName: x, password: {value: p}}"), site("b", "dialAs: {userName: x, password: {value: q}}"), ""},
		{site("a", "dialAs: {userName: x, password: {value: p}}"), site("a", "dialAs: {userName: y, password: {value: q}}"), ""},
		{site("a", "dialAs: {userName: x, password: {value: p}}"), site("a", "dialAs: {userName: x, password: {value: p}}"), ""},
		{site("a", "dialAs: {userName: x, password: {value: p}}"), site("a", "dialAs: {userName: X, password: {value: q}}"),
			`the user "X" of the site "fqdn:a.example" has another password`},
		{site("a", "dialAs: {userName: x, password: {value: p}}"), site("a", "dialAs: {userName: x}"), "has another password"},
		{site("a", "dialAs: {userName: x, password: {value: p}}"),
			site("a", "remoteIdentity: 'fqdn:two.a.example', dialAs: {userName: x, password: {value: q}}"), ""},
	} {
		_, err := loadText(t, certified(providersAuthority, ""), tenantOf("A", 1, "", tt.a), tenantOf("B", 2, "", tt.b))
		wantOne(t, tt.a+"\nand\n"+tt.b, err, tt.want)
	}
}
