package gateway

import (
	"maps"
	"math/rand/v2"
	"testing"
)

func TestListHoldsWhatWasPutAndNotTakenAway(t *testing.T) {
	type item struct{ key, value int }
	random := rand.New(rand.NewPCG(1, 2))
	l := newList([]item{{1, 10}, {2, 20}}, func(i *item) int { return i.key })
	want := map[int]int{1: 10, 2: 20}
	for range 10_000 {
		key, value := random.IntN(50), random.IntN(1000)
		old, had := l.get(key)
		switch random.IntN(3) {
		case 0:
			l.put(item{key, value})
			want[key] = value
		case 1:
			l.take(key)
			delete(want, key)
		case 2: // a change that is taken back
			l.put(item{key, value})
			l.restore(key, old, had)
		}
	}
	got := map[int]int{}
	for _, i := range l.items {
		got[i.key] = i.value
		if found, ok := l.get(i.key); !ok || found != i {
			t.Errorf("key %d leads to %v %v, want %v", i.key, found, ok, i)
		}
	}
	if !maps.Equal(got, want) || len(l.items) != len(want) || len(l.at) != len(want) {
		t.Errorf("%d items %v, want %v", len(l.items), got, want)
	}
}
