package compartments_test

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/compartments"
)

func TestNamesOfVLANDevicesFitTheKernel(t *testing.T) {
	for nic, want := range map[string]string{
		"backend0": "backend0.4094", "enp0s31f6np0": "p0s31f6np0.4094", "enx001122334455": "1122334455.4094",
	} {
		if got := compartments.VLANName(nic, 4094); got != want {
			t.Errorf("the device of VLAN 4094 on %s is called %s, want %s", nic, got, want)
		}
	}
}

func TestAVLANIsCarriedOutOrItsDeviceNamedThatTheKernelLacks(t *testing.T) {
	g := newGateway(t)
	withNICs(t, g)
	d := fabrikam()
	d.NICs[0].VLANs = []compartments.VLAN{{ID: 4095}}
	err := g.SetDefault(t.Context(), d)
	if err == nil || !strings.Contains(err.Error(), "VLAN device backend0.4095: VLAN 4095 is not one of 1 to 4094") {
		t.Errorf("error is %v", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = "trial", link(g.state(t, g.def), "backend0").Index
	trial := &netlink.Vlan{LinkAttrs: attrs, VlanId: 7, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	lacks := handle(t, g.def).LinkAdd(trial) == unix.EOPNOTSUPP //nolint:errorlint // the library returns it bare
	d.NICs[0].VLANs = []compartments.VLAN{{ID: 100}}
	err = g.SetDefault(t.Context(), d)
	switch {
	case lacks && (err == nil || !strings.Contains(err.Error(), "VLAN device backend0.100: this kernel has no VLAN devices")):
		t.Errorf("error is %v", err)
	case !lacks && (err != nil || link(g.state(t, g.def), "backend0.100") == nil):
		t.Errorf("VLAN device backend0.100 is not there: %v", err)
	}
	// All else is carried out.
	wantAddresses(t, g, "backend0", "192.168.0.11/24")
	wantAddresses(t, g, "If2", "131.107.10.10/24", "2001:db8:10::10/64")
}
