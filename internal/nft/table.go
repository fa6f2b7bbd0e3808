// Package nft keeps nftables tables over netlink, each one declared as a whole.
//
// A [Table] is what one capability wants to stand in one namespace. [Apply] brings it there in one transaction, so that
// no packet ever meets half of it, and keeps the named counters of what stood there before. A fingerprint in the kernel
// makes a second Apply of the same table write nothing. The nft program is not needed.
package nft

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Table is the desired state of one table of family inet.
type Table struct {
	// Name of the table, unique in the namespace; each capability has its own.
	Name string
	// Counters are the named counters that its rules refer to. They keep their values for as long as they are declared.
	Counters []string
	// Sets are the sets and maps that its rules look up, each under a name of its own.
	Sets []Set
	// Chains in the order in which they are made.
	Chains []Chain
}

// Chain is a list of rules; a base chain has a hook, a regular chain none.
type Chain struct {
	// Name of the chain in its table.
	Name string
	// Type of a base chain: filter or nat.
	Type nftables.ChainType
	// Hook of a base chain; nil makes it a regular chain, which others jump to.
	Hook *nftables.ChainHook
	// Priority among the chains of the same hook; lower comes first.
	Priority nftables.ChainPriority
	// Rules in order. What passes them all is accepted, or returns from a regular chain.
	Rules []Rule
}

// Rule is one rule: its expressions in order. See [Join].
type Rule []expr.Any

// Set is a set, or a map where Data is given.
type Set struct {
	// Name of the set in its table.
	Name string
	// Key is the type of the keys; concatenated types are padded to four octets each.
	Key nftables.SetDatatype
	// Data is the type of the values of a map; TypeVerdict where the values are verdicts.
	Data nftables.SetDatatype
	// Interval tells that the elements are ranges: a start, and an end one past the last.
	Interval bool
	// Timeouts tells that elements may be given a time after which they are gone, as [AddLink] does.
	Timeouts bool
	// Elements of the set, in a stable order, because they are part of the fingerprint.
	Elements []nftables.SetElement
}

// Counter is what a named counter has counted.
type Counter struct {
	// Packets since the counter was made.
	Packets uint64
	// Bytes of those packets, from the network header on.
	Bytes uint64
}
