package nft

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Intervals cannot be changed one by one, and a packet may see a set without its elements that comes in the transaction of
// the rules that refer to it: one that was held up for long between two steps of the kernel finds the rules of the coming
// generation and the elements of this one. So a set of intervals that has other elements gets another name, and stands
// before there are rules for it; the old one goes when no packet can be left that has met its rules.

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL.
const membarrierGlobal = 1

// addIntervals adds the declared sets of intervals that do not stand yet to a table that does.
func (s *state) addIntervals(conn *nftables.Conn, want Table) error {
	if s.fingerprint == "" {
		return nil // There is nothing that could stand open.
	}
	table := &nftables.Table{Name: want.Name, Family: nftables.TableFamilyINet}
	var fresh []setChange
	for i, change := range s.setChanges(table, want.Sets) {
		if want.Sets[i].Interval && !change.stands {
			fresh = append(fresh, change)
			s.sets = append(s.sets, standingSet{Set: change.set})
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := addSets(conn, fresh); err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("add %d sets: %w", len(fresh), err)
	}
	return nil
}

// removeIntervals removes the sets of intervals that are not declared (any more).
func (s *state) removeIntervals(conn *nftables.Conn, want Table) error {
	var stale []*nftables.Set
	for _, have := range s.sets {
		if have.Interval && !slices.ContainsFunc(want.Sets, func(w Set) bool { return w.is(have.Set) }) {
			stale = append(stale, have.Set)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	// The kernel waits here for all that reads without a lock (membarrier(2)), such as packets while they are looked at.
	// Where it refuses to, the time that another transaction takes has to do.
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
	for _, set := range stale {
		conn.DelSet(set)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("remove %d sets of before: %w", len(stale), err)
	}
	return nil
}
