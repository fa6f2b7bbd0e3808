package dataplane

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// summed runs door 1 on a frame that came in on the backend link with its sum taken by the NIC (CHECKSUM_COMPLETE), and
// fails where the sum is not the frame's afterwards: the kernel would blame the NIC for each packet.
func (d *doors) summed(t *testing.T, name string, frame []byte) {
	t.Helper()
	err := d.ns.Do(func() error {
		ifindex, _, err := d.link("backend0")
		if err != nil {
			return err
		}
		skb := make([]byte, skbIfindex+4)
		binary.NativeEndian.PutUint32(skb[skbIfindex:], ifindex)
		verdict, err := d.objects.Door1Wire.Run(&ebpf.RunOptions{
			Data: frame, DataOut: make([]byte, len(frame)+256), Context: skb, Flags: unix.BPF_F_TEST_SKB_CHECKSUM_COMPLETE,
		})
		if err == nil && verdict != verdictRedirect {
			t.Errorf("%s: verdict %d", name, int32(verdict))
		}
		return err
	})
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

func TestWhatEntersKeepsTheSumThatTheNICTook(t *testing.T) {
	d := rewriteDoors(t)
	c := contoso()
	c.Interfaces[0].Provider = ownStandIn6
	c.Records = append(c.Records, Record{Rule: Rewrite, CA: rewriteCA6, VSID: 5001, MAC: vmMAC, PA: vmStandIn6})
	d.set(t, c)
	udp := slices.Concat(be16(1), be16(2), be16(12), be16(0), []byte("data"))
	d.summed(t, "NVGRE", nvgre(host, 6001, ether(gatewayMAC, vmMAC, etherIPv4, ip4(vmCA, gatewayCA, 17, udp))))
	d.summed(t, "NVGRE, IPv6 inside", nvgre(host, 6001, ether(gatewayMAC, vmMAC, etherIPv6,
		sealedUp(ip6, vmCA6, gatewayCA6, 17, udp))))
	d.summed(t, "rewrite", ether(backendMAC, hostMAC, etherIPv4, sealedUp(ip4, vmStandIn2, woodStandIn, 17, udp)))
	later := ip6(vmStandIn6, ownStandIn6, 44, slices.Concat([]byte{17, 0, 0, 9, 0, 0, 0, 9}, udp))
	d.summed(t, "rewrite of IPv6", ether(backendMAC, hostMAC, etherIPv6, sealedUp(ip6, vmStandIn6, ownStandIn6, 17, udp)))
	d.summed(t, "rewrite of a later fragment of IPv6", ether(backendMAC, hostMAC, etherIPv6, later))
}
