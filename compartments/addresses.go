package compartments

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// ifaProto is IFA_PROTO (Linux 5.18): who made an address. The netlink library knows nothing of it, which is why
// addresses are spoken for here.
const ifaProto = 11

// address is an address of a link as the kernel has it.
type address struct {
	index  int
	prefix netip.Prefix
	proto  uint8
	scope  uint8
}

// addresses are all addresses of a namespace.
type addresses []address

func (as addresses) find(index int, prefix netip.Prefix) *address {
	i := slices.IndexFunc(as, func(a address) bool { return a.index == index && a.prefix == prefix })
	if i < 0 {
		return nil
	}
	return &as[i]
}

// undeclared returns the addresses of a link that are not wanted; those that the kernel gives itself do not count.
func (as addresses) undeclared(index int, want []netip.Prefix) []address {
	var out []address
	for _, a := range as {
		own := a.prefix.Addr().Is6() && a.scope == unix.RT_SCOPE_LINK
		if a.index == index && !own && !slices.Contains(want, a.prefix) {
			out = append(out, a)
		}
	}
	return out
}

func listAddresses(ns *netns.Namespace) (addresses, error) {
	answers, err := dump(func() ([]mdnetlink.Message, error) {
		return rtnetlink(ns, unix.RTM_GETADDR, mdnetlink.Dump, make([]byte, unix.SizeofIfAddrmsg))
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out addresses
	for _, msg := range answers {
		if msg.Header.Type != unix.RTM_NEWADDR {
			continue
		}
		a, err := parseAddress(msg.Data)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		out = append(out, a)
	}
	return out, nil
}

// parseAddress reads an ifaddrmsg with its attributes (rtnetlink(7)).
func parseAddress(b []byte) (address, error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return address{}, fmt.Errorf("an address message of %d octets is too short", len(b))
	}
	a := address{index: int(binary.NativeEndian.Uint32(b[4:8])), scope: b[3]}
	attrs, err := mdnetlink.NewAttributeDecoder(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return address{}, err
	}
	var local, remote netip.Addr
	for attrs.Next() {
		switch attrs.Type() {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(attrs.Bytes())
		case unix.IFA_ADDRESS:
			remote, _ = netip.AddrFromSlice(attrs.Bytes())
		case ifaProto:
			a.proto = attrs.Uint8()
		}
	}
	if err := attrs.Err(); err != nil {
		return address{}, err
	}
	if !local.IsValid() {
		local = remote // IPv6 without a peer address has IFA_ADDRESS only.
	}
	if a.prefix = netip.PrefixFrom(local, int(b[1])); !a.prefix.IsValid() {
		return address{}, errors.New("an address message without a valid address")
	}
	return a, nil
}

// addAddress adds an address under our mark. Duplicate address detection is off: the doors answer for an address from
// the first moment, and charon cannot bind to a tentative one.
func addAddress(ns *netns.Namespace, index int, prefix netip.Prefix) error {
	data, err := encodeAddress(index, prefix)
	if err != nil {
		return err
	}
	_, err = rtnetlink(ns, unix.RTM_NEWADDR, mdnetlink.Acknowledge|mdnetlink.Create|mdnetlink.Excl, data)
	return err
}

func deleteAddress(ns *netns.Namespace, a address) error {
	data, err := encodeAddress(a.index, a.prefix)
	if err != nil {
		return err
	}
	_, err = rtnetlink(ns, unix.RTM_DELADDR, mdnetlink.Acknowledge, data)
	return err
}

func encodeAddress(index int, prefix netip.Prefix) ([]byte, error) {
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1] = unix.AF_INET6, uint8(prefix.Bits())
	if prefix.Addr().Is4() {
		b[0] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(b[4:8], uint32(index))
	attrs := mdnetlink.NewAttributeEncoder()
	attrs.Bytes(unix.IFA_LOCAL, prefix.Addr().AsSlice())
	attrs.Bytes(unix.IFA_ADDRESS, prefix.Addr().AsSlice())
	if broadcast, ok := broadcastOf(prefix); ok {
		attrs.Bytes(unix.IFA_BROADCAST, broadcast.AsSlice())
	}
	if prefix.Addr().Is6() {
		attrs.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
	}
	attrs.Uint8(ifaProto, Protocol)
	encoded, err := attrs.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode address %v: %w", prefix, err)
	}
	return append(b, encoded...), nil
}

// broadcastOf is the directed broadcast address of an IPv4 subnet; prefixes of 31 and 32 bits have none (RFC 3021).
func broadcastOf(p netip.Prefix) (netip.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}, false
	}
	b := p.Addr().As4()
	host := uint32(1)<<(32-p.Bits()) - 1
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|host)
	return netip.AddrFrom4(b), true
}

func rtnetlink(ns *netns.Namespace, kind mdnetlink.HeaderType, flags mdnetlink.HeaderFlags, data []byte) (
	answers []mdnetlink.Message, err error,
) {
	conn, err := mdnetlink.Dial(unix.NETLINK_ROUTE, &mdnetlink.Config{NetNS: ns.Fd()})
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	defer func() { _ = conn.Close() }()
	answers, err = conn.Execute(mdnetlink.Message{
		Header: mdnetlink.Header{Type: kind, Flags: mdnetlink.Request | flags}, Data: data,
	})
	for _, a := range answers {
		if a.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
			return nil, netlink.ErrDumpInterrupted
		}
	}
	return answers, err
}
