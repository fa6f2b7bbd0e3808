package ipflow_test

import (
	"encoding/hex"
	"testing"

	"bulkhead/lab/ipflow"
)

const header6 = "6000000000143a40" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002"

// ip4 is a packet from 10.0.0.10 to 65.10.10.100, in hexadecimal as its arguments.
func ip4(protocol, rest string) string {
	return "450000280000000040" + protocol + "0000" + "0a00000a410a0a64" + rest
}

func TestParseReadsWhatEachProtocolTells(t *testing.T) {
	for _, c := range []struct{ packet, want string }{
		{ip4("06", "109200500000"), "10.0.0.10:4242 > 65.10.10.100:80 TCP"},
		{ip4("11", "10920035"), "10.0.0.10:4242 > 65.10.10.100:53 UDP"},
		{ip4("01", "08000000"), "10.0.0.10 > 65.10.10.100 ICMP echo request"},
		{ip4("01", "00000000"), "10.0.0.10 > 65.10.10.100 ICMP echo reply"},
		{ip4("01", "0301"), "10.0.0.10 > 65.10.10.100 ICMP type 3 code 1"},
		{ip4("32", "c0ffee01"), "10.0.0.10 > 65.10.10.100 ESP spi c0ffee01"},
		{ip4("11", "11941194001400000c0ffee0"), "10.0.0.10 > 65.10.10.100 ESP spi 0c0ffee0"},
		{ip4("11", "119411940014000000000000"), "10.0.0.10:4500 > 65.10.10.100:4500 UDP"},
		{ip4("2f", ""), "10.0.0.10 > 65.10.10.100 protocol 47"},
		{ip4("06", ""), "10.0.0.10:0 > 65.10.10.100:0 TCP"},
		{"450000280000000140060000" + "0a00000a410a0a64" + "10920050", "10.0.0.10 > 65.10.10.100 fragment of protocol 6"},
		{header6 + "8000", "2001:db8::1 > 2001:db8::2 ICMP echo request"},
	} {
		b, err := hex.DecodeString(c.packet)
		if err != nil {
			t.Fatal(err)
		}
		flow, err := ipflow.Parse(b)
		if err != nil || flow.String() != c.want {
			t.Errorf("%s: %v, %v, want %s", c.packet, flow, err, c.want)
		}
	}
}

func TestHashTellsFlowsApartAndNotPacketsOfOne(t *testing.T) {
	parse := func(packet string) ipflow.Flow {
		b, err := hex.DecodeString(packet)
		if err != nil {
			t.Fatal(err)
		}
		f, err := ipflow.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	a := parse(ip4("06", "10920050")).Hash()
	if a != parse(ip4("06", "10920050ffff")).Hash() {
		t.Error("two packets of one flow differ")
	}
	for _, other := range []string{ip4("06", "10930050"), ip4("06", "10920051"), ip4("11", "10920050")} {
		if a == parse(other).Hash() {
			t.Errorf("%s has the same hash", other)
		}
	}
}

func FuzzParseNeverPanicsAndKeepsToTheProtocol(f *testing.F) {
	seed, _ := hex.DecodeString(ip4("11", "11941194001400000c0ffee0"))
	f.Add(seed)
	f.Fuzz(func(t *testing.T, packet []byte) {
		flow, err := ipflow.Parse(packet)
		if err != nil {
			return
		}
		if !flow.Source.IsValid() || !flow.Destination.IsValid() || flow.String() == "" {
			t.Errorf("%x: %+v", packet, flow)
		}
		ports := flow.SourcePort != 0 || flow.DestinationPort != 0
		if ports && flow.Protocol != ipflow.TCP && flow.Protocol != ipflow.UDP {
			t.Errorf("%x: ports of protocol %d", packet, flow.Protocol)
		}
	})
}
