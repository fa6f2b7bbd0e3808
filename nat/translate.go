package nat

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"bulkhead/internal/nft"
)

// The key of the mappings is protocol, destination, port; the value address, port. Each part takes a multiple of four
// octets.
var (
	keyTypes = map[nft.Family]nftables.SetDatatype{
		nft.IPv4: nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeIPAddr, nftables.TypeInetService),
		nft.IPv6: nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeIP6Addr, nftables.TypeInetService),
	}
	valueTypes = map[nft.Family]nftables.SetDatatype{
		nft.IPv4: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService),
		nft.IPv6: nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService),
	}
)

// mappings makes the map of one family's mappings.
func mappings(f nft.Family, name string, all []Mapping) nft.Set {
	s := nft.Set{Name: name, Key: keyTypes[f], Data: valueTypes[f]}
	for _, m := range all {
		if m.External.Addr().Is4() != (f == nft.IPv4) {
			continue
		}
		key := slices.Concat([]byte{m.Protocol.number(), 0, 0, 0}, m.External.Addr().AsSlice(), port(m.External.Port()))
		value := slices.Concat(m.Internal.Addr().AsSlice(), port(m.Internal.Port()))
		s.Elements = append(s.Elements, nftables.SetElement{Key: key, Val: value})
	}
	slices.SortFunc(s.Elements, func(a, b nftables.SetElement) int { return bytes.Compare(a.Key, b.Key) })
	return s
}

// port is a port as a part of a key: in network order, padded to four octets.
func port(p uint16) []byte { return append(binary.BigEndian.AppendUint16(nil, p), 0, 0) }

// mapDestinations translates destinations by the maps. It goes for packets from anywhere: an inside host that dials its
// own tenant's public port reaches the server too.
func mapDestinations() []nft.Rule {
	var rules []nft.Rule
	for _, f := range families {
		words := uint32(1) // of four octets that an address takes
		if f.Family == nft.IPv6 {
			words = 4
		}
		address := uint32(nft.Register32) + 1
		rules = append(rules, nft.Join(f.Is(), []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: nft.Register32},
			f.LoadDestination(address),
			&expr.Payload{
				DestRegister: address + words, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2,
			},
			&expr.Lookup{
				SourceRegister: nft.Register32, DestRegister: nft.Register32, IsDestRegSet: true,
				SetName: "mappings" + f.suffix,
			},
			&expr.NAT{
				Type: expr.NATTypeDestNAT, Family: uint32(f.Family),
				RegAddrMin: nft.Register32, RegProtoMin: nft.Register32 + words,
			},
		}))
	}
	return rules
}

// translateSources sends to translation what leaves for the Internet, and what was mapped without coming from there:
// the server would otherwise answer an inside client directly, past the gateway, from an address that the client never
// dialled. The server sees the tenant's public address then (RFC 4787, REQ-9).
func (c Config) translateSources() []nft.Rule {
	return []nft.Rule{
		nft.Join(nft.From(c.Link), nft.Return()),
		nft.Join(nft.To(c.Link), nft.Goto("translate")),
		nft.Join(nft.Status(nft.DestinationTranslated), nft.Goto("translate")),
	}
}

// translate picks the address. Protocols without ports use whole addresses only, because nothing in an answer to a
// shared one would say whose it is.
func (c Config) translate() []nft.Rule {
	var rules []nft.Rule
	for _, f := range families {
		all := slices.Clone(c.Addresses)
		all = slices.DeleteFunc(all, func(a Address) bool { return a.Address.Is4() != (f.Family == nft.IPv4) })
		rules = append(rules, choose(f.Family, all, nft.ProtocolIn("ported"))...)
		whole := slices.DeleteFunc(slices.Clone(all), func(a Address) bool { return !a.whole() })
		rules = append(rules, choose(f.Family, whole, nil)...)
	}
	return rules
}

// choose makes a rule for each address; a hash of the source says whose turn it is.
func choose(f nft.Family, addresses []Address, match []expr.Any) []nft.Rule {
	var rules []nft.Rule
	for i, a := range addresses {
		parts := nft.Join(f.Is(), match)
		if len(addresses) > 1 {
			parts = append(parts, sourceHash(f, uint32(len(addresses)), uint32(i))...)
		}
		rules = append(rules, append(parts, sourceTo(f, a)...))
	}
	return rules
}

// hashSeed is fixed, so that a host keeps its address over restarts and over both nodes of a pair.
const hashSeed = 0x62756c6b

// sourceHash matches packets whose source address falls into one of several classes of about equal size.
func sourceHash(f nft.Family, classes, class uint32) []expr.Any {
	length := uint32(4)
	if f == nft.IPv6 {
		length = 16
	}
	return []expr.Any{
		f.LoadSource(unix.NFT_REG_2),
		&expr.Hash{
			SourceRegister: unix.NFT_REG_2, DestRegister: unix.NFT_REG_1, Length: length, Modulus: classes,
			Seed: hashSeed, Type: expr.HashTypeJenkins,
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: binaryutil.NativeEndian.PutUint32(class)},
	}
}

// sourceTo translates the source to the address, and to its ports where it is shared.
func sourceTo(f nft.Family, a Address) []expr.Any {
	nat := &expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(f), RegAddrMin: unix.NFT_REG_1}
	parts := []expr.Any{&expr.Immediate{Register: unix.NFT_REG_1, Data: a.Address.AsSlice()}}
	if !a.whole() {
		nat.RegProtoMin, nat.RegProtoMax = unix.NFT_REG_2, unix.NFT_REG_3
		parts = append(parts,
			&expr.Immediate{Register: unix.NFT_REG_2, Data: binary.BigEndian.AppendUint16(nil, a.First)},
			&expr.Immediate{Register: unix.NFT_REG_3, Data: binary.BigEndian.AppendUint16(nil, a.Last)},
		)
	}
	return append(parts, nat)
}
