package gateway

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"bulkhead/capture"
)

// captured runs fn while Contoso's packets are recorded, and returns the UDP ones to port 7001, in order, with the link
// that they passed.
func (d *traced) captured(t *testing.T, fn func()) (seen []string) {
	t.Helper()
	c, err := capture.Open(d.compartment(t, "Contoso"), capture.Options{})
	must(t, err)
	defer c.Close()
	fn()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var file bytes.Buffer
	_, err = c.Record(ended, &file)
	must(t, err)
	r, err := pcapgo.NewNgReader(&file, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	must(t, err)
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if err != nil {
			return seen
		}
		l, err := r.Interface(info.InterfaceIndex)
		must(t, err)
		way := "in"
		if options.Flags.Direction == pcapgo.NgEpbFlagDirectionOutbound {
			way = "out"
		}
		if l.LinkType != layers.LinkTypeEthernet {
			t.Errorf("%s has link type %v", l.Name, l.LinkType)
		}
		if packet := describeFrame(data, data[6:12], 7001); packet != "" {
			seen = append(seen, l.Name+" "+way+" "+packet)
		}
	}
}

func TestCaptureOfATenantIsDecapsulatedAndOnlyItsOwn(t *testing.T) {
	d := newTraced(t, tracedYAML)
	r := TraceRequest{From: netip.MustParseAddr("10.0.0.10"), To: netip.MustParseAddr("65.10.10.100"), SourcePort: 8001,
		DestinationPort: 7001}
	seen := d.captured(t, func() {
		d.sendAsHost(t, r, "192.168.0.22", interfaceMAC, 6002) // Woodgrove's, alike in everything
		d.internet.receive(t, 7001)
		d.sendAsHost(t, r, "192.168.0.22", interfaceMAC, 6001)
		d.internet.receive(t, 7001)
	})
	want := "IfCi1 in udp 10.0.0.10:8001 > 65.10.10.100:7001; ext out udp 131.107.10.12:8001 > 65.10.10.100:7001"
	if got := strings.Join(seen, "; "); got != want {
		t.Errorf("recorded %q, want %q", got, want)
	}
}

func TestRoutedPacketsAreSeenWhileTheyAreRoutedThrough(t *testing.T) {
	d := newTraced(t, tracedYAML+routerYAML)
	r := TraceRequest{From: netip.MustParseAddr("10.0.0.10"), To: netip.MustParseAddr("10.0.3.10"), SourcePort: 8001,
		DestinationPort: 7001}
	hairpin := func() {
		d.sendAsHost(t, r, "192.168.0.22", routersMAC, 5001)
		want := "udp 10.0.0.10:8001 > 10.0.3.10:7001 to the host at 192.168.0.33, in VSID 5003"
		if got := d.backend.receive(t, 7001); got != want {
			t.Errorf("the host receives %q, want %q", got, want)
		}
	}
	if seen := d.captured(t, hairpin); len(seen) != 0 {
		t.Errorf("before: %q", seen)
	}
	first, err := d.RouteThrough("Contoso")
	must(t, err)
	second, err := d.RouteThrough("Contoso")
	must(t, err)
	must(t, first())
	want := "IfCi1 in udp 10.0.0.10:8001 > 10.0.3.10:7001; IfCi1 out udp 10.0.0.10:8001 > 10.0.3.10:7001"
	if got := strings.Join(d.captured(t, hairpin), "; "); got != want {
		t.Errorf("meanwhile: %q, want %q", got, want)
	}
	// A declaration that is applied meanwhile does not end it.
	must(t, d.take(t.Context(), declareText(t, gatewayYAML, tracedYAML+routerYAML, woodgrove.yaml())))
	if got := strings.Join(d.captured(t, hairpin), "; "); got != want {
		t.Errorf("after an apply: %q, want %q", got, want)
	}
	must(t, second())
	if seen := d.captured(t, hairpin); len(seen) != 0 {
		t.Errorf("afterwards: %q", seen)
	}
	if len(d.watchers.all) != 0 {
		t.Errorf("watchers are left: %v", d.watchers.all)
	}
}

func TestRoutingThroughNeedsAnExternalRouter(t *testing.T) {
	d := newMachine(t).open(t)
	if _, err := d.RouteThrough("Contoso"); err == nil {
		t.Error("before a declaration is taken up it is no error")
	}
	d.apply(t, contoso)
	for tenant, want := range map[string]string{"Contoso": "external router", "Adatum": "Contoso"} {
		if _, err := d.RouteThrough(tenant); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one about %q", tenant, err, want)
		}
	}
	d.stop()
	if _, err := d.RouteThrough("Contoso"); !errors.Is(err, errClosed) {
		t.Errorf("after the end: %v", err)
	}
}
