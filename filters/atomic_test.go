package filters_test

import (
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"bulkhead/filters"
	"bulkhead/internal/nft"
)

// A change comes into force as a whole: what neither the old filters nor the new ones pass never passes, and what both
// pass always does, under a flood of both while filters of this link and of others come, change and go.
func TestNoPacketMeetsHalfOfAChange(t *testing.T) {
	n := newNetwork(t)
	to := func(text string, port uint16) filters.Rule {
		return rule(text, "", "", unix.IPPROTO_UDP, destinationPorts(port, port))
	}
	web, dns, mail := to("any:any:UDP:0:443", 443), to("any:any:UDP:0:53", 53), to("any:any:UDP:0:25", 25)
	here := func(rules ...filters.Rule) filters.Filter {
		return filters.Filter{Link: "IfCe1", Arriving: true, Rules: rules}
	}
	other := filters.Filter{Link: "IfCe2", Arriving: true}
	states := [][]filters.Filter{
		{here(web, dns)}, {here(web), other}, {other, here(mail, web)}, {here(web), {Link: "IfCi1", Pass: true}},
	}
	set(t, n, states[0]...)
	const never, always = 99, 443
	_, err := nft.Apply(n.gw, nft.Table{
		Name: "passed", Counters: []string{"never", "always"},
		Chains: []nft.Chain{{
			Name: "f", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookForward,
			Rules: []nft.Rule{
				nft.Join(nft.Protocol(unix.IPPROTO_UDP), nft.DestinationPorts(never, never), nft.Count("never")),
				nft.Join(nft.Protocol(unix.IPPROTO_UDP), nft.DestinationPorts(always, always), nft.Count("always")),
			},
		}},
	})
	must(t, err)
	packets := [][]byte{
		build(t, "10.1.0.10", "10.0.0.10", udp(1, always), nil), build(t, "10.1.0.10", "10.0.0.10", udp(1, never), nil),
	}
	stop, stopped := make(chan struct{}), make(chan uint64)
	go func() {
		for sent := uint64(0); ; sent++ {
			select {
			case <-stop:
				stopped <- sent
				return
			default:
				n.site.send(t, packets...)
			}
		}
	}()
	for i := range 200 {
		set(t, n, states[i%len(states)]...)
	}
	close(stop)
	sent := <-stopped
	passed, err := nft.Counters(n.gw, "passed")
	must(t, err)
	if passed["never"].Packets > 0 {
		t.Errorf("%d of %d packets passed that no filter passes", passed["never"].Packets, sent)
	}
	if got := drops(t, n.gw)["not-allowed"]; got > sent || passed["always"].Packets == 0 {
		t.Errorf("of %d packets to pass and %d to drop, %d were dropped and %d passed", sent, sent, got, passed["always"].Packets)
	}
}
