package capture_test

import (
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/capture"
)

// What a limited link receives takes turns at an intermediate device.
func TestAPacketOfALinkWhoseReceivingIsLimitedIsRecordedOnce(t *testing.T) {
	r := newRoom(t)
	h := handle(t, r.inside)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "bhl2"
	must(t, h.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}))
	device, limited := up(t, r.inside, "bhl2").Attrs().Index, up(t, r.inside, "IfCi1").Attrs().Index
	at := netlink.MakeHandle(0xffff, 0)
	must(t, h.QdiscAdd(&netlink.Ingress{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: limited, Handle: at, Parent: netlink.HANDLE_INGRESS},
	}))
	must(t, h.FilterAdd(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: limited, Parent: at, Priority: 1, Protocol: unix.ETH_P_ALL},
		Actions:     []netlink.Action{netlink.NewMirredAction(device)},
	}))
	recorded := record(t, r.inside, capture.Options{})
	say(t, r.outside, r.inside, "10.0.254.2", "once")
	recorded.stop()
	if got := spoken(read(t, &recorded.file)); !slices.Equal(got, []string{"IfCi1 in once"}) {
		t.Errorf("recorded %q", got)
	}
}
