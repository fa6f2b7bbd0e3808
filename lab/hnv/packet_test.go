package hnv_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"testing"

	"bulkhead/lab/hnv"
)

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 0xa}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 0xb}
	paA  = netip.MustParseAddr("192.168.0.22")
	paB  = netip.MustParseAddr("192.168.0.33")
)

// sample is a correct packet.
func sample() hnv.Packet {
	return hnv.Packet{
		SourceMAC: macA, DestinationMAC: macB, Source: paA, Destination: paB, Flags: hnv.Flags, Protocol: hnv.Protocol,
		VSID: 5001, FlowID: 0x5a,
		Inner: hnv.EchoRequest(macA, macB, netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.0.100"), 1, 2),
	}
}

// The bytes were worked out by hand from RFC 7637 section 3.2, RFC 791 and RFC 1071.
func TestMarshalWritesWhatRFC7637Says(t *testing.T) {
	p := sample()
	p.Inner = p.Inner[:14]
	want := "02000000000b" + "02000000000a" + "0800" + // outer Ethernet
		"4500002a00004000" + "802f" + "791d" + "c0a80016" + "c0a80021" + // 42 bytes, DF, TTL 128, GRE
		"2000" + "6558" + "0013895a" + // key present, Ethernet, VSID 5001 and FlowID 5a
		"02000000000b" + "02000000000a" + "0800"
	if got := hex.EncodeToString(p.Marshal()); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

func TestParseAcceptsNVGREAndNamesWhatIsWrongWithTheRest(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(frame []byte) []byte
		want error
	}{
		{"correct", func(f []byte) []byte { return f }, nil},
		{"padded", func(f []byte) []byte { return append(f, 0, 0, 0) }, nil},
		{"another FlowID", func(f []byte) []byte { f[41] ^= 0xff; return f }, nil},
		{"empty", func([]byte) []byte { return nil }, hnv.DropMalformed},
		{"cut short", func(f []byte) []byte { return f[:60] }, hnv.DropMalformed},
		{"not IPv4", func(f []byte) []byte { f[12] = 0x86; return f }, hnv.DropMalformed},
		{"bad header checksum", func(f []byte) []byte { f[24] ^= 1; return f }, hnv.DropMalformed},
		{"fragment", func(f []byte) []byte { f[20] = 0x20; f[24] += 0x20; return f }, hnv.DropMalformed},
		{"checksum flag", func(f []byte) []byte { f[34] |= 0x80; return f }, hnv.DropBadGRE},
		{"sequence flag", func(f []byte) []byte { f[34] |= 0x10; return f }, hnv.DropBadGRE},
		{"no key", func(f []byte) []byte { f[34] = 0; return f }, hnv.DropBadGRE},
		{"version 1", func(f []byte) []byte { f[35] |= 1; return f }, hnv.DropBadGRE},
		{"IP in GRE", func(f []byte) []byte { f[36], f[37] = 8, 0; return f }, hnv.DropBadGRE},
		{"inner tag", func(f []byte) []byte { f[54], f[55] = 0x81, 0; return f }, hnv.DropVLAN},
		{"inner service tag", func(f []byte) []byte { f[54], f[55] = 0x88, 0xa8; return f }, hnv.DropVLAN},
	} {
		p, err := hnv.Parse(c.edit(sample().Marshal()))
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err == nil && (p.VSID != 5001 || p.Source != paA || p.Destination != paB ||
			!bytes.Equal(p.Inner, sample().Inner)) {
			t.Errorf("%s: read %+v", c.name, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample().Marshal())
	tagged := sample()
	tagged.Inner = hnv.Tag(tagged.Inner, 5)
	f.Add(tagged.Marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		p, err := hnv.Parse(frame)
		var drop hnv.Drop
		if err != nil {
			if !errors.As(err, &drop) {
				t.Fatalf("the error is no reason: %v", err)
			}
			return
		}
		again, err := hnv.Parse(p.Marshal())
		if err != nil {
			t.Fatalf("what was accepted is refused when written again: %v", err)
		}
		if again.VSID != p.VSID || again.FlowID != p.FlowID || again.Source != p.Source ||
			!bytes.Equal(again.Inner, p.Inner) {
			t.Fatalf("%+v became %+v", p, again)
		}
	})
}
