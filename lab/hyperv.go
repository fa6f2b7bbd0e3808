package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"bulkhead/lab/hnv"
)

// VM is a virtual machine that a Hyper-V host of the lab is to run.
type VM struct {
	// Name is that of its node.
	Name string
	VSID uint32
	MAC  net.HardwareAddr
	// Address is its customer address, IPv4 or IPv6, with the length of its virtual subnet. Its default gateway is the
	// lowest address of that.
	Address netip.Prefix
}

// AddHyperV connects another Hyper-V host to the provider network. It knows what the policy says.
func (l *Lab) AddHyperV(name string, pa netip.Addr, policy hnv.Policy) (*hnv.Host, error) {
	node, err := l.addNode(name)
	if err != nil {
		return nil, err
	}
	provider := l.Node("provider")
	if err := errors.Join(l.attach(node, "nic0", provider, "switch", name, providerMTU),
		node.noOffloads("nic0"), provider.noOffloads(name)); err != nil {
		return nil, err
	}
	host, err := hnv.Start(hnv.Config{Name: name, Namespace: node.NS, Interface: "nic0", PA: pa, Policy: policy})
	if err != nil {
		return nil, err
	}
	l.onClose(host.Close)
	l.hosts[name] = host
	return host, nil
}

// AddVM makes a VM, a node whose eth0 is the TAP that its Hyper-V host has, and runs it.
func (l *Lab) AddVM(host string, v VM) (*Node, error) {
	node, err := l.addNode(v.Name)
	if err != nil {
		return nil, err
	}
	device, err := node.boot(v)
	if err != nil {
		return nil, fmt.Errorf("VM %s: %w", v.Name, err)
	}
	if err := l.Host(host).Attach(hnv.Port{VSID: v.VSID, MAC: v.MAC, Device: device}); err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return node, nil
}

// boot gives the VM's node its link, addresses and default route.
func (n *Node) boot(v VM) (*os.File, error) {
	device, err := hnv.OpenTAP(n.NS, "eth0")
	if err != nil {
		return nil, err
	}
	everywhere := anywhere
	if v.Address.Addr().Is6() {
		everywhere = anywhere6
		err = n.enableIPv6("eth0")
	}
	err = errors.Join(err, n.setMAC("eth0", v.MAC, plainMTU), n.setQueue("eth0", tapQueue),
		n.configure("eth0", v.Address), n.route("eth0", everywhere, v.Address.Masked().Addr().Next()))
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return device, nil
}

// enableIPv6 lets the node speak IPv6 on a link, with the addresses that it is given and at once.
func (n *Node) enableIPv6(link string) error {
	conf := "ipv6/conf/" + link + "/"
	return n.sysctl(conf+"accept_ra=0", conf+"accept_dad=0", conf+"router_solicitations=0", conf+"disable_ipv6=0")
}

// AddProviderNode connects a machine to the provider network whose own kernel has the addresses, on eth0.
func (l *Lab) AddProviderNode(name string, addresses ...netip.Prefix) (*Node, error) {
	node, err := l.addNode(name)
	if err != nil {
		return nil, err
	}
	if err := l.attach(node, "eth0", l.Node("provider"), "switch", name, providerMTU); err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if a.Addr().Is6() {
			err = node.enableIPv6("eth0")
		}
	}
	return node, errors.Join(err, node.configure("eth0", addresses...))
}
