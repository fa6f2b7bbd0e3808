package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"strconv"

	"github.com/google/uuid"
)

// ifIDs are the if_ids of site-to-site interfaces: compartment, then interface.
type ifIDs map[string]map[string]uint32

// allocate gives each wanted interface (compartment, then interfaces, in order) an if_id. One that has an if_id keeps
// it, since its security associations carry it; others get the lowest that is free. Nothing but the kernel has to
// remember the allocation.
func allocate(names []string, interfaces func(compartment string) []string, existing ifIDs) ifIDs {
	taken := map[uint32]bool{}
	for _, links := range existing {
		for _, id := range links {
			taken[id] = true
		}
	}
	next := uint32(1)
	ids := ifIDs{}
	for _, name := range names {
		for _, link := range interfaces(name) {
			id, ok := existing[name][link]
			for !ok {
				id, ok = next, !taken[next]
				next++
			}
			if ids[name] == nil {
				ids[name] = map[string]uint32{}
			}
			ids[name][link] = id
		}
	}
	return ids
}

// internalPeer names the Default end of the internal interface of a VSID.
func internalPeer(vsid uint32) string { return "bhi" + strconv.FormatUint(uint64(vsid), 10) }

// externalPeer names the Default end of a routing domain's external link: link names have room for 15 bytes, so it is
// a hash of the RDID, 48 bits of it.
func externalPeer(rdid uuid.UUID) string {
	sum := sha256.Sum256(rdid[:])
	return "bhx" + hex.EncodeToString(sum[:6])
}

// externalMAC is the address of a compartment's external link: locally administered, unicast, the same after every
// restart.
func externalMAC(rdid uuid.UUID) net.HardwareAddr {
	sum := sha256.Sum256(append([]byte("ext "), rdid[:]...))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}
