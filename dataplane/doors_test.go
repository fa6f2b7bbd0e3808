package dataplane

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/drops"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// What a program returns.
const (
	verdictNext     = 0xffffffff
	verdictDrop     = 2
	verdictRedirect = 7
)

var (
	contosoID   = uuid.MustParse("12345678-1000-2000-3000-123456780001")
	woodgroveID = uuid.MustParse("12345678-1000-2000-3000-123456780002")

	gatewayMAC  = mac("60:01:60:01:03:01") // of both tenants' internal interfaces
	extMAC      = mac("02:00:00:00:0e:01") // of both tenants' external links
	vmMAC       = mac("60:00:60:00:01:01")
	hostMAC     = mac("02:00:00:00:00:22")
	routerMAC   = mac("02:00:00:00:00:99")
	broadcast   = mac("ff:ff:ff:ff:ff:ff")
	provider    = addr("192.168.0.11")
	host        = addr("192.168.0.22")
	gatewayCA   = addr("10.0.254.2")
	gatewayCA6  = addr("fd00:254::2")
	vmCA        = addr("10.0.0.10")
	vmCA6       = addr("fd00::10")
	ownAddress  = addr("131.107.10.10")
	contosoNAT  = addr("131.107.10.12")
	contosoNAT6 = addr("2001:db8:10::12")
	woodNAT     = addr("131.107.10.13")
	sharedNAT   = addr("131.107.10.14") // ports 9000-9999 Contoso's, 10000-10999 Woodgrove's
	unownedNAT  = addr("131.107.10.15")
	internet    = addr("65.10.10.100")
	internet6   = addr("2001:db8:65::100")
)

// doors are the doors of one gateway in a namespace of their own.
type doors struct {
	*Dataplane
	ns  *netns.Namespace
	dir string
}

// openDoors opens the doors in a namespace; with the test go the doors and their file system.
func openDoors(t testing.TB, ns *netns.Namespace) *doors {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bpf")
	d := &doors{ns: ns, dir: dir}
	d.open(t)
	t.Cleanup(func() {
		if err := d.Destroy(); err != nil {
			t.Errorf("destroy the doors: %v", err)
		}
	})
	return d
}

func (d *doors) open(t testing.TB) {
	t.Helper()
	d.do(t, func() (err error) {
		d.Dataplane, err = Open(d.dir)
		return err
	})
}

// do runs fn in the doors' namespace.
func (d *doors) do(t testing.TB, fn func() error) {
	t.Helper()
	if err := d.ns.Do(fn); err != nil {
		t.Fatal(err)
	}
}

func (d *doors) set(t testing.TB, tenants ...Tenant) {
	t.Helper()
	for _, tenant := range tenants {
		d.do(t, func() error { return d.SetTenant(tenant) })
	}
}

// addVeth makes a veth pair in the doors' namespace and moves the peer to another one, if given. Both ends are up.
func addVeth(t testing.TB, ns *netns.Namespace, name string, m net.HardwareAddr, peerNS *netns.Namespace, peer string,
	peerMAC net.HardwareAddr) {
	t.Helper()
	h := handle(t, ns)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, m
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerHardwareAddr: peerMAC}
	if peerNS != nil {
		veth.PeerNamespace = netlink.NsFd(peerNS.Fd())
	}
	if err := h.LinkAdd(veth); err != nil {
		t.Fatalf("add veth %s: %v", name, err)
	}
	up(t, h, name)
	if peerNS != nil {
		h = handle(t, peerNS)
	}
	up(t, h, peer)
}

func handle(t testing.TB, ns *netns.Namespace) *netlink.Handle {
	t.Helper()
	h, err := ns.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func up(t testing.TB, h *netlink.Handle, name string) netlink.Link {
	t.Helper()
	l, err := h.LinkByName(name)
	if err != nil {
		t.Fatalf("find link %s: %v", name, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
	return l
}

func contoso() Tenant {
	return Tenant{
		Name: "Contoso", RoutingDomain: contosoID,
		Subnets: []Subnet{{5001, netip.MustParsePrefix("10.0.0.0/24")}, {6001, netip.MustParsePrefix("10.0.254.0/24")}},
		Interfaces: []Interface{{
			VSID: 6001, Link: "bhi6001", MAC: gatewayMAC, Addresses: []netip.Addr{gatewayCA, gatewayCA6},
		}},
		Records: []Record{
			{CA: vmCA, VSID: 5001, MAC: vmMAC, PA: host},
			{CA: vmCA6, VSID: 5001, MAC: vmMAC, PA: host},
			{CA: addr("10.0.254.9"), VSID: 6001, MAC: vmMAC, PA: host},
		},
		External: &External{Link: "bhx1", MAC: extMAC, Owned: []Ports{
			{Address: contosoNAT}, {Address: contosoNAT6}, {Address: sharedNAT, First: 9000, Last: 9999},
		}},
	}
}

func woodgrove() Tenant {
	return Tenant{
		Name: "Woodgrove", RoutingDomain: woodgroveID,
		Subnets: []Subnet{{5002, netip.MustParsePrefix("10.0.0.0/24")}, {6002, netip.MustParsePrefix("10.0.254.0/24")}},
		Interfaces: []Interface{{
			VSID: 6002, Link: "bhi6002", MAC: gatewayMAC, Addresses: []netip.Addr{gatewayCA, gatewayCA6},
		}},
		Records: []Record{
			{CA: vmCA, VSID: 5002, MAC: vmMAC, PA: host}, {CA: vmCA6, VSID: 5002, MAC: vmMAC, PA: host},
			{CA: addr("10.0.0.100"), VSID: 5002, MAC: mac("60:00:60:00:02:02"), PA: addr("192.168.0.33")},
		},
		External: &External{Link: "bhx2", MAC: extMAC, Owned: []Ports{
			{Address: woodNAT}, {Address: sharedNAT, First: 10000, Last: 10999},
		}},
	}
}

func fabrikam() Gateway {
	return Gateway{
		Backend: "backend0", External: "If2", Providers: on(provider), ProviderMTU: providerMTU,
		OwnAddresses: []netip.Addr{ownAddress},
		PoolPrefixes: []netip.Prefix{
			netip.MustParsePrefix("131.107.10.11/32"), netip.MustParsePrefix("131.107.10.12/30"),
			netip.MustParsePrefix("131.107.10.16/30"), netip.MustParsePrefix("131.107.10.20/32"),
		},
	}
}

// on is a provider address of a gateway, in a /24 or /64, on its backend link.
func on(pa netip.Addr) []Provider {
	bits := 24
	if pa.Is6() {
		bits = 64
	}
	return []Provider{{Address: netip.PrefixFrom(pa, bits), Link: "backend0"}}
}

var (
	backendMAC  = mac("02:00:00:00:00:11")
	externalMAC = mac("02:00:00:00:00:12")
)

// fabrikamDoors are doors with both tenants set, on links that lead nowhere.
func fabrikamDoors(t testing.TB) *doors {
	t.Helper()
	ns := testenv.Namespace(t)
	// The links' own IPv6 chatter would be counted among the drops that tests look at.
	if err := ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	}); err != nil {
		t.Fatal(err)
	}
	addVeth(t, ns, "backend0", backendMAC, nil, "wire0", nil)
	addVeth(t, ns, "If2", externalMAC, nil, "wire1", nil)
	for _, name := range []string{"bhi6001", "bhi6002", "bhx1", "bhx2", "stray"} {
		addVeth(t, ns, name, nil, nil, name+"p", nil)
	}
	d := openDoors(t, ns)
	d.do(t, func() error { return d.SetGateway(fabrikam()) })
	d.set(t, contoso(), woodgrove())
	return d
}

// run passes a frame that came in on a link to a program.
func (d *doors) run(t testing.TB, program *ebpf.Program, link string, frame []byte) (verdict uint32, out []byte) {
	t.Helper()
	verdict, out, err := d.try(program, link, frame)
	if err != nil {
		t.Fatalf("run %v: %v", program, err)
	}
	return verdict, out
}

func (d *doors) try(program *ebpf.Program, link string, frame []byte) (verdict uint32, out []byte, err error) {
	err = d.ns.Do(func() error {
		ifindex, _, err := d.link(link)
		if err != nil {
			return err
		}
		skb := make([]byte, 44) // struct __sk_buff up to ifindex
		binary.NativeEndian.PutUint32(skb[40:], ifindex)
		options := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256), Context: skb}
		verdict, err = program.Run(options)
		out = options.DataOut
		return err
	})
	return verdict, out, err
}

// dropped is what the drop counters grew by since the last call.
func (d *doors) dropped(t testing.TB, before []drops.Drop) (grown, now []drops.Drop) {
	t.Helper()
	now, err := d.Drops()
	if err != nil {
		t.Fatal(err)
	}
	old := make(map[[3]string]uint64)
	for _, b := range before {
		old[[3]string{b.Tenant, b.Where, b.Reason}] = b.Packets
	}
	for _, n := range now {
		if n.Packets -= old[[3]string{n.Tenant, n.Where, n.Reason}]; n.Packets > 0 {
			n.Bytes = 0
			grown = append(grown, n)
		}
	}
	return grown, now
}

// packetCase is one packet in and what must come of it.
type packetCase struct {
	name    string
	frame   []byte
	link    string // that it comes in on, where it is not the table's
	verdict uint32
	out     []byte // of a redirected packet
	tenant  string // of a dropped packet
	reason  string
}

func (d *doors) check(t *testing.T, program *ebpf.Program, where, link string, cases []packetCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, before := d.dropped(t, nil)
			if c.link == "" {
				c.link = link
			}
			verdict, out := d.run(t, program, c.link, c.frame)
			if verdict != c.verdict {
				t.Errorf("verdict %d, want %d", int32(verdict), int32(c.verdict))
			}
			if c.out == nil && c.verdict == verdictNext {
				c.out = c.frame
			}
			if c.out != nil {
				if diff := cmp.Diff(c.out, out); diff != "" {
					t.Errorf("frame (-want +got):\n%s", diff)
				}
			}
			var want []drops.Drop
			if c.reason != "" {
				want = []drops.Drop{{Tenant: c.tenant, Where: where, Reason: c.reason, Packets: 1}}
			}
			grown, _ := d.dropped(t, before)
			if diff := cmp.Diff(want, grown); diff != "" {
				t.Errorf("drop counters (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOpenSaysWhatIsMissingWhenItsFolderCannotBeMade(t *testing.T) {
	testenv.Root(t)
	if _, err := Open("/proc/none/bpf"); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Open below /proc: %v", err)
	}
}
