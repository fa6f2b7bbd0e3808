package nft

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// elementsPerMessage keeps a message with elements below the 64 KiB that a netlink attribute can hold.
const elementsPerMessage = 500

// standingSet is a set in the kernel.
type standingSet struct {
	*nftables.Set
	elements []nftables.SetElement // of a set without intervals
}

func readSets(conn *nftables.Conn, table *nftables.Table) ([]standingSet, error) {
	sets, err := conn.GetSets(table)
	if err != nil {
		return nil, fmt.Errorf("nftables table %s: list sets: %w", table.Name, err)
	}
	standing := make([]standingSet, len(sets))
	for i, set := range sets {
		standing[i].Set = set
		if set.Interval {
			continue // Its name says it all.
		}
		if standing[i].elements, err = conn.GetSetElements(set); err != nil {
			return nil, fmt.Errorf("nftables table %s: list the elements of set %s: %w", table.Name, set.Name, err)
		}
	}
	return standing, nil
}

// setChange is what becomes of a declared set.
type setChange struct {
	set *nftables.Set
	// stands tells that the set is there already; then stale elements of it go. fresh ones come.
	stands       bool
	stale, fresh []nftables.SetElement
}

// setChanges says what turns the sets of s into want. An element that stays is not touched: to a packet that is under way
// when the change comes, a set that is made anew may look empty, and what it guards stands open.
func (s state) setChanges(table *nftables.Table, want []Set) []setChange {
	changes := make([]setChange, len(want))
	for i, w := range want {
		c := setChange{set: w.forKernel(table, setID(i)), fresh: w.Elements}
		for _, have := range s.sets {
			switch {
			case !w.is(have.Set):
			case w.Interval:
				c.stands, c.fresh = true, nil
			default:
				c.stands = true
				c.stale, c.fresh = difference(have.elements, w.Elements)
			}
		}
		changes[i] = c
	}
	return changes
}

// removeSets queues the removal of the sets and elements that go, but for sets of intervals.
func (s state) removeSets(conn *nftables.Conn, changes []setChange) error {
	for _, have := range s.sets {
		if have.Interval {
			continue
		}
		i := slices.IndexFunc(changes, func(c setChange) bool { return c.stands && c.set.Name == have.Name })
		if i < 0 {
			conn.DelSet(have.Set)
			continue
		}
		for chunk := range slices.Chunk(changes[i].stale, elementsPerMessage) {
			if err := conn.SetDeleteElements(changes[i].set, chunk); err != nil {
				return fmt.Errorf("set %s: %w", have.Name, err)
			}
		}
	}
	return nil
}

func addSets(conn *nftables.Conn, changes []setChange) error {
	for _, c := range changes {
		if !c.stands {
			if err := conn.AddSet(c.set, nil); err != nil {
				return fmt.Errorf("set %s: %w", c.set.Name, err)
			}
		}
		for chunk := range slices.Chunk(c.fresh, elementsPerMessage) {
			if err := conn.SetAddElements(c.set, chunk); err != nil {
				return fmt.Errorf("set %s: %w", c.set.Name, err)
			}
		}
	}
	return nil
}

// setID is the number of a set within its transaction. The library would take it from a counter that all of its users
// share without a lock.
func setID(index int) uint32 { return uint32(index) + 1 }

// kernelName is the set's name in the kernel. That of a set of intervals says what is in it.
func (s Set) kernelName() string {
	if !s.Interval {
		return s.Name
	}
	sum := sha256.New()
	for _, e := range s.Elements {
		_, _ = fmt.Fprintf(sum, "%x %v %x\n", e.Key, e.IntervalEnd, e.Val) // never fails
	}
	return s.Name + "-" + hex.EncodeToString(sum.Sum(nil)[:8])
}

func (s Set) isMap() bool { return s.Data.Bytes > 0 || s.toVerdict() }

func (s Set) toVerdict() bool { return s.Data.GetNFTMagic() == nftables.TypeVerdict.GetNFTMagic() }

func (s Set) forKernel(table *nftables.Table, id uint32) *nftables.Set {
	set := &nftables.Set{
		Table: table, ID: id, Name: s.kernelName(), KeyType: s.Key, DataType: s.Data, IsMap: s.isMap(), Interval: s.Interval,
		HasTimeout: s.Timeouts,
	}
	if s.Key.Name == nftables.TypeIFName.Name {
		set.KeyByteOrder = binaryutil.NativeEndian // without it nft(8) cannot print the names
	}
	return set
}

// is tells whether a standing set can stay: the kernel does not change its types.
func (s Set) is(have *nftables.Set) bool {
	key, data := have.KeyType, have.DataType
	if have.IsMap && key.GetNFTMagic() == nftables.TypeVerdict.GetNFTMagic() {
		// The library reads the type of a map's verdicts into that of its keys.
		key, data = s.Key, nftables.TypeVerdict
	}
	return s.kernelName() == have.Name && s.isMap() == have.IsMap && s.Interval == have.Interval && s.Timeouts == have.HasTimeout &&
		s.Key.GetNFTMagic() == key.GetNFTMagic() && s.Data.GetNFTMagic() == data.GetNFTMagic()
}

// difference says which elements of have are not in want, and which of want are not in have.
func difference(have, want []nftables.SetElement) (stale, fresh []nftables.SetElement) {
	have, want = slices.SortedFunc(slices.Values(have), compareElements), slices.SortedFunc(slices.Values(want), compareElements)
	for len(have) > 0 && len(want) > 0 {
		switch order := compareElements(have[0], want[0]); {
		case order < 0:
			stale, have = append(stale, have[0]), have[1:]
		case order > 0:
			fresh, want = append(fresh, want[0]), want[1:]
		default:
			have, want = have[1:], want[1:]
		}
	}
	return append(stale, have...), append(fresh, want...)
}

func compareElements(a, b nftables.SetElement) int {
	ends := map[bool]int{true: 1}
	return cmp.Or(
		bytes.Compare(a.Key, b.Key), cmp.Compare(ends[a.IntervalEnd], ends[b.IntervalEnd]), bytes.Compare(value(a), value(b)),
	)
}

// value is an element's value as the library reads it from the kernel.
func value(e nftables.SetElement) []byte {
	if e.VerdictData == nil {
		return e.Val
	}
	attributes := []netlink.Attribute{
		{Type: unix.NFTA_VERDICT_CODE, Data: binary.BigEndian.AppendUint32(nil, uint32(e.VerdictData.Kind))},
	}
	if e.VerdictData.Chain != "" {
		attributes = append(attributes,
			netlink.Attribute{Type: unix.NFTA_VERDICT_CHAIN, Data: append([]byte(e.VerdictData.Chain), 0)})
	}
	encoded, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		return nil // It would have to be longer than 64 KiB.
	}
	return encoded
}
