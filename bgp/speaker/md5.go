package speaker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"bulkhead/bgp"

	"github.com/mdlayher/netlink"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"golang.org/x/sys/unix"
)

// GoBGP only logs when the kernel refuses a password, and goes on without. The kernel's own account of its sockets is
// what counts (sock_diag(7)).
const (
	sockDiagByFamily = 20
	// wantInfo asks for the details of a socket, without which the kernel does not tell of its keys.
	wantInfo = 1 << 1
	// inetDiagMD5SIG is the attribute with the addresses, and keys, that a socket's signatures are for (linux/inet_diag.h).
	inetDiagMD5SIG = 18
	// Lengths of struct inet_diag_req_v2 and inet_diag_msg, and where the latter's fields are.
	diagRequestLength = 56
	diagMessageLength = 72
	diagState         = 1
	diagSourcePort    = 4
	diagRemotePort    = 6
	diagRemoteAddress = 24
	// A struct tcp_diag_md5sig (linux/tcp.h): family, prefix length, key length, 16 octets of address, 80 of key.
	md5Length  = 100
	md5Address = 4
)

// errUnsigned says that a socket takes packets without a signature.
var errUnsigned = errors.New("the kernel's socket has no key for the peer")

// signed looks whether the listener has a key for peer.
func (s *Speaker) signed(peer bgp.Peer) error {
	return lookForKey(peer, 1<<unix.BPF_TCP_LISTEN, func(message []byte) bool {
		return binary.BigEndian.Uint16(message[diagSourcePort:]) == gobgp.BGP_PORT
	})
}

// signedSession looks whether the session with peer has a key.
func (s *Speaker) signedSession(peer bgp.Peer) error {
	return lookForKey(peer, 1<<unix.BPF_TCP_ESTABLISHED, func(message []byte) bool {
		remote, _ := netip.AddrFromSlice(message[diagRemoteAddress : diagRemoteAddress+peer.Address.BitLen()/8])
		return remote == peer.Address && (binary.BigEndian.Uint16(message[diagSourcePort:]) == gobgp.BGP_PORT ||
			binary.BigEndian.Uint16(message[diagRemotePort:]) == gobgp.BGP_PORT)
	})
}

// lookForKey looks for sockets in states that fit, and tells what is wrong unless each of them has a key for peer.
func lookForKey(peer bgp.Peer, states uint32, fits func(message []byte) bool) error {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return fmt.Errorf("ask the kernel for its sockets: %w", err)
	}
	defer func() { _ = conn.Close() }()
	request := make([]byte, diagRequestLength)
	request[0] = unix.AF_INET6
	if peer.Address.Is4() {
		request[0] = unix.AF_INET
	}
	request[1], request[2] = unix.IPPROTO_TCP, wantInfo
	binary.NativeEndian.PutUint32(request[4:], states)
	messages, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump}, Data: request,
	})
	if err != nil {
		return fmt.Errorf("ask the kernel for its sockets: %w", err)
	}
	found := false
	for _, message := range messages {
		if len(message.Data) < diagMessageLength || !fits(message.Data) {
			continue
		}
		found = true
		if !hasKey(message.Data[diagMessageLength:], peer.Address) {
			return errUnsigned
		}
	}
	if !found {
		return errors.New("the kernel has no such socket")
	}
	return nil
}

// hasKey says that the attributes of a socket name address as one that it has a key for.
func hasKey(attributes []byte, address netip.Addr) bool {
	decoder, err := netlink.NewAttributeDecoder(attributes)
	if err != nil {
		return false
	}
	for decoder.Next() {
		if decoder.Type() != inetDiagMD5SIG {
			continue
		}
		for keys := decoder.Bytes(); len(keys) >= md5Length; keys = keys[md5Length:] {
			named, _ := netip.AddrFromSlice(keys[md5Address : md5Address+address.BitLen()/8])
			if named == address {
				return true
			}
		}
	}
	return false
}
