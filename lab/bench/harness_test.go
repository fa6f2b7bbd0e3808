package bench_test

import (
	"fmt"
	"testing"
	"time"

	"bulkhead/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Isolated(m) }

// What the benchmarks measure is packets that arrive: each way of joining carries small frames in both directions, all
// of them, and TCP.
func TestEveryWayOfJoiningCarriesWhatTheBenchmarksSend(t *testing.T) {
	const frames = 256
	for _, w := range ways(10) {
		for name, generate := range map[string]func(*fabric) *generator{
			"decap": func(f *fabric) *generator { return f.decapGenerator(t) },
			"encap": func(f *fabric) *generator { return f.encapGenerator(t, frames, 10) },
		} {
			t.Run(w.name+"/"+name, func(t *testing.T) {
				all := []*contender{contend(w.name, generate(newFabric(t, w.join)), frames)}
				alternate(t, effort{rounds: 1}, all)
				if n := all[0].all[0].packets; n != frames {
					t.Errorf("of %d frames, %d came out", frames, n)
				}
			})
		}
		t.Run(w.name+"/tcp", func(t *testing.T) {
			// Each stream writes at least once, and an error tells of what did not arrive.
			r := newFabric(t, w.join).tcp(t, 2, false, time.Millisecond)()
			must(t, "pour", r.err)
		})
	}
}

func TestACrowdOfTenantsGetsItsOwnPackets(t *testing.T) {
	const tenants, burst = 3, 4
	for name, join := range map[string]func(testing.TB, *crowd){"nvgre": crowdNVGRE, "vxlan": crowdVXLAN} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, tenants, join)
			sinks := make([]*sink, tenants)
			for i := range sinks {
				sinks[i] = newSink(t, smallFrame)
				sinks[i].stand(t, c.client, fmt.Sprint("eth", i))
			}
			c.generator(t, tenants, burst, sinks[0]).run(tenants * burst)
			for i, s := range sinks {
				if n, err := s.count(); n != burst || err != nil {
					t.Errorf("tenant %d: %d frames of %d, %v", i, n, burst, err)
				}
			}
		})
	}
}
