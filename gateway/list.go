package gateway

// list is a list whose items are found, put and taken away in one step each, however long it is. Its order is that of
// coming until something is taken away.
type list[K comparable, V any] struct {
	items []V
	at    map[K]int32 // places in items
	key   func(*V) K
}

// newList makes a list of items, which it takes over. No two of them have the same key.
func newList[K comparable, V any](items []V, key func(*V) K) *list[K, V] {
	l := &list[K, V]{items: items, at: make(map[K]int32, len(items)), key: key}
	for i := range items {
		l.at[key(&items[i])] = int32(i)
	}
	return l
}

func (l *list[K, V]) get(key K) (item V, ok bool) {
	i, ok := l.at[key]
	if ok {
		item = l.items[i]
	}
	return item, ok
}

// put adds the item, in place of one with the same key.
func (l *list[K, V]) put(item V) {
	key := l.key(&item)
	if i, ok := l.at[key]; ok {
		l.items[i] = item
		return
	}
	l.at[key] = int32(len(l.items))
	l.items = append(l.items, item)
}

// take takes the item with the key away. The last one moves to its place.
func (l *list[K, V]) take(key K) {
	i, ok := l.at[key]
	if !ok {
		return
	}
	last := int32(len(l.items) - 1)
	if i != last {
		l.items[i] = l.items[last]
		l.at[l.key(&l.items[i])] = i
	}
	clear(l.items[last:])
	l.items = l.items[:last]
	delete(l.at, key)
}

// restore makes the list hold for key what it held before: the item, or none.
func (l *list[K, V]) restore(key K, item V, had bool) {
	if had {
		l.put(item)
	} else {
		l.take(key)
	}
}
