// Package hnv plays a Hyper-V host with network virtualization: VMs on TAP devices, NVGRE (RFC 7637) over a raw socket,
// and the distributed router. It shares no code with the gateway's data plane, so that each checks the other, and it
// records what it saw on the wire.
package hnv
