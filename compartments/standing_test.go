package compartments_test

import (
	"encoding/binary"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// seize makes the compartment's table another process's own, so that nobody else can change it (NFT_TABLE_F_OWNER).
// The kernel drops it with the socket that is returned.
func seize(t *testing.T, ns *netns.Namespace) *netlink.Conn {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns.Fd()})
	must(t, err)
	message := func(kind int, flags netlink.HeaderFlags, family byte, resource uint16, attrs []byte) netlink.Message {
		head := binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
		return netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags},
			Data:   append(head, attrs...),
		}
	}
	const flagOwner = 2
	table := netlink.NewAttributeEncoder()
	table.ByteOrder = binary.BigEndian
	table.String(unix.NFTA_TABLE_NAME, "bulkhead-compartment")
	table.Uint32(unix.NFTA_TABLE_FLAGS, flagOwner)
	attrs, err := table.Encode()
	must(t, err)
	_, err = conn.SendMessages([]netlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
		message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Acknowledge,
			unix.NFPROTO_INET, 0, attrs),
		message(unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
	})
	must(t, err)
	_, err = conn.Receive()
	must(t, err)
	return conn
}

func TestNoLinkComesUpBeforeItsFilter(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	owner := seize(t, ns)
	if err := g.Set(t.Context(), ns, contoso(t)); err == nil {
		t.Fatal("Set succeeded without its filter")
	}
	for _, l := range g.state(t, ns).Links {
		if l.Up {
			t.Errorf("%s is up without its filter", l.Name)
		}
	}
	must(t, owner.Close())
	g.set(t, ns, contoso(t))
	if l := link(g.state(t, ns), "IfCi1"); l == nil || !l.Up {
		t.Errorf("IfCi1 is %+v", l)
	}
}
