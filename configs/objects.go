package configs

import "slices"

// objects are the items of one kind that a YAML object and its policy file declare together, such as a tenant's lookup
// records. K is what a statement knows an item by; items whose key is zero did not decode and are passed over.
type objects[T any, K comparable] struct {
	list []T
	by   *index[K]
	key  func(*T) K
	// yaml is how many items at the beginning of the list the YAML declares.
	yaml int
	// lines holds the line of the policy file that has the last word about an item; 0, or nothing, where no line has. The
	// bit gone is set besides where that word is "no", so that the item is to go.
	lines []uint32
	// free holds the positions of items that came with the policy file and are gone.
	free []uint32
}

const gone = 1 << 31

// newObjects takes up what the YAML declares. It tells repeated of each item whose key one before it has.
func newObjects[T any, K comparable](list []T, key func(*T) K, repeated func(first, at int)) *objects[T, K] {
	o := &objects[T, K]{list: list, key: key, yaml: len(list)}
	o.reindex(repeated)
	return o
}

func (o *objects[T, K]) reindex(repeated func(first, at int)) {
	o.by = newIndex(len(o.list), func(at uint32) K { return o.key(&o.list[at]) })
	var zero K
	for i := range o.list {
		if o.key(&o.list[i]) == zero {
			continue
		}
		if first, ok := o.by.add(uint32(i)); !ok {
			repeated(int(first), i)
		}
	}
}

// put declares an item in the place of the one with its key, if there is one.
func (o *objects[T, K]) put(item T, line uint32) {
	if at, ok := o.by.find(o.key(&item)); ok {
		o.list[at] = item
		o.mark(at, line)
		return
	}
	at := uint32(len(o.list))
	if n := len(o.free); n > 0 {
		at = o.free[n-1]
		o.free = o.free[:n-1]
		o.list[at] = item
	} else {
		o.list = append(o.list, item)
	}
	o.by.add(at)
	o.mark(at, line)
}

// drop declares that there is no item with a key. What the YAML has stays in the list, for the next word about it.
func (o *objects[T, K]) drop(k K, line uint32) {
	at, ok := o.by.find(k)
	if !ok {
		return
	}
	if int(at) < o.yaml {
		o.mark(at, line|gone)
		return
	}
	o.by.remove(k)
	o.mark(at, gone)
	o.free = append(o.free, at)
}

func (o *objects[T, K]) mark(at, line uint32) {
	for int(at) >= len(o.lines) {
		o.lines = append(o.lines, 0)
	}
	o.lines[at] = line
}

// live tells whether the item at a position is declared when all is said.
func (o *objects[T, K]) live(at int) bool { return at >= len(o.lines) || o.lines[at]&gone == 0 }

// line is the line of the policy file that declares an item; 0 if the YAML does.
func (o *objects[T, K]) line(at int) int {
	if at >= len(o.lines) {
		return 0
	}
	return int(o.lines[at] &^ gone)
}

// words calls yield with the lines of the policy file that still say something: those that declare an item, and those
// that take away one of the YAML's.
func (o *objects[T, K]) words(yield func(line uint32)) {
	for at, line := range o.lines {
		if line&^gone != 0 && (line&gone == 0 || at < o.yaml) {
			yield(line &^ gone)
		}
	}
}

// settle takes what is gone out of the list, after which the items have no lines any more. It tells whether any moved.
func (o *objects[T, K]) settle() (moved bool) {
	at := -1
	n := len(o.list)
	o.list = slices.DeleteFunc(o.list, func(T) bool {
		at++
		return !o.live(at)
	})
	o.lines, o.free, o.yaml = nil, nil, 0
	if len(o.list) == n {
		return false
	}
	o.reindex(func(int, int) {})
	return true
}

// get is the item with a key.
func (o *objects[T, K]) get(k K) (item T, ok bool) {
	at, ok := o.by.find(k)
	if ok {
		item = o.list[at]
	}
	return item, ok
}

// remove takes the item with a key away at once; the last one of the list takes its position.
func (o *objects[T, K]) remove(k K) {
	at, ok := o.by.find(k)
	if !ok {
		return
	}
	o.by.remove(k)
	last := uint32(len(o.list) - 1)
	if at != last {
		o.by.move(o.key(&o.list[last]), at)
		o.list[at] = o.list[last]
	}
	var zero T
	o.list[last] = zero
	o.list = o.list[:last]
}
