package scenario

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/api"
	"bulkhead/bgp"
	"bulkhead/internal/netns"
	"bulkhead/lab"
	"bulkhead/lab/hnv"
)

// Ports that the lab's servers listen on.
const (
	identityPort = 7    // says who is there, by TCP and UDP
	echoPort     = 4007 // sends UDP back, for flows
	holdPort     = 4008 // keeps TCP connections open
	httpsPort    = 443
)

const webIdentity = "a page of the web server"

// silenceTime is how long something that must not be answered is given.
const silenceTime = 3 * time.Second

// patience bounds waiting for something that must happen; everything here is quicker by far, but machines differ.
const patience = 60 * time.Second

var (
	webServer       = netip.AddrPortFrom(lab.WebAddress, 80)
	providerAddress = lab.GatewayPA
)

// Options of a World.
type Options struct {
	// Bulkhead is the path of the program.
	Bulkhead string
	// NamespaceDir and Dir are the lab's; see lab.Options.
	NamespaceDir, Dir string
}

// World is the Fabrikam lab with a running gateway.
type World struct {
	Bulkhead, RunDir, ConfigDir string

	Lab *lab.Lab
	// API is the daemon's control socket.
	API *api.Client
	// If2 sees what passes the gateway's external NIC, SFO what passes Woodgrove's LAN in San Francisco.
	If2, SFO *lab.Capture

	Charon *lab.Charon
	daemon *lab.Process
	holder net.Listener
	// credentials are there once certificates are.
	credentials *credentials
}

// Start builds the lab and starts charon, the sites, the servers and the daemon.
func Start(ctx context.Context, o Options) (*World, error) {
	l, err := lab.New(lab.Options{NamespaceDir: o.NamespaceDir, Dir: o.Dir})
	if err != nil {
		return nil, err
	}
	w := &World{
		Bulkhead: o.Bulkhead, Lab: l, RunDir: filepath.Join(l.Dir(), "run"), ConfigDir: filepath.Join(l.Dir(), "config"),
	}
	w.API = api.NewClient(w.RunDir)
	for _, step := range []func(context.Context) error{w.serve, w.watch, w.startCharon, w.startSites, w.StartDaemon} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	return w, nil
}

// Close ends everything. What a gateway leaves in the kernel on purpose goes with the lab's folder.
func (w *World) Close() error {
	var errs []error
	if w.holder != nil {
		errs = append(errs, w.holder.Close())
	}
	if w.daemon != nil {
		errs = append(errs, w.daemon.Stop())
	}
	errs = append(errs, w.endSpeakers())
	pins, err := filepath.Glob(filepath.Join(w.RunDir, "netns", "*"))
	errs = append(errs, err)
	for _, pin := range pins {
		errs = append(errs, netns.Remove(pin))
	}
	if err := unix.Unmount(filepath.Join(w.RunDir, "bpf"), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) &&
		!errors.Is(err, unix.ENOENT) {
		errs = append(errs, fmt.Errorf("unmount the gateway's BPF file system: %w", err))
	}
	return errors.Join(append(errs, w.Lab.Close())...)
}

// endSpeakers ends the BGP speakers, which outlive the daemon.
func (w *World) endSpeakers() error {
	speakers := bgp.NewManager(bgp.Options{Dir: filepath.Join(w.RunDir, "bgp"), Log: slog.New(slog.DiscardHandler)})
	tenants, err := speakers.Names()
	for _, tenant := range tenants {
		err = errors.Join(err, speakers.Set(context.Background(), nil, tenant, nil))
	}
	return errors.Join(err, speakers.Close())
}

// serve starts servers that say who they are, so that content proves who was reached.
func (w *World) serve(context.Context) error {
	var errs []error
	for _, tenant := range tenants {
		for _, ca := range vms {
			_, err := w.VM(tenant, ca).Serve(lab.TCP, httpsPort, vmIdentity(tenant, ca))
			errs = append(errs, err, w.identify(w.VM(tenant, ca), vmIdentity(tenant, ca)))
		}
	}
	for _, s := range sites {
		errs = append(errs, w.identify(w.SiteHost(s.name), siteIdentity(s)))
	}
	for _, protocol := range []string{lab.HTTP, lab.UDP} {
		_, err := w.Lab.Web().Serve(protocol, webServer.Port(), webIdentity)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, w.Lab.Web().ServeEcho(echoPort), w.hold())...)
}

// identify starts the servers that say who a machine is, and one for flows.
func (w *World) identify(n *lab.Node, identity string) error {
	var errs []error
	for _, protocol := range []string{lab.TCP, lab.UDP} {
		_, err := n.Serve(protocol, identityPort, identity)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, n.ServeEcho(echoPort))...)
}

// hold serves connections that stay open until the client closes them.
func (w *World) hold() error {
	listener, err := w.Lab.Web().Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), holdPort))
	if err != nil {
		return err
	}
	w.holder = listener
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Read(make([]byte, 1))
				_ = conn.Close()
			}()
		}
	}()
	return nil
}

func (w *World) watch(context.Context) (err error) {
	if w.If2, err = w.Lab.CaptureExternal(); err != nil {
		return err
	}
	w.SFO, err = w.SiteHost("SFO-Woodgrove").Capture("eth0")
	return err
}

func (w *World) startCharon(ctx context.Context) (err error) {
	w.Charon, err = w.Lab.StartGatewayCharon(ctx)
	return err
}

func (w *World) startSites(ctx context.Context) error {
	var errs []error
	for _, s := range sites {
		errs = append(errs, w.Site(s.name).Start(ctx, lab.IKE{Key: lab.PSK}))
	}
	return errors.Join(append(errs, w.startRouters(ctx))...)
}

// StartDaemon starts the daemon on the lab's declarations, written where there are none yet, and waits until it is ready.
func (w *World) StartDaemon(ctx context.Context) error {
	if _, err := os.Stat(w.ConfigDir); errors.Is(err, os.ErrNotExist) {
		if err := lab.ConfigDir(w.ConfigDir); err != nil {
			return err
		}
	}
	var err error
	w.daemon, err = w.Lab.StartDaemon(ctx, w.Bulkhead, w.RunDir, w.ConfigDir)
	return err
}

// StopDaemon asks the daemon to end and waits for it.
func (w *World) StopDaemon(context.Context) error { return w.daemon.Stop() }

// KillDaemon ends the daemon at once.
func (w *World) KillDaemon(context.Context) error { return w.daemon.Kill() }

// DaemonLog is the end of the daemon's log.
func (w *World) DaemonLog() string { return w.daemon.LogTail(40) }

// DaemonLogs is all that daemons of this world have logged.
func (w *World) DaemonLogs() string { return w.daemon.LogTail(1 << 20) }

// Apply makes the daemon take up the lab's declarations again.
func (w *World) Apply(ctx context.Context) error {
	_, err := w.API.Apply(ctx, w.ConfigDir)
	return err
}

// VM is a tenant's virtual machine.
func (w *World) VM(tenant, ca string) *lab.Node { return w.Lab.VM(tenant, ca) }

// HyperV is the host that a customer address lives on, for both tenants.
func (w *World) HyperV(ca string) *hnv.Host {
	return w.Lab.Host(map[string]string{vms[0]: "Host22", vms[1]: "Host33"}[ca])
}

// Gateway is the machine under test.
func (w *World) Gateway() *lab.Node { return w.Lab.Gateway() }

// Client is a client on the Internet.
func (w *World) Client() *lab.Node { return w.Lab.Client() }

// Site is a tenant's site: its router.
func (w *World) Site(name string) *lab.Site { return w.Lab.Site(name) }

// SiteHost is the host in a site's LAN.
func (w *World) SiteHost(name string) *lab.Node { return w.Site(name).Host }

// Compartment is a tenant's compartment, seen from within. The caller closes its namespace.
func (w *World) Compartment(tenant string) (*lab.Node, error) {
	ns, err := netns.Open(filepath.Join(w.RunDir, "netns", tenant))
	if err != nil {
		return nil, err
	}
	return &lab.Node{Name: "compartment " + tenant, NS: ns}, nil
}

// eventually tries until it succeeds. Between tries it waits a little; it gives up when patience or ctx ends.
func eventually(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", patience, err)
		case <-tick.C:
		}
	}
}

// ping is a VM's ping of its gateway as a frame of the virtual network.
func ping() []byte {
	return hnv.EchoRequest(lab.VMMAC, lab.GatewayMAC, netip.MustParseAddr(vms[0]), lab.GatewayCA, 0x4242, 1)
}

// pingIP is an ICMP echo request as an IPv4 packet, of a source that may be forged.
func pingIP(from, to string) []byte {
	const ethernet = 14
	return hnv.EchoRequest(lab.VMMAC, lab.GatewayMAC, netip.MustParseAddr(from), netip.MustParseAddr(to), 0x4242, 1)[ethernet:]
}

// sendOn puts an IPv4 packet on a link itself, past routes and filters.
func sendOn(n *lab.Node, link string, packet []byte) error {
	return n.NS.Do(func() error {
		nic, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a packet socket: %w", err)
		}
		defer func() { _ = unix.Close(fd) }()
		const ethIPv4 = unix.ETH_P_IP>>8 | unix.ETH_P_IP<<8&0xff00 // in network order
		to := &unix.SockaddrLinklayer{Protocol: ethIPv4, Ifindex: nic.Index, Halen: 6}
		// A netkit link says so at once when the door drops a packet; a veth says nothing.
		if err := unix.Sendto(fd, packet, 0, to); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("send on %s: %w", link, err)
		}
		return nil
	})
}
