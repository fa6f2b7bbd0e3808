package configs_test

import (
	"bytes"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"bulkhead/configs"
)

// equal compares configurations.
var equal = cmp.Options{
	cmpopts.IgnoreUnexported(configs.Config{}), // what the checks go by
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b *regexp.Regexp) bool { return a.String() == b.String() }),
}

// fabrikam loads the reference deployment.
func fabrikam(t *testing.T) *configs.Config {
	t.Helper()
	c, err := configs.Load("fabrikam")
	if err != nil {
		t.Fatalf("the reference deployment does not load:\n%v", err)
	}
	return c
}

func TestReferenceDeploymentIsTyped(t *testing.T) {
	c := fabrikam(t)
	g := c.Gateway
	if g.Name != "GW-VM" || g.Backend.Interface != "backend0" || g.Backend.MTU != 1600 || g.External.Interface != "If2" ||
		g.External.MTU != 1500 || g.IKE.DeadPeerDetection != 10*time.Second || len(g.IKE.Proposals) != 2 {
		t.Errorf("the gateway is %+v", g)
	}
	if len(c.Tenants) != 2 || c.Tenants[0].Name != "Contoso" || c.Tenants[1].Name != "Woodgrove" {
		t.Fatalf("got the tenants %v, want Contoso and Woodgrove", c.Tenants)
	}
	want := configs.SiteToSite{
		Name: "IfCe1", Protocol: configs.IKEv2, Initiate: configs.InitiateOnDemand,
		Destination:   configs.Destination{Address: netip.MustParseAddr("59.10.10.10")},
		SourceAddress: netip.MustParseAddr("131.107.10.10"),
		Authentication: configs.Authentication{
			Method: configs.AuthPSK, SharedSecret: configs.NewSecret([]byte("abc")), RemoteIdentity: "59.10.10.10",
		},
		Subnets:               []configs.SitePrefix{{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Metric: 100}},
		PostConnectionSubnets: []configs.SitePrefix{},
		Bandwidth:             configs.Bandwidth{TxKbps: 1024, RxKbps: 1024},
		IKE:                   g.IKE.IKEPolicy,
	}
	contoso := c.Tenant("Contoso")
	if diff := cmp.Diff([]configs.SiteToSite{want}, contoso.SiteToSite, equal); diff != "" {
		t.Errorf("Contoso's tunnels differ (-want +got):\n%s", diff)
	}
	wantRecord := configs.LookupRecord{
		CustomerAddress: netip.MustParseAddr("10.0.0.100"), VSID: 5001,
		MACAddress: net.HardwareAddr{0x60, 0, 0x60, 0, 2, 2}, ProviderAddress: netip.MustParseAddr("192.168.0.33"),
	}
	if diff := cmp.Diff(wantRecord, contoso.LookupRecords[1], equal); diff != "" {
		t.Errorf("Contoso's second record differs (-want +got):\n%s", diff)
	}
	wantRule := configs.FilterRule{
		Destination: netip.MustParsePrefix("10.0.0.0/16"), Protocol: configs.ProtocolTCP,
		DestinationPorts: configs.PortRange{First: 443, Last: 443},
	}
	if diff := cmp.Diff(wantRule, contoso.Filters[0].List[0], equal); diff != "" {
		t.Errorf("Contoso's first filter rule differs (-want +got):\n%s", diff)
	}
	if users := contoso.RemoteAccess.Users; users[1].Name != `Contoso\JaneDoe` ||
		string(users[1].Password.Reveal()) != "P@ssw0rd" || !contoso.RemoteAccess.TenantName.MatchString("x@contoso.y") {
		t.Errorf("Contoso's remote access is %+v", contoso.RemoteAccess)
	}
}

func TestEmbeddedReferenceDeploymentIsTheFolder(t *testing.T) {
	embedded, err := fs.Glob(configs.Fabrikam, "fabrikam/*")
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := filepath.Glob("fabrikam/*")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(onDisk, embedded); diff != "" || len(embedded) != 3 {
		t.Errorf("the embedded files differ from the folder (-folder +embedded):\n%s", diff)
	}
}

func TestPendingNamesWhatIsNotCarriedOut(t *testing.T) {
	golden(t, "testdata/fabrikam.pending.txt", strings.Join(fabrikam(t).Pending(), "\n")+"\n")
	golden(t, "testdata/everything.pending.txt", strings.Join(everything(t).Pending(), "\n")+"\n")
}

func TestDefaultsFillWhatIsLeftOut(t *testing.T) {
	c := everything(t)
	l := c.Tenant("Litware")
	s := l.SiteToSite
	check := func(what string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got, equal); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", what, diff)
		}
	}
	check("onDemand with subnets", s[1].Initiate, configs.InitiateOnDemand)
	check("never without", s[2].Initiate, configs.InitiateNever)
	check("protocol", s[1].Protocol, configs.IKEv2)
	check("source address", s[1].SourceAddress, netip.MustParseAddr("131.107.10.10"))
	check("source address for IPv6", c.Tenant("Adatum").SiteToSite[0].SourceAddress, netip.MustParseAddr("2001:db8:e::10"))
	check("certificate identity", s[1].Authentication.RemoteIdentity, "IfLe2")
	check("identity of a site that is dialled with EAP", s[3].Authentication.RemoteIdentity, "fqdn:gw.litware.example")
	check("identity of a site that dials with EAP", s[2].Authentication.RemoteIdentity, "")
	check("declared identity", s[0].Authentication.RemoteIdentity, "site@litware.example")
	check("bandwidth left out", c.Tenant("Adatum").SiteToSite[0].Bandwidth, configs.Bandwidth{TxKbps: 5120, RxKbps: 5120})
	check("half a bandwidth", s[1].Bandwidth, configs.Bandwidth{TxKbps: 9000, RxKbps: 5120})
	check("unlimited", s[0].Bandwidth, configs.Bandwidth{Unlimited: true})
	inherited := c.Gateway.IKE.IKEPolicy
	inherited.Profile, inherited.WeakAlgorithms = "", ""
	check("inherited IKE policy", s[2].IKE, inherited)
	check("route metric", l.Routes[0].Metric, uint32(100))
	check("RADIUS port", c.Gateway.RADIUS.Upstream[0].Address.Port(), uint16(1812))
	check("secret of a file", string(c.Gateway.RADIUS.Upstream[0].Secret.Reveal()), "from a file")
	check("secret of a variable", string(s[0].Authentication.SharedSecret.Reveal()), "from the environment")
	if mac := l.InternalInterfaces[0].MACAddress; !bytes.Equal(mac, configs.DeriveMAC(l.RoutingDomainID, 16777214)) {
		t.Errorf("the interface without a MAC address has %s", mac)
	}
}

func TestDerivedMACIsOneOfAMachineAndItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for i := range 100 {
		mac := configs.DeriveMAC(uuid.UUID{15: byte(i % 10)}, uint32(4096+i/10))
		if mac[0]&3 != 2 || len(mac) != 6 {
			t.Errorf("%s is not locally administered and unicast", mac)
		}
		if seen[mac.String()] {
			t.Errorf("%s was derived twice", mac)
		}
		seen[mac.String()] = true
	}
}

func TestAutoTakesTheFirstAddressThatNobodyDeclares(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "gateway.yaml", strings.ReplaceAll(read(t, "fabrikam/gateway.yaml"), "131.107.10.11-131.107.10.20",
		"2001:db8::1, 131.107.10.11-131.107.10.14"))
	// In the order of names: C and A say auto, B takes .11 by name, D a few ports of .13.
	for i, nat := range []string{
		"C auto", "A auto", "B [{address: 131.107.10.11}]", "D [{address: 131.107.10.13, ports: 9000}]",
	} {
		name, addresses, _ := strings.Cut(nat, " ")
		vsid := string(rune('1' + i))
		write(t, dir, name+".yaml", "apiVersion: bulkhead/v1\nkind: Tenant\nmetadata: {name: "+name+"}\nspec:\n"+
			"  routingDomainId: 12345678-1000-2000-3000-12345678000"+vsid+"\n"+
			"  virtualSubnets: [{vsid: 500"+vsid+", prefix: 10.0.0.0/24}]\n"+
			"  internalInterfaces: [{name: If1, vsid: 500"+vsid+", addresses: [10.0.0.2/24]}]\n"+
			"  nat: {externalAddresses: "+addresses+"}\n")
	}
	c, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"A": "131.107.10.12", "C": "131.107.10.14"} {
		got := c.Tenant(name).NAT.ExternalAddresses
		if len(got) != 1 || !got[0].Auto || got[0].Address != netip.MustParseAddr(want) {
			t.Errorf("tenant %s got %+v, want %s", name, got, want)
		}
	}
}

func TestTenantAnswersWhatTheGatewayAsks(t *testing.T) {
	c := fabrikam(t)
	contoso := c.Tenant("Contoso")
	if s, ok := contoso.Subnet(5001); !ok || s.DefaultGateway() != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("VSID 5001 is %+v, %v", s, ok)
	}
	if _, ok := contoso.Subnet(5002); ok {
		t.Error("Contoso has Woodgrove's VSID 5002")
	}
	if s, ok := contoso.SubnetOf(netip.MustParseAddr("10.0.254.9")); !ok || s.VSID != 6001 {
		t.Errorf("10.0.254.9 is in %+v, %v", s, ok)
	}
	if a := contoso.InternalAddress(netip.MustParseAddr("10.1.0.5")); a != netip.MustParseAddr("10.0.254.2") {
		t.Errorf("the source into tunnels is %v", a)
	}
	if a := contoso.InternalAddress(netip.MustParseAddr("2001:db8::1")); a.IsValid() {
		t.Errorf("the source into IPv6 tunnels is %v, want none", a)
	}
	sites := c.Tenant("Woodgrove").SitePrefixes()
	if len(sites) != 2 || sites[1] != netip.MustParsePrefix("10.2.0.1/32") {
		t.Errorf("Woodgrove's site prefixes are %v", sites)
	}
	if c.Tenant("Nobody") != nil {
		t.Error("a tenant that nobody declared was found")
	}
	if got := c.Gateway.OwnAddresses(); len(got) != 1 || got[0] != netip.MustParseAddr("131.107.10.10") {
		t.Errorf("the gateway's own addresses are %v", got)
	}
	if got := c.Gateway.ProviderAddresses(); len(got) != 1 || got[0] != netip.MustParseAddr("192.168.0.11") {
		t.Errorf("the gateway's provider addresses are %v", got)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
