package dataplane

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestTenantIsRefusedWhenItsDeclarationIsWrong(t *testing.T) {
	if err := contoso().validate(); err != nil {
		t.Fatalf("a right one: %v", err)
	}
	for want, change := range map[string]func(*Tenant){
		"1 to 63 bytes":               func(c *Tenant) { c.Name = strings.Repeat("x", 64) },
		"must not be zero":            func(c *Tenant) { c.RoutingDomain = uuid.Nil },
		"VSID 4095 is not within":     func(c *Tenant) { c.Interfaces[0].VSID = 4095 },
		"VSID 16777215 is not within": func(c *Tenant) { c.Records[0].VSID = 0xffffff },
		"needs a link":                func(c *Tenant) { c.Interfaces[0].Link = "" },
		"unicast MAC address":         func(c *Tenant) { c.Interfaces[0].MAC = broadcast },
		"another one has its VSID":    func(c *Tenant) { c.Interfaces = append(c.Interfaces, c.Interfaces[0]) },
		"not a unicast address":       func(c *Tenant) { c.Interfaces[0].Addresses = []netip.Addr{addr("224.0.0.1")} },
		"customer address is not":     func(c *Tenant) { c.Records[0].CA = addr("fe80::1") },
		"is not a unicast MAC":        func(c *Tenant) { c.Records[0].MAC = net.HardwareAddr{1} },
		"is not a unicast address":    func(c *Tenant) { c.Records[0].PA = addr("ff02::1") },
		"is none of the tenant's":     func(c *Tenant) { c.Records[0].VSID = 5002 },
		"learned, not declared":       func(c *Tenant) { c.Records[0].Type = Dynamic },
		"needs addresses of one":      func(c *Tenant) { c.Records[0].Rule, c.Records[0].PA = Rewrite, addr("2001:db8::1") },
		"has no customer address":     func(c *Tenant) { c.Records[0].Type = L2Only },
		"external router: needs":      func(c *Tenant) { c.Router = &Router{} },
		"is not a prefix":             func(c *Tenant) { c.Routes = []CustomerRoute{{VSID: 5001}} },
		"for the same address":        func(c *Tenant) { c.Records = append(c.Records, c.Records[0]) },
		"cannot be owned":             func(c *Tenant) { c.External.Owned[0].First = 1 },
		"is an internal interface's":  func(c *Tenant) { c.External.Link = "bhi6001" },
	} {
		c := contoso()
		change(&c)
		if err := c.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestPortRangesBecomePrefixesOfExactlyTheirPorts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	ranges := [][2]uint16{{0, 65535}, {1, 65535}, {0, 1}, {65535, 65535}, {9000, 9999}, {32768, 32768}, {1, 65534}}
	for range 50 {
		a, b := uint16(random.Uint32()), uint16(random.Uint32())
		ranges = append(ranges, [2]uint16{min(a, b), max(a, b)})
	}
	for _, r := range ranges {
		if r[1] == 0 {
			continue
		}
		owners := make([]int, 65536)
		protocols := make(map[uint8]int)
		for _, k := range (Ports{Address: sharedNAT, First: r[0], Last: r[1]}).keys() {
			protocols[k.Proto]++
			if k.Proto != 17 {
				continue
			}
			size := 1 << (160 - k.Prefixlen)
			for port := range size {
				owners[int(hostOrder(k.Port))+port]++
			}
		}
		if len(protocols) != 3 || protocols[6] != protocols[17] || protocols[1] != protocols[17] || protocols[17] > 30 {
			t.Errorf("range %v: prefixes by protocol %v", r, protocols)
		}
		for port, n := range owners {
			if want := port >= int(r[0]) && port <= int(r[1]); n > 1 || (n == 1) != want {
				t.Fatalf("range %v: port %d is in %d prefixes", r, port, n)
			}
		}
	}
}

func TestAddressesSurviveTheWayThroughAMap(t *testing.T) {
	for _, a := range []netip.Addr{contosoNAT, contosoNAT6, addr("0.0.0.0"), addr("::")} {
		if back := fromAddress(toAddress(a)); back != a {
			t.Errorf("%v became %v", a, back)
		}
	}
}

func TestReasonsAreThoseOfTheHeaderEachWithItsNumberAndExplained(t *testing.T) {
	source, err := os.ReadFile("bpf/reasons.h")
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`(?m)^\tDOOR([12])_([A-Z0-9_]+) = (\d+), +// \S.*$`)
	lines := form.FindAllStringSubmatch(string(source), -1)
	reasons, err := Reasons()
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != len(reasons) || strings.Count(string(source), "\tDOOR") != len(lines) {
		t.Fatalf("%d reasons with number and comment in the header, %d in the object", len(lines), len(reasons))
	}
	for i, line := range lines {
		want := Reason{Where: "door" + line[1], Name: strings.ReplaceAll(strings.ToLower(line[2]), "_", "-")}
		if reasons[i] != want {
			t.Errorf("reason %s: %v, want %v", line[3], reasons[i], want)
		}
	}
}
