package nft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"

	"bulkhead/internal/netns"
)

const (
	// fingerprintChain is a chain without a hook: no packet meets it, and its one rule carries the fingerprint.
	fingerprintChain = "fingerprint"
	// socketBuffer holds a transaction of some ten thousand messages on its way in, and their acknowledgements back.
	socketBuffer = 8 << 20
)

// Apply makes the table in the namespace what want says, in one transaction; only sets that no rule refers to (yet, or any
// more) come and go beside it. Where its fingerprint says that it is that already, nothing is written; changed tells.
// Rules that somebody took out by hand, leaving the fingerprint, are not noticed.
func Apply(ns *netns.Namespace, want Table) (changed bool, err error) {
	sum, err := want.fingerprint()
	if err != nil {
		return false, err
	}
	conn, err := open(ns)
	if err != nil {
		return false, err
	}
	defer closeConn(conn, &err)
	have, err := read(conn, want.Name)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("nftables table %s: %w", want.Name, err)
		}
	}()
	if have.fingerprint != sum {
		changed = true
		if err := have.addIntervals(conn, want); err != nil {
			return changed, err
		}
		if err := have.replace(conn, want, sum); err != nil {
			return changed, err
		}
		if err := conn.Flush(); err != nil {
			return changed, fmt.Errorf("replace in one transaction: %w", err)
		}
	}
	return changed, have.removeIntervals(conn, want)
}

// Remove removes the table from the namespace; one that is not there is no error. removed tells whether it was.
func Remove(ns *netns.Namespace, name string) (removed bool, err error) {
	conn, err := open(ns)
	if err != nil {
		return false, err
	}
	defer closeConn(conn, &err)
	table, err := find(conn, name)
	if err != nil || table == nil {
		return false, err
	}
	conn.DelTable(table)
	if err := conn.Flush(); err != nil {
		return false, fmt.Errorf("nftables table %s: remove: %w", name, err)
	}
	return true, nil
}

// Counters reads the named counters of a table; of a table that is not there, none.
func Counters(ns *netns.Namespace, name string) (counters map[string]Counter, err error) {
	conn, err := open(ns)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn, &err)
	table, err := find(conn, name)
	if err != nil || table == nil {
		return nil, err
	}
	return readCounters(conn, table)
}

func open(ns *netns.Namespace) (*nftables.Conn, error) {
	buffers := func(c *netlink.Conn) error {
		return errors.Join(c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer))
	}
	conn, err := nftables.New(nftables.WithNetNSFd(ns.Fd()), nftables.AsLasting(), nftables.WithSockOptions(buffers))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return conn, nil
}

func closeConn(conn *nftables.Conn, err *error) {
	if e := conn.CloseLasting(); e != nil {
		*err = errors.Join(*err, fmt.Errorf("close nftables: %w", e))
	}
}

// state is what stands in the kernel under a table's name.
type state struct {
	fingerprint string
	chains      []*nftables.Chain
	sets        []standingSet
	counters    map[string]Counter
}

func find(conn *nftables.Conn, name string) (*nftables.Table, error) {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, nil
}

func read(conn *nftables.Conn, name string) (state, error) {
	var s state
	table, err := find(conn, name)
	if err != nil || table == nil {
		return s, err
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return s, fmt.Errorf("nftables table %s: list chains: %w", name, err)
	}
	for _, c := range chains {
		if c.Table.Name == name {
			s.chains = append(s.chains, c)
		}
	}
	if s.sets, err = readSets(conn, table); err != nil {
		return s, err
	}
	if s.counters, err = readCounters(conn, table); err != nil {
		return s, err
	}
	s.fingerprint, err = s.readFingerprint(conn, table)
	return s, err
}

func (s state) readFingerprint(conn *nftables.Conn, table *nftables.Table) (string, error) {
	for _, c := range s.chains {
		if c.Name != fingerprintChain {
			continue
		}
		rules, err := conn.GetRules(table, c)
		if err != nil {
			return "", fmt.Errorf("nftables table %s: read the fingerprint: %w", table.Name, err)
		}
		for _, r := range rules {
			if text, ok := userdata.GetString(r.UserData, userdata.TypeComment); ok {
				return text, nil
			}
		}
	}
	return "", nil
}

func readCounters(conn *nftables.Conn, table *nftables.Table) (map[string]Counter, error) {
	objects, err := conn.GetObjects(table)
	if err != nil {
		return nil, fmt.Errorf("nftables table %s: read counters: %w", table.Name, err)
	}
	counters := make(map[string]Counter, len(objects))
	for _, o := range objects {
		if c, ok := o.(*nftables.CounterObj); ok {
			counters[c.Name] = Counter{Packets: c.Packets, Bytes: c.Bytes}
		}
	}
	return counters, nil
}

// resolve returns the rule with each lookup bound to its set by number, without which the kernel would not find a set
// of the same transaction.
func (t Table) resolve(rule Rule) ([]expr.Any, error) {
	exprs := slices.Clone(rule)
	for i, e := range exprs {
		lookup, ok := e.(*expr.Lookup)
		if !ok {
			continue
		}
		at := slices.IndexFunc(t.Sets, func(s Set) bool { return s.Name == lookup.SetName })
		if at < 0 {
			return nil, fmt.Errorf("no set %q in table %s", lookup.SetName, t.Name)
		}
		bound := *lookup
		bound.SetName, bound.SetID = t.Sets[at].kernelName(), setID(at)
		exprs[i] = &bound
	}
	return exprs, nil
}
