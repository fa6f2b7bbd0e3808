package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// ReadChains reads a map of [Chains] of a table: link names and the chains that their packets go to. In a table that is
// not there are none.
func ReadChains(ns *netns.Namespace, table, name string) (byLink map[string]string, err error) {
	conn, err := open(ns)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn, &err)
	if stands, err := find(conn, table); err != nil || stands == nil {
		return nil, err
	}
	elements, err := conn.GetSetElements(setOf(table, name))
	if err != nil {
		return nil, fmt.Errorf("nftables table %s: read map %s: %w", table, name, err)
	}
	byLink = make(map[string]string, len(elements))
	for _, e := range elements {
		link, _, _ := bytes.Cut(e.Key, []byte{0})
		if byLink[string(link)], err = chainOf(e.Val); err != nil {
			return nil, fmt.Errorf("nftables table %s: read map %s: %s: %w", table, name, link, err)
		}
	}
	return byLink, nil
}

// ChangeChains turns a map of [Chains] of a table that stands from have into want, in one transaction; what is the same
// in both is not touched. A packet meets the old or the new chain of its link. It is for maps that live on while the
// table stands; [Apply] fills them anew when it replaces the table.
func ChangeChains(ns *netns.Namespace, table, name string, have, want map[string]string) error {
	var gone, come []nftables.SetElement
	for link, chain := range have {
		if want[link] != chain {
			gone = append(gone, nftables.SetElement{Key: interfaceName(link)})
		}
	}
	for link, chain := range want {
		if have[link] != chain {
			come = append(come, nftables.SetElement{
				Key: interfaceName(link), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain},
			})
		}
	}
	return change(ns, setOf(table, name), gone, come)
}

// AddLink puts a link name into a set with timeouts, of a table that stands, for so long.
func AddLink(ns *netns.Namespace, table, name, link string, lasting time.Duration) error {
	set := setOf(table, name)
	set.HasTimeout = true
	return change(ns, set, nil, []nftables.SetElement{{Key: interfaceName(link), Timeout: lasting}})
}

func setOf(table, name string) *nftables.Set {
	return &nftables.Set{Table: &nftables.Table{Name: table, Family: nftables.TableFamilyINet}, Name: name}
}

func change(ns *netns.Namespace, set *nftables.Set, gone, come []nftables.SetElement) (err error) {
	if len(gone) == 0 && len(come) == 0 {
		return nil
	}
	conn, err := open(ns)
	if err != nil {
		return err
	}
	defer closeConn(conn, &err)
	c := setChange{set: set, stands: true, stale: gone, fresh: come}
	s := state{sets: []standingSet{{Set: set}}}
	if err := s.removeSets(conn, []setChange{c}); err != nil {
		return err
	}
	if err := addSets(conn, []setChange{c}); err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("nftables table %s: change set %s in one transaction: %w", set.Table.Name, set.Name, err)
	}
	return nil
}

// chainOf is the chain in the value of an element, as the library reads it from the kernel.
func chainOf(value []byte) (string, error) {
	attributes, err := netlink.NewAttributeDecoder(value)
	if err != nil {
		return "", err
	}
	attributes.ByteOrder = binary.BigEndian
	chain := ""
	for attributes.Next() {
		if attributes.Type() == unix.NFTA_VERDICT_CHAIN {
			chain = attributes.String()
		}
	}
	return chain, attributes.Err()
}
