//go:build vm

package vpn_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"bulkhead/internal/testenv"
	"bulkhead/vpn"
)

// TestCharonTakesEveryProposalThatCanBeDeclared loads an interface for each proposal of configs, the profiles' included.
func TestCharonTakesEveryProposalThatCanBeDeclared(t *testing.T) {
	text, err := os.ReadFile("../configs/testdata/proposals.txt")
	must(t, err)
	n := &network{t: t, gateway: testenv.Namespace(t), logs: &logBuffer{}, events: &eventLog{}}
	n.charon = startCharon(t, "the gateway", n.gateway)
	m, _ := n.manager()
	var want []vpn.Interface
	for line := range strings.Lines(string(text)) {
		protocol, proposal, _ := strings.Cut(strings.TrimSpace(line), " ")
		i := vpn.Interface{
			Name: protocol + "." + proposal, IfID: uint32(len(want) + 1), LocalAddress: netip.MustParseAddr(gatewayAddress),
			PeerAddress: netip.AddrFrom4([4]byte{59, 10, byte(len(want) / 200), byte(len(want)%200 + 1)}),
			Method:      vpn.PSK, PSK: vpn.Secret("a key"), Initiate: vpn.Never,
		}
		if protocol == "ike" {
			i.IKEProposals = []string{proposal}
		} else {
			i.ESPProposals = []string{proposal}
		}
		want = append(want, i)
	}
	if len(want) < 100 {
		t.Errorf("there are %d proposals only", len(want))
	}
	if err := m.Set(t.Context(), "Contoso", want); err != nil {
		t.Error(err)
	}
}
