package configs_test

import (
	"strings"
	"testing"

	"bulkhead/configs"
)

func TestPrefixRangesAreReadAsRoutersDo(t *testing.T) {
	for text, want := range map[string][2]int{
		"10.0.0.0/8":             {8, 8},
		"10.0.0.0/8 le 24":       {8, 24},
		"10.0.0.0/8 ge 16":       {16, 32},
		"10.0.0.0/8 ge 16 le 24": {16, 24},
		"10.0.0.0/8 le 24 ge 16": {16, 24},
		"10.0.0.0/8\tge  24":     {24, 32},
		"0.0.0.0/0":              {0, 0},
		"0.0.0.0/0 le 32":        {0, 32},
		"10.0.0.1/32":            {32, 32},
		"2001:db8::/32 ge 48":    {48, 128},
		"::/0 le 128":            {0, 128},
	} {
		r, err := configs.ParsePrefixRange(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := [2]int{r.Min, r.Max}; got != want || r.Prefix.String() != strings.Fields(text)[0] {
			t.Errorf("%s is %s from %d to %d, want %v", text, r.Prefix, r.Min, r.Max, want)
		}
	}
}

func FuzzParsePrefixRange(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8 ge 16 le 24", "2001:db8::/32 le 48", "0.0.0.0/0", "10.0.0.0/8 le", "ge 4", "::/0 ge 128"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := configs.ParsePrefixRange(s)
		if err != nil {
			return
		}
		if again, err := configs.ParsePrefixRange(r.String()); err != nil || again != r {
			t.Errorf("%q prints as %q, which parses otherwise: %v", s, r, err)
		}
		if r.Prefix != r.Prefix.Masked() || r.Min < r.Prefix.Bits() || r.Max < r.Min || r.Max > r.Prefix.Addr().BitLen() {
			t.Errorf("%q gave %+v", s, r)
		}
	})
}

func TestAddressesOfPeersAreTakenWhereRoutersAre(t *testing.T) {
	for address, want := range map[string]string{
		"10.1.0.1":   "",                       // behind the tunnel
		"10.0.0.9":   "",                       // a VM that speaks BGP
		"10.0.0.1":   "is the default gateway", // which lives on the hosts
		"10.0.0.2":   "is the compartment's own",
		"10.1.0.2":   "want it in the subnets of a tunnel, such as 10.1.0.2/32:100",
		`"fd00::1"`:  "is not of the address family of localAddress",
		"169.254.1.": "is not an IP address",
	} {
		_, err := loadText(t, certified("", ""), tenantOf("Contoso", 1, `  bgp:
    identifier: 10.0.0.2
    asn: 65412
    peers: [{name: NY, localAddress: 10.0.0.2, asn: 65413, address: `+address+`}]
`, "name: IfE1\ndestination: 59.10.10.10\nauthentication: {method: PSK, sharedSecret: {value: a}}\nsubnets: [10.1.0.1/32:100]"))
		wantOne(t, address, err, want)
	}
}
