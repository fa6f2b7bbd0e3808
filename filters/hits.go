package filters

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"bulkhead/internal/drops"
	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
)

// What a [Hit] is called that is none of a rule.
const (
	// Replies are the packets that passed because [Filter.Established] is set.
	Replies = "established"
	// Rest are the packets that no rule names. They are counted where they are dropped.
	Rest = "everything else"
)

// Hit is what one rule of a filter has counted since it stands.
type Hit struct {
	// Link and Arriving say which filter.
	Link     string
	Arriving bool
	// Pass tells that the packets passed; else they were dropped.
	Pass bool
	// Rule is its text, or [Replies] or [Rest].
	Rule string
	// Packets and Bytes, the latter from the network header on.
	Packets, Bytes uint64
}

// Hits reads what each rule has counted, ordered by link and direction; what is left over comes last.
func Hits(ns *netns.Namespace) ([]Hit, error) {
	counters, err := nft.Counters(ns, tableName)
	if err != nil {
		return nil, fmt.Errorf("hits of filters: %w", err)
	}
	var out []Hit
	for name, c := range counters {
		if h, ok := parseCounter(name); ok {
			h.Packets, h.Bytes = c.Packets, c.Bytes
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b Hit) int {
		return cmp.Or(
			strings.Compare(a.Link, b.Link), strings.Compare(direction(a.Arriving), direction(b.Arriving)),
			cmp.Compare(a.order(), b.order()), strings.Compare(a.Rule, b.Rule),
		)
	})
	return out, nil
}

// Drops reads how many packets the filters dropped, by reason. The caller fills in the tenant.
func Drops(ns *netns.Namespace) ([]drops.Drop, error) {
	counters, err := nft.Counters(ns, tableName)
	if err != nil {
		return nil, fmt.Errorf("drops of filters: %w", err)
	}
	var out []drops.Drop
	for _, reason := range reasons {
		if c, ok := counters[reason]; ok {
			out = append(out, drops.Drop{Where: "filter", Reason: reason, Packets: c.Packets, Bytes: c.Bytes})
		}
	}
	return out, nil
}

// hits are all that the filter counts.
func (f Filter) hits() []Hit {
	var all []Hit
	if f.Established {
		all = append(all, f.established())
	}
	for _, r := range f.Rules {
		if h := f.hit(r); !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	if !f.Pass {
		all = append(all, f.rest())
	}
	return all
}

func (f Filter) hit(r Rule) Hit {
	return Hit{Link: f.Link, Arriving: f.Arriving, Pass: !f.Pass, Rule: r.Text}
}

func (f Filter) established() Hit {
	return Hit{Link: f.Link, Arriving: f.Arriving, Pass: true, Rule: Replies}
}

func (f Filter) rest() Hit { return Hit{Link: f.Link, Arriving: f.Arriving, Rule: Rest} }

func (h Hit) order() int {
	switch h.Rule {
	case Replies:
		return 0
	case Rest:
		return 2
	}
	return 1
}

// counter is the name of the hit's counter in the kernel, which says all of it.
func (h Hit) counter() string {
	verdict := "drop"
	if h.Pass {
		verdict = "pass"
	}
	return strings.Join([]string{direction(h.Arriving), h.Link, verdict, h.Rule}, " ")
}

// parseCounter is the hit whose counter has this name; not ok where it is another counter.
func parseCounter(name string) (h Hit, ok bool) {
	parts := strings.SplitN(name, " ", 4)
	if len(parts) != 4 {
		return h, false
	}
	return Hit{
		Arriving: parts[0] == direction(true), Link: parts[1], Pass: parts[2] == "pass", Rule: parts[3],
	}, true
}

func direction(arriving bool) string {
	if arriving {
		return "arriving"
	}
	return "leaving"
}
