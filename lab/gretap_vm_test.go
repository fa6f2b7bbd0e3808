//go:build vm

package lab_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
	"bulkhead/lab"
)

// Linux's own GRE is the second opinion on what the gateway sends and takes. A gretap device with a key sends
// VSID << 8, FlowID 0, and takes nothing else; one in external mode takes any key. A bridge joins the two to one port.

const gretapGateway = `apiVersion: bulkhead/v1
kind: Gateway
metadata:
  name: GW-VM
spec:
  backend:
    interface: backend0
    mtu: 1600
    providerAddresses:
      - address: 192.168.0.11/24
      - address: fd00:a::11/64
  external:
    interface: If2
    addresses:
      - address: 131.107.10.10/24
    natAddresses: [131.107.10.11-131.107.10.20]
    defaultGateways: [131.107.10.1]
`

const gretapTenant = `apiVersion: bulkhead/v1
kind: Tenant
metadata:
  name: Contoso
spec:
  routingDomainId: 12345678-1000-2000-3000-123456780001
  virtualSubnets:
    - {vsid: 5001, prefix: 10.0.0.0/24}
    - {vsid: 6001, prefix: 10.0.254.0/24}
  internalInterfaces:
    - {name: IfCi1, vsid: 6001, addresses: [10.0.254.2/24], macAddress: "60:01:60:01:03:01"}
  lookupRecords:
    - {customerAddress: 10.0.0.44, vsid: 5001, macAddress: "02:00:00:00:07:01", providerAddress: 192.168.0.44}
    - {customerAddress: 10.0.0.66, vsid: 5001, macAddress: "02:00:00:00:07:02", providerAddress: "fd00:a::66"}
  nat:
    externalAddresses:
      - {address: 131.107.10.12}
`

// gateway starts the daemon on declarations, without charon: there are no tunnels.
func gateway(t *testing.T, l *lab.Lab, files map[string]string) (runDir string) {
	t.Helper()
	binary := os.Getenv("BULKHEAD_BINARY")
	if binary == "" {
		t.Fatal("BULKHEAD_BINARY must be the path of the program under test; make test-vm sets it")
	}
	runDir, configDir := filepath.Join(l.Dir(), "run"), filepath.Join(l.Dir(), "config")
	if err := os.Mkdir(configDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(configDir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	daemon, err := l.StartDaemon(t.Context(), binary, runDir, configDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the daemon's log:\n%s", daemon.LogTail(30))
		}
		err := daemon.Stop()
		pins, _ := filepath.Glob(filepath.Join(runDir, "netns", "*"))
		for _, pin := range pins {
			err = errors.Join(err, netns.Remove(pin))
		}
		if err := errors.Join(err, unix.Unmount(filepath.Join(runDir, "bpf"), unix.MNT_DETACH)); err != nil {
			t.Error(err)
		}
	})
	return runDir
}

// gretap is a Linux machine with a VM's address on a bridge of two GRE devices.
type gretap struct {
	*lab.Node
	kind string // of the devices: gretap or ip6gretap
}

func (g gretap) run(t *testing.T, command string, args ...any) {
	t.Helper()
	words := strings.Fields(fmt.Sprintf(command, args...))
	if _, err := g.Run(t.Context(), words[0], words[1:]...); err != nil {
		t.Fatal(err)
	}
}

// takeAnyFlow adds the device that takes what has another FlowID than 0.
func (g gretap) takeAnyFlow(t *testing.T) {
	t.Helper()
	g.run(t, "ip link add any type %s external", g.kind)
	g.run(t, "ip link set any master vm mtu 1500 up")
	g.run(t, "bridge link set dev any learning off") // what comes in by it is answered by the other
}

// newGretap makes the machine at a provider address. It sends to the gateway's own VSID, as the distributed router of a
// Hyper-V host does, and is in 5001 itself.
func newGretap(t *testing.T, l *lab.Lab, kind, options, pa, gatewayPA string, mac net.HardwareAddr, ca string) gretap {
	t.Helper()
	at := netip.MustParsePrefix(pa)
	node, err := l.AddProviderNode("Linux-"+kind, at)
	if err != nil {
		t.Fatal(err)
	}
	g := gretap{node, kind}
	g.run(t, "ip link add vm type bridge")
	g.run(t, "ip link set vm address %v mtu 1500 up", mac)
	g.run(t, "ip addr add %s/24 dev vm", ca)
	g.run(t, "ip route add default via 10.0.0.1 dev vm")
	g.run(t, "ip neigh add 10.0.0.1 lladdr %v dev vm nud permanent", lab.GatewayMAC)
	g.run(t, "ip link add key type %s local %v remote %s okey %d ikey %d %s", kind, at.Addr(), gatewayPA, 6001<<8,
		5001<<8, options)
	g.run(t, "ip link set key master vm mtu 1500 up")
	g.run(t, "bridge fdb add %v dev key master static", lab.GatewayMAC)
	return g
}

// inEchos counts the echo requests that the kernel of a compartment has taken in.
func inEchos(t *testing.T, room *lab.Node) int {
	t.Helper()
	text, err := room.Run(t.Context(), "nstat", "-asz", "IcmpInEchos")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(text)
	for i, field := range fields {
		if field == "IcmpInEchos" {
			n, err := strconv.Atoi(fields[i+1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("nstat says %q", text)
	return 0
}

var web = netip.AddrPortFrom(lab.WebAddress, 80)

// servePage serves that many bytes to whoever connects.
func servePage(t *testing.T, n *lab.Node, size int) {
	t.Helper()
	listener, err := n.Listen(web)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write(make([]byte, size))
			conn.Close()
		}
	}()
}

// readPage counts what the web server sends.
func readPage(t *testing.T, n *lab.Node) (int64, error) {
	t.Helper()
	conn, err := n.Dial(t.Context(), "tcp", web)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	return io.Copy(io.Discard, conn)
}

func TestLinuxGREAndTheGatewayUnderstandEachOther(t *testing.T) {
	testenv.Root(t)
	l := newLab(t)
	const page = 1_000_000 // bytes: many full frames towards the VM
	servePage(t, l.Web(), page)
	if _, err := l.Web().Serve(lab.UDP, web.Port(), "by UDP"); err != nil {
		t.Fatal(err)
	}
	runDir := gateway(t, l, map[string]string{"gateway.yaml": gretapGateway, "contoso.yaml": gretapTenant})
	ns, err := netns.Open(filepath.Join(runDir, "netns", "Contoso"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	room := &lab.Node{Name: "compartment Contoso", NS: ns}
	for kind, x := range map[string]struct {
		options, pa, gatewayPA string

		mac net.HardwareAddr
		ca  string
	}{
		"gretap": {"", "192.168.0.44/24", "192.168.0.11", firstMAC, "10.0.0.44"},
		// Without this option Linux puts an extension header before GRE, which NVGRE does not have.
		"ip6gretap": {"encaplimit none", "fd00:a::66/64", "fd00:a::11", secondMAC, "10.0.0.66"},
	} {
		t.Run(kind, func(t *testing.T) {
			g := newGretap(t, l, kind, x.options, x.pa, x.gatewayPA, x.mac, x.ca)
			// From gretap alone everything arrives; of the answers it takes one flow in 256.
			before := inEchos(t, room)
			for range 3 {
				_, _ = g.Run(t.Context(), "ping", "-c", "1", "-W", "1", lab.GatewayCA.String())
			}
			if got := inEchos(t, room) - before; got != 3 {
				t.Errorf("of 3 echo requests the compartment got %d", got)
			}
			g.takeAnyFlow(t)
			if _, err := g.Ping(t.Context(), lab.GatewayCA); err != nil {
				t.Error(err)
			}
			if got, err := readPage(t, g.Node); got != page || err != nil {
				t.Errorf("TCP: %d bytes, %v", got, err)
			}
			// Many flows, each with a FlowID of its own.
			for range 32 {
				if reply, err := g.Fetch(t.Context(), lab.UDP, web); err != nil || reply.Content != "by UDP" {
					t.Fatalf("UDP: %v, %v", reply, err)
				}
			}
		})
	}
}
