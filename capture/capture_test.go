package capture_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/capture"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// room is a tenant's compartment with one link; all rooms are alike in everything:
//
//	[ inside ] IfCi1 10.0.254.2 ---- door 10.0.254.1 [ outside ]
type room struct {
	inside, outside *netns.Namespace
}

func newRoom(t *testing.T) room {
	t.Helper()
	r := room{inside: testenv.Namespace(t), outside: testenv.Namespace(t)}
	for _, ns := range []*netns.Namespace{r.inside, r.outside} {
		// So that the kernels say nothing of their own accord.
		must(t, ns.Do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0) }))
	}
	up(t, r.inside, "lo")
	r.connect(t, "IfCi1", 254)
	return r
}

// connect makes a link with its other end outside.
func (r room) connect(t *testing.T, name string, subnet byte) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, net.HardwareAddr{0x60, 1, 0x60, 1, 3, 1}
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerNamespace = "door"+name, netlink.NsFd(r.outside.Fd())
	pair.PeerHardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, 0x11}
	must(t, handle(t, r.inside).LinkAdd(pair))
	for i, end := range []struct {
		ns   *netns.Namespace
		name string
	}{{r.outside, "door" + name}, {r.inside, name}} {
		address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 0, subnet, byte(i+1)), Mask: net.CIDRMask(24, 32)}}
		must(t, handle(t, end.ns).AddrAdd(up(t, end.ns, end.name), address))
	}
}

func up(t *testing.T, ns *netns.Namespace, name string) netlink.Link {
	t.Helper()
	h := handle(t, ns)
	l, err := h.LinkByName(name)
	must(t, err)
	must(t, h.LinkSetUp(l))
	return l
}

func handle(t *testing.T, ns *netns.Namespace) *netlink.Handle {
	t.Helper()
	h, err := ns.Netlink(unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// say sends a datagram from one namespace to an address in another, and waits until it is there.
func say(t *testing.T, from, to *netns.Namespace, address, text string) {
	t.Helper()
	var ear net.PacketConn
	must(t, to.Do(func() (err error) {
		ear, err = net.ListenPacket("udp4", net.JoinHostPort(address, "0"))
		return err
	}))
	defer ear.Close()
	var mouth net.Conn
	must(t, from.Do(func() (err error) {
		mouth, err = net.Dial("udp4", ear.LocalAddr().String())
		return err
	}))
	defer mouth.Close()
	_, err := mouth.Write([]byte(text))
	must(t, err)
	must(t, ear.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, _, err = ear.ReadFrom(make([]byte, 2048))
	must(t, err)
}

// recording is a capture that runs.
type recording struct {
	stop func() capture.Result
	file bytes.Buffer
}

func record(t *testing.T, ns *netns.Namespace, o capture.Options) *recording {
	t.Helper()
	c, err := capture.Open(ns, o)
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &recording{}
	var result capture.Result
	ended := make(chan error, 1)
	go func() {
		var err error
		result, err = c.Record(ctx, &r.file)
		ended <- errors.Join(err, c.Close())
	}()
	r.stop = func() capture.Result {
		t.Helper()
		cancel()
		must(t, <-ended)
		return result
	}
	return r
}

// seen is one packet in a file.
type seen struct {
	link     string
	linkType layers.LinkType
	leaving  bool
	data     []byte
	length   int
}

// read reads a file with the library. ARP is left out.
func read(t *testing.T, file io.Reader) (all []seen) {
	t.Helper()
	r, err := pcapgo.NewNgReader(file, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	must(t, err)
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		l, err := r.Interface(info.InterfaceIndex)
		must(t, err)
		if age := time.Since(info.Timestamp); age < 0 || age > time.Minute {
			t.Errorf("a packet is from %v", info.Timestamp)
		}
		s := seen{link: l.Name, linkType: l.LinkType, data: data, length: info.Length,
			leaving: options.Flags.Direction == pcapgo.NgEpbFlagDirectionOutbound}
		ip := data
		if s.linkType == layers.LinkTypeEthernet {
			ip = data[14:]
		}
		if len(ip) > 9 && ip[0]>>4 == 4 && ip[9] == unix.IPPROTO_UDP {
			all = append(all, s)
		}
	}
}

// spoken are the packets with what they say, which begins after IPv4 and UDP.
func spoken(all []seen) (lines []string) {
	for _, s := range all {
		skip, way := 28, "in"
		if s.linkType == layers.LinkTypeEthernet {
			skip += 14
		}
		if s.leaving {
			way = "out"
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", s.link, way, s.data[skip:]))
	}
	return lines
}

func TestOnlyTheTenantsOwnPacketsAreRecordedOfTwoAlikeInEverything(t *testing.T) {
	contoso, woodgrove := newRoom(t), newRoom(t)
	for _, r := range []room{contoso, woodgrove} {
		r.connect(t, "ext", 7)
	}
	recorded := record(t, contoso.inside, capture.Options{})
	for name, r := range map[string]room{"Contoso": contoso, "Woodgrove": woodgrove} {
		say(t, r.outside, r.inside, "10.0.254.2", name+" asks")
		say(t, r.inside, r.outside, "10.0.254.1", name+" answers")
		say(t, r.inside, r.outside, "10.0.7.1", name+" browses")
		say(t, r.inside, r.inside, "127.0.0.1", name+" talks to itself")
	}
	result := recorded.stop()
	if bytes.Contains(recorded.file.Bytes(), []byte("Woodgrove")) {
		t.Error("there is something of the other tenant in the file")
	}
	got := spoken(read(t, &recorded.file))
	want := []string{"IfCi1 in Contoso asks", "IfCi1 out Contoso answers", "ext out Contoso browses"}
	if !slices.Equal(got, want) || result.Packets < 3 || result.Dropped != 0 {
		t.Errorf("recorded %q (%+v), want %q", got, result, want)
	}
}

func TestOneLinkIsRecordedAloneAlsoWhenItAppearsLater(t *testing.T) {
	r := newRoom(t)
	recorded := record(t, r.inside, capture.Options{Link: "IfCe1"})
	for i := range 3 {
		say(t, r.inside, r.outside, "10.0.254.1", fmt.Sprint("elsewhere ", i))
	}
	r.connect(t, "IfCe1", 7)
	say(t, r.inside, r.outside, "10.0.7.1", "here")
	result := recorded.stop()
	if got := spoken(read(t, &recorded.file)); !slices.Equal(got, []string{"IfCe1 out here"}) {
		t.Errorf("recorded %q (%+v)", got, result)
	}
}

// tunnelled adds a link without an Ethernet header while a capture runs, and sends a packet into it.
func tunnelled(t *testing.T, add func() error) {
	t.Helper()
	r := newRoom(t)
	recorded := record(t, r.inside, capture.Options{})
	must(t, r.inside.Do(add))
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 1, 0, 1), Mask: net.CIDRMask(24, 32)}}
	must(t, handle(t, r.inside).AddrAdd(up(t, r.inside, "IfCe1"), address))
	must(t, r.inside.Do(func() error {
		c, err := net.Dial("udp4", "10.1.0.9:4000")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("into the tunnel"))
		return err
	}))
	recorded.stop()
	all := read(t, &recorded.file)
	if got := spoken(all); !slices.Equal(got, []string{"IfCe1 out into the tunnel"}) ||
		all[0].linkType != layers.LinkTypeRaw {
		t.Errorf("recorded %q of %+v", got, all)
	}
}

func TestPacketsOfLinksWithoutEthernetBeginWithIP(t *testing.T) {
	var tun *netlink.Tuntap
	tunnelled(t, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "IfCe1"
		tun = &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Queues: 1}
		return netlink.LinkAdd(tun)
	})
	for _, f := range tun.Fds {
		must(t, f.Close())
	}
}

func TestCountEndsACaptureAndSnapLengthCutsPackets(t *testing.T) {
	r := newRoom(t)
	say(t, r.inside, r.outside, "10.0.254.1", "so that the addresses are resolved")
	c, err := capture.Open(r.inside, capture.Options{Link: "IfCi1", Count: 2, SnapLength: 50})
	must(t, err)
	defer c.Close()
	for range 3 {
		say(t, r.inside, r.outside, "10.0.254.1", strings.Repeat("long ", 100))
	}
	var file bytes.Buffer
	result, err := c.Record(t.Context(), &file)
	must(t, err)
	all := read(t, &file)
	if result.Packets != 2 || len(all) != 2 || len(all[0].data) != 50 || all[0].length != 542 {
		t.Errorf("%+v, recorded %+v", result, all)
	}
}

func TestPacketsThatCameTooFastAreCounted(t *testing.T) {
	r := newRoom(t)
	say(t, r.inside, r.outside, "10.0.254.1", "so that the addresses are resolved")
	c, err := capture.Open(r.inside, capture.Options{})
	must(t, err)
	defer c.Close()
	const sent = 150_000
	must(t, r.inside.Do(func() error {
		conn, err := net.Dial("udp4", "10.0.254.1:9")
		if err != nil {
			return err
		}
		defer conn.Close()
		for range sent {
			// Nobody listens, which the socket is told now and then.
			_, _ = conn.Write([]byte("flood"))
		}
		return nil
	}))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var file bytes.Buffer
	result, err := c.Record(ended, &file)
	must(t, err)
	recorded := uint64(len(read(t, &file)))
	if result.Dropped == 0 || recorded == 0 || recorded > result.Packets {
		t.Errorf("%+v with %d in the file, want some dropped of %d sent", result, recorded, sent)
	}
}

func TestACaptureOfNothingIsAFileThatCanBeRead(t *testing.T) {
	for _, link := range []string{"", "IfCe1"} {
		recorded := record(t, testenv.Namespace(t), capture.Options{Link: link})
		if result := recorded.stop(); result != (capture.Result{}) {
			t.Errorf("%+v", result)
		}
		if all := read(t, &recorded.file); len(all) != 0 {
			t.Errorf("recorded %+v", all)
		}
	}
}

// brokenPipe is what a reader that went away looks like.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, unix.EPIPE }

func TestACaptureEndsWhenNobodyReadsItAnyMore(t *testing.T) {
	r := newRoom(t)
	c, err := capture.Open(r.inside, capture.Options{})
	must(t, err)
	defer c.Close()
	say(t, r.inside, r.outside, "10.0.254.1", "unheard")
	if _, err := c.Record(t.Context(), brokenPipe{}); !errors.Is(err, unix.EPIPE) {
		t.Errorf("error %v, want a broken pipe", err)
	}
}

func TestACaptureSaysThatItsLinkIsNotThereYet(t *testing.T) {
	ns := testenv.Namespace(t)
	for link, want := range map[string]string{
		"":     "",
		"lo":   "",
		"nope": "there is no interface nope yet, only lo; waiting for it",
	} {
		c, err := capture.Open(ns, capture.Options{Link: link})
		must(t, err)
		if got := c.Missing(); got != want {
			t.Errorf("link %q: %q, want %q", link, got, want)
		}
		must(t, c.Close())
	}
}
