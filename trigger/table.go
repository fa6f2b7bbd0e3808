package trigger

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"bulkhead/internal/drops"
	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
)

const (
	tableName = "bulkhead-trigger"
	// linksMap has the links and their states, which are chains.
	linksMap = "links"
)

// The reasons for which packets are dropped.
const (
	// siteUnreachable: answered, because the tunnel cannot be had.
	siteUnreachable = "site-unreachable"
	// tooManyHeld: more of them than may wait for a tunnel.
	tooManyHeld = "too-many-held"
	// heldTooLong: the tunnel was neither up nor given up in time, or the gateway stopped.
	heldTooLong = "held-too-long"
)

var reasons = []string{siteUnreachable, tooManyHeld, heldTooLong}

// The marks that a decision gives to a packet on its way to the rules behind the queue. Nothing else in a compartment
// uses marks.
const (
	markNone    uint32 = 0
	markRefused uint32 = 0xb1c0de01
	markTooMany uint32 = 0xb1c0de02
	markLate    uint32 = 0xb1c0de03
)

// spared is the set of the links of a state whose packets the kernel drops or answers by itself for a while.
func spared(s state) string { return string(s) + "-spared" }

// priority is behind the filters and NAT's guards: what they drop dials nothing. A packet meets the decision behind the
// queue, because it goes on with the next chain of the hook.
var (
	priority = *nftables.ChainPriorityFilter + 10
	behind   = priority + 1
)

// linkScope is what the kernel sends by itself to find neighbours and groups; it is not worth a tunnel.
var linkScope = []netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/24"), // local network control: RFC 5771, section 4
	netip.MustParsePrefix("ff02::/16"),    // link-local multicast: RFC 4291, 2.7
}

// apply brings the rules into the namespace, with the expression for the queue that its kernel has.
func apply(ns *netns.Namespace) error {
	_, err := nft.Apply(ns, table(nft.Queue(queueNumber)))
	if errors.Is(err, unix.ENOENT) {
		_, err = nft.Apply(ns, table(nft.QueueByTarget(queueNumber)))
	}
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("%w (the kernel needs CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_TARGET_NFQUEUE)", err)
	}
	return err
}

// table is the same in every compartment; the links in its sets come and go.
func table(queue []expr.Any) nft.Table {
	quiet := nft.Cover(linkScope, nil)
	filter := func(name string, hook *nftables.ChainHook, p nftables.ChainPriority, rules ...nft.Rule) nft.Chain {
		return nft.Chain{Name: name, Type: nftables.ChainTypeFilter, Hook: hook, Priority: p, Rules: rules}
	}
	leave := nft.Join(nft.ToVerdict(linksMap))
	return nft.Table{
		Name:     tableName,
		Counters: reasons,
		Sets: []nft.Set{
			nft.Chains(linksMap, nil), timed(spared(held)), timed(spared(refused)),
			nft.IPv4.Ranges("quiet4", quiet), nft.IPv6.Ranges("quiet6", quiet),
		},
		Chains: []nft.Chain{
			{Name: string(held), Rules: []nft.Rule{
				nft.Join(nft.IPv4.DestinationIn("quiet4"), nft.Drop()),
				nft.Join(nft.IPv6.DestinationIn("quiet6"), nft.Drop()),
				nft.Join(nft.ToAny(spared(held)), nft.DropAs(tooManyHeld)),
				nft.Join(queue),
			}},
			{Name: string(refused), Rules: []nft.Rule{
				nft.Join(nft.IPv4.DestinationIn("quiet4"), nft.Drop()),
				nft.Join(nft.IPv6.DestinationIn("quiet6"), nft.Drop()),
				nft.Join(nft.ToAny(spared(refused)), nft.RejectAsUnreachable(siteUnreachable)),
				nft.Join(queue),
			}},
			{Name: string(open)},
			{Name: "decided", Rules: []nft.Rule{
				nft.Join(nft.Marked(markNone), nft.Return()),
				nft.Join(nft.Marked(markRefused), nft.RejectAsUnreachable(siteUnreachable)),
				nft.Join(nft.Marked(markTooMany), nft.DropAs(tooManyHeld)),
				nft.Join(nft.Marked(markLate), nft.DropAs(heldTooLong)),
			}},
			filter("forwarded", nftables.ChainHookForward, priority, leave),
			filter("own", nftables.ChainHookOutput, priority, leave),
			filter("forwarded-decided", nftables.ChainHookForward, behind, nft.Join(nft.Jump("decided"))),
			filter("own-decided", nftables.ChainHookOutput, behind, nft.Join(nft.Jump("decided"))),
		},
	}
}

// timed makes an empty set of link names that are forgotten after a while.
func timed(name string) nft.Set {
	s := nft.Names(name, nil)
	s.Timeouts = true
	return s
}

// readStates reads what the kernel does with the links that it knows.
func readStates(ns *netns.Namespace) (map[string]state, error) {
	chains, err := nft.ReadChains(ns, tableName, linksMap)
	if err != nil {
		return nil, err
	}
	states := make(map[string]state, len(chains))
	for link, chain := range chains {
		states[link] = state(chain)
	}
	return states, nil
}

// writeStates moves links from the states that they have to those that they are to have, all at once. No state is none.
func writeStates(ns *netns.Namespace, have, want map[string]state) error {
	return nft.ChangeChains(ns, tableName, linksMap, chains(have), chains(want))
}

func chains(states map[string]state) map[string]string {
	out := make(map[string]string, len(states))
	for link, s := range states {
		if s != "" {
			out[link] = string(s)
		}
	}
	return out
}

// writeSpared has the kernel decide by itself on the packets of a link in a state, until it is to ask again.
func writeSpared(ns *netns.Namespace, link string, s state) error {
	return nft.AddLink(ns, tableName, spared(s), link, askAgain)
}

// Drops reads how many packets were dropped, by reason. The caller fills in the tenant.
func Drops(ns *netns.Namespace) ([]drops.Drop, error) {
	counters, err := nft.Counters(ns, tableName)
	if err != nil {
		return nil, fmt.Errorf("drops of what was held: %w", err)
	}
	var out []drops.Drop
	for _, reason := range reasons {
		if c, ok := counters[reason]; ok {
			out = append(out, drops.Drop{Where: "trigger", Reason: reason, Packets: c.Packets, Bytes: c.Bytes})
		}
	}
	return out, nil
}
