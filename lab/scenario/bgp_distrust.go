package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"bulkhead/gateway"
	"bulkhead/lab"
	"bulkhead/lab/ipflow"
)

func distrust() Part {
	return Part{Title: "What a peer may not do", Steps: []Step{
		{"with the right password the session is signed; with a wrong one there is none", signed},
		{"a peer from farther away than declared is not heard (GTSM)", tooFar},
		{"a peer with too many prefixes is warned of, then cut off, and nobody else; reset lets it in again", tooMany},
		{"what it may not claim is refused and counted: the virtual subnets, a default route", claims},
		{"a public prefix that a site takes back is unreachable, and does not leave by NAT", takenBack},
	}}
}

// withPeer declares something more of Woodgrove's New York, has FRR there speak so, and undoes both afterwards.
func (w *World) withPeer(ctx context.Context, declared string, router func(*lab.Neighbour), do func(lab.BGP) error) error {
	ny, speaks := w.Site(sites[1].name), newYork()
	router(&speaks.Neighbours[0])
	undo, err := w.redeclare(ctx, [2]string{"asn: 65413,", "asn: 65413, " + declared + ","})
	if err == nil {
		err = ny.Speaker.Load(ctx, speaks)
	}
	if err == nil {
		err = do(speaks)
	}
	return errors.Join(err, undo(), ny.Speaker.Load(ctx, newYork()))
}

func signed(ctx context.Context, w *World) (seen []string, err error) {
	const password = "correct horse battery"
	err = w.withPeer(ctx, fmt.Sprintf("password: {value: %s}", password),
		func(n *lab.Neighbour) { n.Password = strings.ReplaceAll(password, " ", "-") },
		func(speaks lab.BGP) error {
			line, err := w.peerIs(ctx, "Woodgrove", "NY", "not established, since the passwords differ", func(r gateway.BGPPeerRow) bool {
				return r.State != "established" && r.MD5 == "on"
			})
			seen = append(seen, line)
			return err
		})
	if err != nil {
		return seen, err
	}
	err = w.withPeer(ctx, "password: {value: s3cret}", func(n *lab.Neighbour) { n.Password = "s3cret" },
		func(lab.BGP) error {
			line, err := w.peerIs(ctx, "Woodgrove", "NY", "established, and signed", func(r gateway.BGPPeerRow) bool {
				return r.State == "established" && r.MD5 == "on"
			})
			seen = append(seen, line)
			return err
		})
	return seen, err
}

func tooFar(ctx context.Context, w *World) (seen []string, err error) {
	err = w.withPeer(ctx, "ttlSecurity: 1", func(*lab.Neighbour) {}, func(lab.BGP) error {
		line, err := w.peerIs(ctx, "Woodgrove", "NY", "not established, since FRR sends with TTL 1", func(r gateway.BGPPeerRow) bool {
			return r.State != "established"
		})
		seen = append(seen, line)
		return err
	})
	if err != nil {
		return seen, err
	}
	err = w.withPeer(ctx, "ttlSecurity: 1", func(n *lab.Neighbour) { n.SecurityHops = 1 }, func(lab.BGP) error {
		line, err := w.peerIs(ctx, "Woodgrove", "NY", "established", func(r gateway.BGPPeerRow) bool { return r.State == "established" })
		seen = append(seen, line)
		return err
	})
	return seen, err
}

// tell has San Francisco announce more networks.
func (w *World) tell(ctx context.Context, networks ...netip.Prefix) error {
	speaks := sanFrancisco()
	speaks.Networks = append(speaks.Networks, networks...)
	return w.Site(sites[2].name).Speaker.Load(ctx, speaks)
}

func tooMany(ctx context.Context, w *World) (seen []string, err error) {
	const limit = 20
	undo, err := w.redeclare(ctx, [2]string{"asn: 65414,", fmt.Sprintf("asn: 65414, maximumPrefixes: {limit: %d, warnAt: 80},", limit)})
	if err != nil {
		return nil, err
	}
	if _, err := w.converged(ctx); err != nil {
		return nil, err
	}
	since := len(w.DaemonLogs())
	networks := make([]netip.Prefix, limit)
	for i := range networks {
		networks[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 90, byte(i), 0}), 24)
	}
	if err := w.tell(ctx, networks[:limit-3]...); err != nil {
		return nil, err
	}
	line, err := w.logged(ctx, since, "SFO", "prefix", "level=WARN")
	if err != nil {
		return nil, err
	}
	seen = append(seen, line)
	before, err := w.peer(ctx, "Woodgrove", "NY")
	if err != nil {
		return seen, err
	}
	if err := w.tell(ctx, networks...); err != nil {
		return seen, err
	}
	line, err = w.peerIs(ctx, "Woodgrove", "SFO", "overLimit", func(r gateway.BGPPeerRow) bool { return r.State == "overLimit" })
	seen = append(seen, line)
	if err != nil {
		return seen, err
	}
	after, err := w.peer(ctx, "Woodgrove", "NY")
	if err == nil && (after.State != "established" || after.Flaps != before.Flaps) {
		err = fmt.Errorf("the session with New York was %s with %d flaps, and is %s with %d", before.State, before.Flaps, after.State, after.Flaps)
	}
	said, errReset := "", error(nil)
	if err == nil {
		if err = w.tell(ctx); err == nil {
			said, errReset = w.bulkhead(ctx, "bgp", "reset", "SFO")
		}
	}
	seen = append(seen, "bulkhead bgp reset SFO: "+strings.TrimSpace(said))
	if err := errors.Join(err, errReset); err != nil {
		return seen, err
	}
	return seen, undo()
}

func claims(ctx context.Context, w *World) ([]string, error) {
	forbidden := []string{"10.0.0.0/24", "10.0.254.128/25", "0.0.0.0/0", "169.254.7.0/24"}
	var networks []netip.Prefix
	for _, f := range forbidden {
		networks = append(networks, netip.MustParsePrefix(f))
	}
	if err := w.tell(ctx, networks...); err != nil {
		return nil, err
	}
	line, err := w.peerIs(ctx, "Woodgrove", "SFO", "established, and four prefixes refused", func(r gateway.BGPPeerRow) bool {
		return r.State == "established" && r.Received >= r.Accepted+uint64(len(forbidden)) && len(r.Refused) > 0
	})
	seen := []string{line}
	for _, f := range forbidden {
		rows, errPaths := w.paths(ctx, f)
		err = errors.Join(err, errPaths)
		for _, r := range rows {
			if r.Peer == "SFO" && !strings.Contains(r.State, "refused") {
				err = errors.Join(err, fmt.Errorf("%v of San Francisco is %s: %s", r.Prefix, r.State, r.Why))
			} else if r.Peer == "SFO" {
				seen = append(seen, fmt.Sprintf("%v: %s: %s", r.Prefix, r.State, r.Why))
			}
		}
	}
	if len(seen) < 1+len(forbidden) {
		err = errors.Join(err, errors.New("what is refused is not shown"))
	}
	return seen, errors.Join(err, w.tell(ctx))
}

// takenBack lets San Francisco claim the client's network on the Internet for a while.
func takenBack(ctx context.Context, w *World) (seen []string, err error) {
	claimed := netip.PrefixFrom(lab.ClientAddress, 24).Masked()
	if err := w.tell(ctx, claimed); err != nil {
		return nil, err
	}
	if err := eventually(ctx, func() error { return w.goesBy(ctx, lab.ClientAddress.String(), sites[2].iface) }); err != nil {
		return nil, err
	}
	if err := w.tell(ctx); err != nil {
		return nil, err
	}
	if err := eventually(ctx, func() error {
		seen, err = w.routesTo(ctx, claimed.String())
		if err == nil && !strings.HasPrefix(strings.Join(seen, "\n"), "unreachable") {
			err = fmt.Errorf("not unreachable: %v", seen)
		}
		return err
	}); err != nil {
		return seen, err
	}
	vm := w.VM("Woodgrove", vms[0])
	err = unseen(w.If2, func(f ipflow.Flow) bool { return f.Destination == lab.ClientAddress }, func() error {
		return silence(ctx, vm, lab.ClientAddress.String())
	})
	return append(seen, "a ping of "+lab.ClientAddress.String()+": no answer, and nothing seen on If2"), err
}
