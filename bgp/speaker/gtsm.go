package speaker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"bulkhead/bgp"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// GoBGP asks for the TTL that a peer must have (RFC 5082) when it has taken a connection over, too late for what came with
// it: a session from too far away would hold the peer's place until the hold timer runs out. So the listening sockets
// filter as well: a connection from too far away does not come about.

// Offsets in packets that a filter finds by the network header (linux/filter.h, SKF_NET_OFF).
const (
	networkHeader = 0xfff00000 // -0x100000
	ipv4TTL       = 8
	ipv4Source    = 12
	ipv6HopLimit  = 7
	ipv6Source    = 8
)

// gtsm filters packets of a family: those of peers with SecurityHops must not come from farther away.
func gtsm(peers []bgp.Peer, is4 bool) []bpf.Instruction {
	ttl, source := uint32(networkHeader+ipv4TTL), uint32(networkHeader+ipv4Source)
	if !is4 {
		ttl, source = networkHeader+ipv6HopLimit, networkHeader+ipv6Source
	}
	var program []bpf.Instruction
	for _, peer := range peers {
		if peer.SecurityHops == 0 || peer.Address.Is4() != is4 {
			continue
		}
		octets := peer.Address.AsSlice()
		words := len(octets) / 4
		for word := range words {
			program = append(program,
				bpf.LoadAbsolute{Off: source + uint32(4*word), Size: 4},
				// On to the next peer: over the rest of the words, and over the decision.
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(octets[4*word:]),
					SkipTrue: uint8(2*(words-word-1) + 4)})
		}
		program = append(program,
			bpf.LoadAbsolute{Off: ttl, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: 256 - uint32(peer.SecurityHops), SkipTrue: 1},
			bpf.RetConstant{Val: 0},
			bpf.RetConstant{Val: ^uint32(0)})
	}
	return append(program, bpf.RetConstant{Val: ^uint32(0)})
}

// applyGTSM has the listening sockets filter for peers.
func applyGTSM(peers []bgp.Peer) error {
	var failed error
	err := eachDescriptor(func(fd int) {
		if address, ok := listens(fd); ok {
			if err := filterTTL(fd, gtsm(peers, address.Is4())); err != nil {
				failed = fmt.Errorf("filter for TTL security: %w", err)
			}
		}
	})
	return errors.Join(err, failed)
}

// bfdPort is BFD's for peers that are one hop away (RFC 5881, 4).
const bfdPort = 3784

// nextDoor passes packets with the TTL that only a neighbour's can have (RFC 5881, 5), which GoBGP does not look at: whoever
// is farther away could end a session, or keep one up that is dead.
func nextDoor() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: networkHeader, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipFalse: 2},
		bpf.LoadAbsolute{Off: networkHeader + ipv4TTL, Size: 1},
		bpf.Jump{Skip: 1},
		bpf.LoadAbsolute{Off: networkHeader + ipv6HopLimit, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 255, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: ^uint32(0)},
	}
}

// guardBFD has BFD's socket filter, which GoBGP opens with the first peer that is to be watched. guarded is the one that does
// already, by its inode; it returns the one that does now.
func guardBFD(guarded uint64) (uint64, error) {
	now, failed := uint64(0), error(nil)
	err := eachDescriptor(func(fd int) {
		var stat unix.Stat_t
		here, ok := endpoint(unix.Getsockname(fd))
		if _, connected := endpoint(unix.Getpeername(fd)); !ok || connected || here.Port() != bfdPort || unix.Fstat(fd, &stat) != nil {
			return
		}
		if now = stat.Ino; now != guarded {
			if err := filterTTL(fd, nextDoor()); err != nil {
				now, failed = 0, fmt.Errorf("filter BFD by TTL: %w", err)
			}
		}
	})
	return now, errors.Join(err, failed)
}

// filterTTL has a socket filter what comes in.
func filterTTL(fd int, instructions []bpf.Instruction) error {
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// listens says that a descriptor is a listening socket of BGP's, and on which address.
func listens(fd int) (netip.Addr, bool) {
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on == 0 {
		return netip.Addr{}, false
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, false
	}
	switch n := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(n.Addr), n.Port == gobgp.BGP_PORT
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(n.Addr), n.Port == gobgp.BGP_PORT
	}
	return netip.Addr{}, false
}
