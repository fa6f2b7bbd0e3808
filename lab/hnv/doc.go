// Package hnv plays a Hyper-V host with network virtualization: VMs on TAP devices, NVGRE (RFC 7637) over a raw socket,
// the distributed router or, in its place, an external one, address learning, and [MS-NVGREE]'s control messages. It
// shares no code with the gateway's data plane, so that each checks the other, and it records what it saw on the wire.
package hnv
