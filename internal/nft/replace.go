package nft

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// replace queues what turns s into want: first all that goes, then all that comes, which nobody sees before the commit.
// Base chains that stay as they are keep their hooks, so that translation never pauses; rules are made anew.
func (s state) replace(conn *nftables.Conn, want Table, sum string) error {
	table := conn.AddTable(&nftables.Table{Name: want.Name, Family: nftables.TableFamilyINet})
	sets := s.setChanges(table, want.Sets)
	conn.FlushTable(table)
	if err := s.removeSets(conn, sets); err != nil {
		return err
	}
	s.removeChains(conn, table, want.Chains)
	for name := range s.counters {
		if !slices.Contains(want.Counters, name) {
			conn.DeleteObject(&nftables.NamedObj{Table: table, Name: name, Type: nftables.ObjTypeCounter})
		}
	}
	for _, name := range want.Counters {
		conn.AddObj(&nftables.NamedObj{Table: table, Name: name, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}})
	}
	for _, chain := range want.Chains {
		conn.AddChain(chain.forKernel(table))
	}
	if err := addSets(conn, sets); err != nil {
		return err
	}
	for _, chain := range want.Chains {
		for i, rule := range chain.Rules {
			exprs, err := want.resolve(rule)
			if err != nil {
				return fmt.Errorf("chain %s, rule %d: %w", chain.Name, i+1, err)
			}
			conn.AddRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Table: table, Name: chain.Name}, Exprs: exprs})
		}
	}
	mark := conn.AddChain(&nftables.Chain{Table: table, Name: fingerprintChain})
	conn.AddRule(&nftables.Rule{
		Table: table, Chain: mark, Exprs: Return(),
		UserData: userdata.AppendString(nil, userdata.TypeComment, sum),
	})
	return nil
}

func (s state) removeChains(conn *nftables.Conn, table *nftables.Table, want []Chain) {
	for _, c := range s.chains {
		if !slices.ContainsFunc(want, func(w Chain) bool { return w.is(c) }) && c.Name != fingerprintChain {
			conn.DelChain(&nftables.Chain{Table: table, Name: c.Name})
		}
	}
}

// is tells whether a standing chain can stay: the kernel changes neither type nor hook nor priority of a chain.
func (c Chain) is(have *nftables.Chain) bool {
	if c.Name != have.Name || (c.Hook == nil) != (have.Hooknum == nil) {
		return false
	}
	return c.Hook == nil || (c.Type == have.Type && *c.Hook == *have.Hooknum && c.Priority == *have.Priority)
}

func (c Chain) forKernel(table *nftables.Table) *nftables.Chain {
	chain := &nftables.Chain{Table: table, Name: c.Name}
	if c.Hook != nil {
		accept := nftables.ChainPolicyAccept
		chain.Type, chain.Hooknum, chain.Priority, chain.Policy = c.Type, c.Hook, &c.Priority, &accept
	}
	return chain
}
