package configs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bulkhead/configs"
)

const policyGateway = `apiVersion: bulkhead/v1
kind: Gateway
metadata: {name: GW}
spec:
  backend:
    interface: backend0
    providerAddresses: [{address: 192.168.0.11/24}]
    providerRoutes: [{destination: 192.168.60.0/24, nextHop: 192.168.0.1}]
  external: {interface: If2, addresses: [{address: 131.107.10.10/24}]}
---
apiVersion: bulkhead/v1
kind: Tenant
metadata: {name: Contoso}
spec:
  routingDomainId: 12345678-1000-2000-3000-123456780001
  virtualSubnets: [{vsid: 5001, prefix: 10.0.0.0/8}, {vsid: 6001, prefix: 172.16.254.0/24}]
  internalInterfaces: [{name: IfCi1, vsid: 6001, addresses: [172.16.254.2/24]}]
  lookupRecords:
    - {customerAddress: 10.0.0.10, vsid: 5001, macAddress: "60:00:60:00:01:01", providerAddress: 192.168.0.22}
    - {customerAddress: 10.0.0.11, vsid: 5001, macAddress: "60:00:60:00:01:02", providerAddress: 192.168.0.22}
  customerRoutes: [{vsid: 5001, prefix: 172.20.0.0/16, nextHop: 10.0.0.10}]
`

// policyFolder is a folder with the YAML above and these policy files, by name.
func policyFolder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("all.yaml", policyGateway)
	for name, text := range files {
		put(name+".policy", text)
	}
	return dir
}

// policyOf is what is declared of Contoso and the provider network, as statements in order.
func policyOf(c *configs.Config) []string {
	var all []string
	t := c.Tenant("Contoso")
	for i := range t.LookupRecords {
		all = append(all, configs.Change{Record: &t.LookupRecords[i]}.String())
	}
	for i := range t.CustomerRoutes {
		all = append(all, configs.Change{CustomerRoute: &t.CustomerRoutes[i]}.String())
	}
	for i := range c.Gateway.Backend.ProviderAddresses {
		all = append(all, configs.Change{ProviderAddress: &c.Gateway.Backend.ProviderAddresses[i]}.String())
	}
	for i := range c.Gateway.Backend.ProviderRoutes {
		all = append(all, configs.Change{ProviderRoute: &c.Gateway.Backend.ProviderRoutes[i]}.String())
	}
	slices.Sort(all)
	return all
}

func wantPolicy(t *testing.T, c *configs.Config, want ...string) {
	t.Helper()
	if got := policyOf(c); !slices.Equal(got, want) {
		t.Errorf("declared is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPolicyFileComesAfterTheYAMLAndItsLastWordCounts(t *testing.T) {
	c, err := configs.Load(policyFolder(t, map[string]string{
		"Contoso": `# machines
lookup-record 10.0.0.12 vsid 5001 mac 60:00:60:00:01:03 pa 192.168.70.33   # behind a route
lookup-record 10.0.0.10 vsid 5001 mac 60:00:60:00:01:01 pa 192.168.0.33
no lookup-record 10.0.0.11

lookup-record 10.0.0.13 vsid 5001 mac 60:00:60:00:01:02 pa 192.168.0.22
no lookup-record 10.0.0.13
lookup-record 10.0.0.14 vsid 5001 mac 60:00:60:00:01:02 pa 192.168.0.22
lookup-record l2only vsid 5001 mac 60:00:60:00:01:09 pa 192.168.0.22
no customer-route 172.20.0.0/16 vsid 5001 next-hop 10.0.0.10
customer-route 172.21.0.0/16 vsid 5001 next-hop on-link metric 7
`,
		"GW": "provider-route 192.168.70.0/24 next-hop 192.168.0.1\nno provider-route 192.168.60.0/24 next-hop 192.168.0.1\n" +
			"provider-address 192.168.1.11/24 vlan 7 vsids 6001\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	wantPolicy(t, c,
		"customer-route 172.21.0.0/16 vsid 5001 next-hop on-link metric 7",
		"lookup-record 10.0.0.10 vsid 5001 mac 60:00:60:00:01:01 pa 192.168.0.33",
		"lookup-record 10.0.0.12 vsid 5001 mac 60:00:60:00:01:03 pa 192.168.70.33",
		"lookup-record 10.0.0.14 vsid 5001 mac 60:00:60:00:01:02 pa 192.168.0.22",
		"lookup-record l2only vsid 5001 mac 60:00:60:00:01:09 pa 192.168.0.22",
		"provider-address 192.168.0.11/24",
		"provider-address 192.168.1.11/24 vlan 7 vsids 6001",
		"provider-route 192.168.70.0/24 next-hop 192.168.0.1")
}

func TestMistakesOfAPolicyFileAreToldWithTheirLines(t *testing.T) {
	for name, test := range map[string]struct{ file, text, line, want string }{
		"word":             {"Contoso", "\nlookup-recrd 10.0.0.12\n", ":2:1", `did you mean "lookup-record"`},
		"key":              {"Contoso", "lookup-record 10.0.0.12 vsid 5001 pa 192.168.0.22\n", ":1:1", "lacks mac"},
		"VSID":             {"Contoso", "lookup-record 10.0.0.12 vsid 5009 mac 60:00:60:00:01:03 pa 192.168.0.22\n", ":1:1", "5009"},
		"subnet":           {"Contoso", "lookup-record 11.0.0.12 vsid 5001 mac 60:00:60:00:01:03 pa 192.168.0.22\n", ":1:1", "11.0.0.12 is not in 10.0.0.0/8"},
		"MAC":              {"Contoso", "#\n#\nlookup-record 10.0.0.12 vsid 5001 mac 60:00:60:00:01:02 pa 192.168.0.22\n", ":3:1", "60:00:60:00:01:02 is taken by"},
		"way":              {"Contoso", "lookup-record 10.0.0.12 vsid 5001 mac 60:00:60:00:01:03 pa 192.168.9.22\n", ":1:1", "nothing leads to 192.168.9.22"},
		"own address":      {"Contoso", "lookup-record 172.16.254.2 vsid 6001 mac 60:00:60:00:01:03 pa 192.168.0.22\n", ":1:1", "IfCi1"},
		"own provider":     {"Contoso", "lookup-record 10.0.0.12 vsid 5001 mac 60:00:60:00:01:03 pa 192.168.0.11\n", ":1:1", "gateway's own"},
		"learned":          {"Contoso", "lookup-record 10.0.0.12 vsid 5001 mac 60:00:60:00:01:03 pa 192.168.0.22 type Dynamic\n", ":1:1", "learned"},
		"next hop":         {"Contoso", "customer-route 172.20.0.0/16 vsid 6001 next-hop 10.0.0.10\n", ":1:1", "10.0.0.10 is not in 172.16.254.0/24"},
		"the gateway's":    {"Contoso", "provider-route 192.168.70.0/24 next-hop 192.168.0.1\n", ":1:1", "the gateway's"},
		"a tenant's":       {"GW", "no lookup-record 10.0.0.10\n", ":1:1", "a tenant's"},
		"provider network": {"GW", "provider-route 192.168.70.0/24 next-hop 192.168.5.1\n", ":1:1", "192.168.5.1 is in no subnet"},
		"vsids twice":      {"GW", "provider-address 192.168.1.11/24 vsids 6001\nprovider-address 192.168.2.11/24 vsids 6001\n", ":2:1", "6001"},
		"nobody's":         {"Tailspin", "no lookup-record 10.0.0.10\n", "", `"Tailspin"`},
	} {
		dir := policyFolder(t, map[string]string{test.file: test.text})
		_, err := configs.Load(dir)
		var problems configs.Problems
		if !errors.As(err, &problems) || len(problems) != 1 {
			t.Errorf("%s: error %v, want one problem", name, err)
			continue
		}
		if got := problems[0].String(); !strings.HasPrefix(got, filepath.Join(dir, test.file+".policy")+test.line+": ") ||
			!strings.Contains(got, test.want) {
			t.Errorf("%s: problem %q, want line %s and %q", name, got, test.line, test.want)
		}
	}
}

func TestTornLastLineIsLeftOutAndTold(t *testing.T) {
	whole := "lookup-record 10.0.0.12 vsid 5001 mac 60:00:60:00:01:03 pa 192.168.0.22\n"
	dir := policyFolder(t, map[string]string{"Contoso": whole + "lookup-record 10.0.0.13 vsid 5001 mac 60:00:60:00:01:04 pa 192.168.0.2"})
	c, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Tenant("Contoso").LookupRecords) != 3 || len(c.Warnings()) != 1 || !strings.Contains(c.Warnings()[0], "10.0.0.13") {
		t.Errorf("records %v, warnings %q", c.Tenant("Contoso").LookupRecords, c.Warnings())
	}
	change := parse(t, "no lookup-record 10.0.0.11")
	if err := configs.AppendChanges(dir, "Contoso", change); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "Contoso.policy"))
	if err != nil || string(text) != whole+"no lookup-record 10.0.0.11\n" {
		t.Errorf("the file is %q, error %v", text, err)
	}
}

func parse(t testing.TB, statements ...string) []configs.Change {
	t.Helper()
	var changes []configs.Change
	for _, s := range statements {
		c, err := configs.ParseChange(s)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := configs.ParseChange(c.String()); err != nil || again.String() != c.String() {
			t.Errorf("%q prints as %q, which parses as %q, %v", s, c, again, err)
		}
		changes = append(changes, c)
	}
	return changes
}

// What is changed at run time is the same as what the changes make when they are read from their file, and a change that
// is refused leaves everything as it was.
func TestChangesAreTheSameAtRunTimeAndInTheFile(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	dir := policyFolder(t, nil)
	c, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	refused, taken := 0, 0
	for range 3000 {
		to, statements := "Contoso", []string{}
		for range 1 + random.IntN(3) {
			ca, mac, host := random.IntN(30), random.IntN(30), random.IntN(4)
			switch random.IntN(12) {
			case 0, 1, 2, 3, 4:
				statements = append(statements, fmt.Sprintf("lookup-record 10.0.1.%d vsid 5001 mac 60:00:60:00:02:%02x pa 192.168.%d.22",
					ca, mac, 60*(host/3)))
			case 5:
				statements = append(statements, fmt.Sprintf("lookup-record 10.0.1.%d vsid 5001 mac 60:00:60:00:02:%02x pa 192.168.0.%d rule rewrite",
					ca, mac, 100+host))
			case 6:
				statements = append(statements, fmt.Sprintf("lookup-record l2only vsid 5001 mac 60:00:60:00:02:%02x pa 192.168.0.33", mac))
			case 7:
				statements = append(statements, fmt.Sprintf("no lookup-record l2only vsid 5001 mac 60:00:60:00:02:%02x", mac))
			case 8:
				statements = append(statements, fmt.Sprintf("customer-route 172.%d.0.0/16 vsid 5001 next-hop 10.0.1.%d", 20+host, 1+ca))
			case 9:
				statements = append(statements, fmt.Sprintf("no customer-route 172.%d.0.0/16 vsid 5001 next-hop 10.0.1.%d", 20+host, 1+ca))
			default:
				statements = append(statements, fmt.Sprintf("no lookup-record 10.0.1.%d", ca))
			}
		}
		if random.IntN(20) == 0 {
			to, statements = "GW", []string{[]string{"", "no "}[random.IntN(2)] + "provider-route 192.168.60.0/24 next-hop 192.168.0.1"}
		}
		before := policyOf(c)
		changes := parse(t, statements...)
		err := c.Change(to, changes, func() error { return configs.AppendChanges(dir, to, changes) })
		if err == nil {
			taken++
			continue
		}
		refused++
		if after := policyOf(c); !slices.Equal(after, before) {
			t.Fatalf("%q is refused (%v) and changes\n%s\nto\n%s", statements, err, strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	}
	if refused < 100 || taken < 100 {
		t.Errorf("%d changes refused, %d taken: too few of one", refused, taken)
	}
	again, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	wantPolicy(t, again, policyOf(c)...)
}

func TestChangeThatCannotBeWrittenChangesNothing(t *testing.T) {
	c, err := configs.Load(policyFolder(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	before := policyOf(c)
	full := errors.New("the disk is full")
	for _, statements := range [][]string{
		{"no lookup-record 10.0.0.10", "lookup-record 10.0.0.12 vsid 5001 mac 60:00:60:00:01:01 pa 192.168.0.33"},
		{"lookup-record 10.0.0.10 vsid 5001 mac 60:00:60:00:01:0a pa 192.168.0.33 rule rewrite"},
		{"no customer-route 172.20.0.0/16 vsid 5001 next-hop 10.0.0.10"},
	} {
		if err := c.Change("Contoso", parse(t, statements...), func() error { return full }); !errors.Is(err, full) {
			t.Errorf("error %v, want the writer's", err)
		}
		wantPolicy(t, c, before...)
	}
}

func TestProviderNetworkKeepsWhatRecordsGoBy(t *testing.T) {
	c, err := configs.Load(policyFolder(t, map[string]string{
		"Contoso": "lookup-record 10.0.0.12 vsid 5001 mac 60:00:60:00:01:03 pa 192.168.60.33\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	ok := func() error { return nil }
	for _, s := range []string{"no provider-route 192.168.60.0/24 next-hop 192.168.0.1", "no provider-address 192.168.0.11/24"} {
		if err := c.Change("GW", parse(t, s), ok); err == nil {
			t.Errorf("%s was taken although records go by it", s)
		}
	}
	moved := parse(t, "no provider-route 192.168.60.0/24 next-hop 192.168.0.1", "provider-route 192.168.60.0/24 next-hop 192.168.0.2")
	if err := c.Change("GW", moved[1:], ok); err == nil {
		t.Error("a second route to the same destination was taken")
	}
	if err := c.Change("Contoso", parse(t, "no lookup-record 10.0.0.12"), ok); err != nil {
		t.Fatal(err)
	}
	if err := c.Change("GW", moved, ok); err != nil {
		t.Error(err)
	}
}
