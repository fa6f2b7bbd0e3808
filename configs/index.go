package configs

import "hash/maphash"

// index finds the position of an item in a list by a key of the item. It keeps four bytes for a place of its table and
// no keys, since the items have them: a million lookup records are held in several indexes.
type index[K comparable] struct {
	seed maphash.Seed
	// table holds positions, counted from 1, at the places of their keys' hashes or behind (linear probing); 0 is free.
	table []uint32
	used  int
	// key is the key of the item at a position.
	key func(at uint32) K
}

// newIndex makes an index with room for a number of items to begin with.
func newIndex[K comparable](room int, key func(at uint32) K) *index[K] {
	size := 8
	for size*3 < room*4 {
		size *= 2
	}
	return &index[K]{seed: maphash.MakeSeed(), table: make([]uint32, size), key: key}
}

// home is the first place of a key.
func (x *index[K]) home(k K) int { return int(maphash.Comparable(x.seed, k)) & (len(x.table) - 1) }

func (x *index[K]) next(place int) int { return (place + 1) & (len(x.table) - 1) }

// place is where a key is in the table, or the free place where it would be.
func (x *index[K]) place(k K) int {
	p := x.home(k)
	for x.table[p] != 0 && x.key(x.table[p]-1) != k {
		p = x.next(p)
	}
	return p
}

// find is the position of the item with a key.
func (x *index[K]) find(k K) (at uint32, ok bool) {
	at = x.table[x.place(k)]
	return at - 1, at != 0
}

// add takes up the item at a position. If there is one with its key already, that one stays.
func (x *index[K]) add(at uint32) (first uint32, ok bool) {
	p := x.place(x.key(at))
	if x.table[p] != 0 {
		return x.table[p] - 1, false
	}
	x.table[p] = at + 1
	if x.used++; x.used*4 > len(x.table)*3 {
		x.grow()
	}
	return at, true
}

func (x *index[K]) grow() {
	old := x.table
	x.table = make([]uint32, 2*len(old))
	for _, at := range old {
		if at != 0 {
			x.table[x.place(x.key(at-1))] = at
		}
	}
}

// remove forgets the item with a key. The item must still be there for the keys of others to be found.
func (x *index[K]) remove(k K) {
	hole := x.place(k)
	if x.table[hole] == 0 {
		return
	}
	x.used--
	x.table[hole] = 0
	// What stands behind without a gap may have been pushed there by the one that goes.
	for p := x.next(hole); x.table[p] != 0; p = x.next(p) {
		home := x.home(x.key(x.table[p] - 1))
		if distance := (p - home) & (len(x.table) - 1); distance >= (p-hole)&(len(x.table)-1) {
			x.table[hole], x.table[p] = x.table[p], 0
			hole = p
		}
	}
}

// move says that the item with a key is to stand, or stands, at another position.
func (x *index[K]) move(k K, to uint32) { x.table[x.place(k)] = to + 1 }
