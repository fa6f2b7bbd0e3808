// Package drops is the one form in which every part of the gateway reports what it dropped and why.
package drops

// Drop is one counter of dropped packets.
type Drop struct {
	// Tenant is the tenant whose packets they were; empty where none could be told, as with an unknown VSID.
	Tenant string `json:"tenant,omitempty"`
	// Where is the place that dropped: door1, door2, compartment, filter, nat, ipsec.
	Where string `json:"where"`
	// Reason is a stable kebab-case word, listed in docs/drops.md.
	Reason string `json:"reason"`
	// Packets dropped since the counter was made.
	Packets uint64 `json:"packets"`
	// Bytes of those packets; 0 where the place counts packets only.
	Bytes uint64 `json:"bytes"`
}
