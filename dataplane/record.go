package dataplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// RecordType is what the policy calls a lookup record: the Type of Get-NetVirtualizationLookupRecord.
type RecordType uint8

const (
	// Static records are declared.
	Static RecordType = iota
	// Dynamic records were learned from hosts with L2Only records.
	Dynamic
	// L2Only records know a machine's MAC and provider address, but not its customer address yet.
	L2Only
	// GatewayWildcard records are those of gateways, which wildcard routes lead to.
	GatewayWildcard
)

// String is the cmdlet's word.
func (t RecordType) String() string {
	words := [...]string{Static: "Static", Dynamic: "Dynamic", L2Only: "L2Only", GatewayWildcard: "GatewayWildcard"}
	if int(t) < len(words) {
		return words[t]
	}
	return fmt.Sprintf("RecordType(%d)", t)
}

// Rule is how packets are carried to the host: the Rule of Get-NetVirtualizationLookupRecord.
type Rule uint8

const (
	// Encap is NVGRE.
	Encap Rule = iota
	// Rewrite replaces customer addresses by provider addresses, of which each customer address has one to itself.
	Rewrite
)

// String is the word that declarations use.
func (r Rule) String() string {
	switch r {
	case Encap:
		return "encap"
	case Rewrite:
		return "rewrite"
	}
	return fmt.Sprintf("Rule(%d)", r)
}

// Record is a lookup record: where a customer address lives.
type Record struct {
	Type RecordType
	Rule Rule
	// CA is the customer address, unique in the routing domain. L2Only records have none.
	CA netip.Addr
	// VSID is the virtual subnet of the customer address, which packets to it carry.
	VSID uint32
	MAC  net.HardwareAddr
	// PA is the provider address of the host.
	PA netip.Addr
	// Stale says that the host does not have the customer address, by its own word ([MS-NVGREE] UNREACHABLE). It is a
	// finding, not a declaration.
	Stale bool
	// Moved says that PA is where the former host said that the customer address is now ([MS-NVGREE] REDIRECT). It is a
	// finding, not a declaration.
	Moved bool
}

func (r Record) validate() error {
	switch {
	case r.Type > GatewayWildcard || r.Rule > Rewrite:
		return fmt.Errorf("there is no type %v with rule %v", r.Type, r.Rule)
	case r.Type == L2Only && (r.CA.IsValid() && !r.CA.IsUnspecified() || r.Rule != Encap):
		return errors.New("an L2Only record has no customer address and the rule encap")
	case r.Type != L2Only && !unicast(r.CA):
		return errors.New("the customer address is not a unicast address")
	case !unicastMAC(r.MAC):
		return fmt.Errorf("%q is not a unicast MAC address", r.MAC)
	case !unicast(r.PA):
		return fmt.Errorf("provider address %v is not a unicast address", r.PA)
	case r.Rule == Rewrite && r.PA.Is4() != r.CA.Is4():
		return fmt.Errorf("rule rewrite needs addresses of one family, has %v and %v", r.CA, r.PA)
	}
	return validVSID(r.VSID)
}

// name is what errors call the record.
func (r Record) name() string {
	if r.Type == L2Only {
		return fmt.Sprintf("L2Only record for %v in VSID %d", r.MAC, r.VSID)
	}
	return fmt.Sprintf("record for %v", r.CA)
}

// encode is the record as the kernel has it, with its host in the map of hosts. d.mu must be held.
func (d *Dataplane) encode(r Record, v doorsVsid) (doorsRecord, error) {
	host, err := d.hosts.intern(hostKey{pa: r.PA, bound: v.bound()})
	if err != nil {
		return doorsRecord{}, err
	}
	word := r.VSID<<8 | uint32(r.Type)
	if r.Rule == Rewrite {
		word |= uint32(doorsRecordFlagsRECORD_REWRITE)
	}
	return doorsRecord{Host: host, Vsid: word, Mac: [6]byte(r.MAC), Traffic: v.Traffic}, nil
}

// decode is the record that the kernel has for a customer address, whose host has a provider address.
func decode(ca doorsAddress, v doorsRecord, pa netip.Addr) Record {
	r := Record{
		Type: RecordType(v.Vsid & uint32(doorsRecordFlagsRECORD_TYPE)), CA: fromAddress(ca), VSID: v.Vsid >> 8,
		MAC: v.Mac[:], PA: pa,
		Stale: v.Vsid&uint32(doorsRecordFlagsRECORD_STALE) != 0, Moved: v.Vsid&uint32(doorsRecordFlagsRECORD_MOVED) != 0,
	}
	if v.Vsid&uint32(doorsRecordFlagsRECORD_REWRITE) != 0 {
		r.Rule = Rewrite
	}
	return r
}

// bound is the provider address that the virtual subnet has to itself; invalid where it has none.
func (v doorsVsid) bound() netip.Addr {
	if v.Flags&uint16(doorsVsidFlagsVSID_BOUND) == 0 {
		return netip.Addr{}
	}
	return fromAddress(v.Provider)
}
