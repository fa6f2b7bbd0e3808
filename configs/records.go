package configs

import (
	"net"
	"net/netip"
)

// LookupRecord says where a customer address lives (New-NetVirtualizationLookupRecord).
type LookupRecord struct {
	// The VM's address in the virtual subnet (CA). None, or 0.0.0.0 or ::, in a record of type L2Only.
	CustomerAddress netip.Addr `yaml:"customerAddress"`
	// The VM's MAC address.
	MACAddress net.HardwareAddr `yaml:"macAddress" rule:"required"`
	// The host's address on the provider network (PA); with the rule rewrite one that stands for this VM alone.
	ProviderAddress netip.Addr `yaml:"providerAddress" rule:"required,unicast"`
	// Its virtual subnet.
	VSID uint32 `yaml:"vsid" rule:"required,min=4096,max=16777214"`
	// Static when left out; L2Only where the MAC address is known and the customer address is to be learned;
	// GatewayWildcard for a gateway, this one's own internal interface included.
	Type RecordType `yaml:"type"`
	// How packets get there: encap when left out, which is NVGRE; or rewrite, which puts provider addresses in the
	// customer addresses' place.
	Rule RecordRule `yaml:"rule"`
}

// RecordType is the type of a lookup record, in the words of New-NetVirtualizationLookupRecord. Its type Dynamic is
// missing: such records are learned, not declared.
type RecordType uint8

// The types of records. The zero value is what a record has that names none.
const (
	RecordStatic RecordType = iota
	RecordL2Only
	RecordGatewayWildcard
)

var recordTypes = words{"Static", "L2Only", "GatewayWildcard"}

// String is the type as declared.
func (t RecordType) String() string { return recordTypes.of(uint8(t)) }

func (RecordType) forms() []any { return recordTypes.forms() }

func (t *RecordType) decode(d *decoder, n *node, p *path) {
	if n.kind == textNode && n.text == "Dynamic" {
		d.doc.bad(p, "%s", dynamicIsLearned)
		return
	}
	recordTypes.decode(d, n, p, (*uint8)(t))
}

// dynamicIsLearned refuses the one type that New-NetVirtualizationLookupRecord has besides.
const dynamicIsLearned = "records of type Dynamic are learned, not declared; want L2Only for what is to be learned, or Static"

// RecordRule is how packets for a lookup record's address travel (TranslationMethod of
// New-NetVirtualizationLookupRecord).
type RecordRule uint8

// The rules. The zero value is what a record has that names none.
const (
	RuleEncap RecordRule = iota
	RuleRewrite
)

var recordRules = words{"encap", "rewrite"}

// String is the rule as declared.
func (r RecordRule) String() string { return recordRules.of(uint8(r)) }

func (RecordRule) forms() []any { return recordRules.forms() }

func (r *RecordRule) decode(d *decoder, n *node, p *path) { recordRules.decode(d, n, p, (*uint8)(r)) }

// words are the values of an enumeration that is kept as a number, since there may be a million of them.
type words []string

func (w words) of(i uint8) string {
	if int(i) < len(w) {
		return w[i]
	}
	return "?"
}

func (w words) forms() []any { return []any{map[string]any{"enum": []string(w)}} }

// find is the number of a word.
func (w words) find(s string) (uint8, bool) {
	for i, word := range w {
		if word == s {
			return uint8(i), true
		}
	}
	return 0, false
}

func (w words) decode(d *decoder, n *node, p *path, to *uint8) {
	if !d.is(n, p, textNode) {
		return
	}
	i, ok := w.find(n.text)
	if !ok {
		d.doc.bad(p, "%q is none of %s", shorten(n.text), w)
		return
	}
	*to = i
}

// String lists the words for messages.
func (w words) String() string { return orNone(w) }

// CustomerRoute is a route of the virtual network (New-NetVirtualizationCustomerRoute).
type CustomerRoute struct {
	// The virtual subnet that the route belongs to.
	VSID uint32 `yaml:"vsid" rule:"required,min=4096,max=16777214"`
	// What it leads to.
	Prefix netip.Prefix `yaml:"prefix" rule:"required"`
	// A customer address of the route's virtual subnet, the gateway's own included; 0.0.0.0 or :: where the prefix is
	// on-link.
	NextHop netip.Addr `yaml:"nextHop" rule:"required"`
	// Lower is preferred.
	Metric uint32 `yaml:"metric" rule:"min=1,max=9999,default=100"`
}

// OnLink tells whether the prefix is in the virtual subnet itself, not behind a router.
func (r CustomerRoute) OnLink() bool { return r.NextHop.IsUnspecified() }
