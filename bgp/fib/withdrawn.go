package fib

// withdrawn are the prefixes that were learned and went, oldest first. Those that no other route covers are armed: the
// kernel has an unreachable route to them (law 1).
type withdrawn struct {
	prefixes  map[key]withdrawal
	order     []withdrawnAt
	lengths   [129]int
	count     uint64
	armed     int
	forgotten uint64
	most      int
}

type withdrawal struct {
	at    uint64
	armed bool
}

type withdrawnAt struct {
	key key
	at  uint64
}

func newWithdrawn() withdrawn { return withdrawn{prefixes: map[key]withdrawal{}, most: MaxWithdrawn} }

// add notes that a prefix went.
func (w *withdrawn) add(k key, armed bool) {
	w.remove(k)
	w.count++
	w.prefixes[k] = withdrawal{w.count, armed}
	w.lengths[k.bits]++
	w.order = append(w.order, withdrawnAt{k, w.count})
	if armed {
		w.armed++
	}
}

// set notes that the kernel has, or has no more, an unreachable route to a prefix that went.
func (w *withdrawn) set(k key, armed bool) {
	p, there := w.prefixes[k]
	switch {
	case !there || p.armed == armed:
		return
	case armed:
		w.armed++
	default:
		w.armed--
	}
	p.armed = armed
	w.prefixes[k] = p
}

// remove forgets a prefix.
func (w *withdrawn) remove(k key) {
	if _, there := w.prefixes[k]; !there {
		return
	}
	w.set(k, false)
	delete(w.prefixes, k)
	w.lengths[k.bits]--
	if len(w.order) > 2*len(w.prefixes)+1024 {
		kept := w.order[:0]
		for _, at := range w.order {
			if w.prefixes[at.key].at == at.at {
				kept = append(kept, at)
			}
		}
		w.order = kept
	}
}

// full tells whether there are more than may be kept.
func (w *withdrawn) full() bool { return len(w.prefixes) > w.most }

// surplus are the oldest prefixes, as many as there are too many.
func (w *withdrawn) surplus() (keys []key) {
	for _, at := range w.order {
		if len(keys) >= len(w.prefixes)-w.most {
			break
		}
		if w.prefixes[at.key].at == at.at {
			keys = append(keys, at.key)
		}
	}
	return keys
}

// longer tells whether prefixes that k may be the cover of went.
func (w *withdrawn) longer(k key) bool {
	for _, n := range w.lengths[int(k.bits)+1:] {
		if n > 0 {
			return true
		}
	}
	return false
}
