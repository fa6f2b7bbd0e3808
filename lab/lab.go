// Package lab is the Fabrikam network of the book in network namespaces: Hyper-V hosts with tenants' VMs, sites with
// strongSwan, the Internet between them, and an empty namespace for the gateway.
//
//	Contoso and Woodgrove 10.0.0.10      10.0.0.100          web 65.10.10.100    client 66.10.10.66
//	                     Host22             Host33                        \      /
//	                192.168.0.22        192.168.0.33                  "internet", .1 everywhere
//	                       \                /                        /       |           \
//	 provider 192.168.0.0/24, NVGRE, MTU 1600          131.107.10.0/24   59.10.10.0/24   60.10.10.0/24
//	                        |                               |              |      |           |
//	                        +--- backend0  GW-VM  If2 ------+            .10      .100        .100
//	                                                              NY-Contoso  NY-Woodgrove  SFO-Woodgrove
//	                                                               10.1.0.1      10.1.0.1     10.2.0.1
//	                                                           host 10.1.0.5  host 10.1.0.5   host 10.2.0.5
//
// Nothing outside the namespaces that it makes is touched. Sites with tunnels need a kernel with IPsec (lab/vm); all
// else runs in every kernel that has veth, bridge and tun.
package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"bulkhead/internal/netns"
	"bulkhead/lab/hnv"
)

// Options of a lab; the zero value is good for tests.
type Options struct {
	// NamespaceDir is where namespaces are pinned by name; /run/netns makes them visible to `ip netns`. Without it they
	// have no name, and two labs can stand side by side.
	NamespaceDir string
	// Dir is where logs and sockets of the lab's processes go; left empty, a temporary folder that Close removes. Keep
	// it short: a socket's path has at most 107 bytes.
	Dir string
}

// Lab is the network, standing until Close.
type Lab struct {
	options Options
	dir     string
	nodes   map[string]*Node
	hosts   map[string]*hnv.Host
	sites   map[string]*Site

	mu      sync.Mutex
	closers []func() error
}

// New builds the network. On an error nothing of it is left.
func New(options Options) (*Lab, error) {
	l := &Lab{
		options: options, dir: options.Dir,
		nodes: map[string]*Node{}, hosts: map[string]*hnv.Host{}, sites: map[string]*Site{},
	}
	if err := l.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("build the lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) build() error {
	if l.dir == "" {
		dir, err := os.MkdirTemp("", "lab")
		if err != nil {
			return err
		}
		l.dir = dir
		l.onClose(func() error { return os.RemoveAll(dir) })
	}
	for _, step := range []func() error{l.buildProvider, l.buildInternet, l.buildHosts, l.buildSites} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Close stops what runs in the lab and takes the network down.
func (l *Lab) Close() error {
	var errs []error
	for {
		l.mu.Lock()
		last := len(l.closers) - 1
		if last < 0 {
			l.mu.Unlock()
			return errors.Join(errs...)
		}
		do := l.closers[last]
		l.closers = l.closers[:last]
		l.mu.Unlock()
		errs = append(errs, do())
	}
}

// onClose runs do when the lab is closed, the latest first. What a node of no lab starts, its starter stops.
func (l *Lab) onClose(do func() error) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers = append(l.closers, do)
}

// Dir is the folder of the lab's logs and sockets.
func (l *Lab) Dir() string { return l.dir }

// Node finds a node by name: GW-VM, web, client, internet, provider, Host22, Host33, a site's name, a site's name with
// "-host", or a VM's "Contoso-10.0.0.10". It panics when there is none: names are constants.
func (l *Lab) Node(name string) *Node {
	n, ok := l.nodes[name]
	if !ok {
		panic("lab: no node " + name)
	}
	return n
}

// Gateway is the node in which the daemon runs, with the links backend0 and If2.
func (l *Lab) Gateway() *Node { return l.Node("GW-VM") }

// Web is the web server's machine on the Internet, 65.10.10.100.
func (l *Lab) Web() *Node { return l.Node("web") }

// Client is a machine on the Internet, 66.10.10.66.
func (l *Lab) Client() *Node { return l.Node("client") }

// VM is a tenant's VM by its customer address.
func (l *Lab) VM(tenant, address string) *Node { return l.Node(tenant + "-" + address) }

// Host is a Hyper-V host: Host22 or Host33.
func (l *Lab) Host(name string) *hnv.Host {
	h, ok := l.hosts[name]
	if !ok {
		panic("lab: no host " + name)
	}
	return h
}

// Site is a tenant's site: NY-Contoso, NY-Woodgrove, SFO-Woodgrove or one of AddSite.
func (l *Lab) Site(name string) *Site {
	s, ok := l.sites[name]
	if !ok {
		panic("lab: no site " + name)
	}
	return s
}

// CaptureExternal records what passes between the gateway's If2 and the Internet.
func (l *Lab) CaptureExternal() (*Capture, error) { return l.Node("internet").Capture("gw") }

// CaptureBackend records what passes the gateway's backend0.
func (l *Lab) CaptureBackend() (*Capture, error) { return l.Node("provider").Capture("gw") }

// addNode makes a namespace with lo up. Source checks are off and IPv6 stays silent: what a node sends is what the
// test sends.
func (l *Lab) addNode(name string) (*Node, error) {
	n := &Node{Name: name, lab: l}
	var err error
	if l.options.NamespaceDir == "" {
		n.NS, err = netns.New()
	} else {
		path := filepath.Join(l.options.NamespaceDir, name)
		n.NS, err = netns.Create(path)
		if err == nil {
			l.onClose(func() error { return netns.Remove(path) })
		}
	}
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	l.onClose(n.NS.Close)
	l.nodes[name] = n
	err = n.sysctl("ipv4/ip_forward=0", "ipv4/conf/all/rp_filter=0", "ipv4/conf/default/rp_filter=0",
		"ipv6/conf/all/disable_ipv6=1", "ipv6/conf/default/disable_ipv6=1")
	return n, errors.Join(err, n.configure("lo"))
}

// addHost makes a node with one link, address and default route on the bridge of a router node.
func (l *Lab) addHost(name string, router *Node, bridge, port string, address netip.Prefix) (*Node, error) {
	n, err := l.addNode(name)
	if err != nil {
		return nil, err
	}
	if err := l.attach(n, "eth0", router, bridge, port, plainMTU); err != nil {
		return nil, err
	}
	everywhere := anywhere
	if address.Addr().Is6() {
		everywhere, err = anywhere6, n.enableIPv6("eth0")
	}
	return n, errors.Join(err, n.configure("eth0", address), n.route("eth0", everywhere, address.Masked().Addr().Next()))
}

// attach connects a link of a node to a port of another node's bridge.
func (l *Lab) attach(n *Node, link string, bridgeNode *Node, bridge, port string, mtu int) error {
	if err := connect(n, link, bridgeNode, port, mtu); err != nil {
		return err
	}
	return bridgeNode.plug(port, bridge)
}

var anywhere, anywhere6 = netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
