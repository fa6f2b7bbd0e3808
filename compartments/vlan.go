package compartments

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// vlanAlias marks the VLAN devices that this package made. Others' are used where they are the declared ones, and never
// changed or removed.
const vlanAlias = "bulkhead: provider network"

// vlanType is how the kernel calls VLAN devices.
const vlanType = "vlan"

// VLANName is the name of the device of a VLAN on a NIC, as in backend0.100. Of a name that would be too long the start
// is left out.
func VLANName(nic string, id uint16) string {
	suffix := "." + strconv.Itoa(int(id))
	return nic[max(0, len(nic)+len(suffix)-maxName):] + suffix
}

// vlanNIC is the VLAN's device as a NIC.
func (n NIC) vlanNIC(v VLAN) NIC {
	return NIC{Name: VLANName(n.Name, v.ID), MTU: n.MTU, Addresses: v.Addresses}
}

// ensureVLAN makes the VLAN's device on a NIC, or adopts the one that stands.
func (m *Manager) ensureVLAN(h *netlink.Handle, nic netlink.Link, want VLAN) (netlink.Link, error) {
	name := VLANName(nic.Attrs().Name, want.ID)
	fail := func(err error) (netlink.Link, error) { return nil, fmt.Errorf("VLAN device %s: %w", name, err) }
	if want.ID < 1 || want.ID > 4094 {
		return fail(fmt.Errorf("VLAN %d is not one of 1 to 4094", want.ID))
	}
	m.links.Lock()
	defer m.links.Unlock()
	have, err := find(h, name)
	if err != nil {
		return nil, err
	}
	if have != nil && isVLAN(have, nic, want.ID) {
		return have, nil
	}
	if have != nil {
		if have.Attrs().Alias != vlanAlias {
			return fail(fmt.Errorf("a %s of this name, which is not VLAN %d of %s, stands already: rename it",
				have.Type(), want.ID, nic.Attrs().Name))
		}
		if err := h.LinkDel(have); err != nil {
			return fail(fmt.Errorf("remove the one that stood on another NIC: %w", err))
		}
	}
	if err := makeVLAN(h, nic, name, want.ID); err != nil {
		return fail(err)
	}
	if have, err = h.LinkByName(name); err != nil {
		return fail(fmt.Errorf("find what was just made: %w", err))
	}
	return have, nil
}

// makeVLAN makes a device under a temporary name, because the kernel gives no mark to one that it makes: a device that
// has its name has its mark.
func makeVLAN(h *netlink.Handle, nic netlink.Link, name string, id uint16) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = fmt.Sprintf("%sv%d", temporary, id), nic.Attrs().Index
	if old, err := find(h, attrs.Name); err != nil {
		return err
	} else if old != nil {
		if err := h.LinkDel(old); err != nil {
			return fmt.Errorf("remove %s, left over in the Default compartment: %w", attrs.Name, err)
		}
	}
	device := &netlink.Vlan{LinkAttrs: attrs, VlanId: int(id), VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	err := h.LinkAdd(device)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel has no VLAN devices (CONFIG_VLAN_8021Q, module 8021q): %w", err)
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s has a device of another name for VLAN %d already (see `ip -d link`): remove it, or give "+
			"it this name: %w", nic.Attrs().Name, id, err)
	case err != nil:
		return fmt.Errorf("make: %w", err)
	}
	if err := errors.Join(h.LinkSetAlias(device, vlanAlias), h.LinkSetName(device, name)); err != nil {
		return errors.Join(fmt.Errorf("mark and name: %w", err), h.LinkDel(device))
	}
	return nil
}

// isVLAN tells whether a link is the device of a VLAN on a NIC.
func isVLAN(l, nic netlink.Link, id uint16) bool {
	v, ok := l.(*netlink.Vlan)
	return ok && v.NetNsID < 0 && v.VlanId == int(id) && v.VlanProtocol == netlink.VLAN_PROTOCOL_8021Q &&
		v.ParentIndex == nic.Attrs().Index
}

// removeVLANs removes the VLAN devices that this package made and that are declared no longer.
func (m *Manager) removeVLANs(ctx context.Context, h *netlink.Handle, declared []NIC) error {
	return m.removeEach(ctx, h, func(l netlink.Link) bool {
		ours := l.Type() == vlanType && l.Attrs().Alias == vlanAlias
		return ours && !slices.ContainsFunc(declared, func(n NIC) bool { return n.Name == l.Attrs().Name })
	})
}
