//go:build scale

package scale_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strongswan/govici/vici"
	"golang.org/x/sys/unix"

	"bulkhead/internal/testenv"
	"bulkhead/lab"
	"bulkhead/vpn"
)

const (
	thousands = 2000
	// Emulated, a CPU sets up some 20 to 40 tunnels a second.
	thousandsLimit = 10 * time.Minute
	// mostHalfOpen is what may be under way at once: more would be a storm.
	mostHalfOpen = 60
	// longestList is how long listing may take.
	longestList = 2 * time.Second
)

func TestTwoThousandTunnelsStandAreListedAndComeBack(t *testing.T) {
	c := newCrowd(t, thousands)
	before := heap()
	loaded := rss(t, c.charon.PID())
	m, seen, _ := c.manager()
	t.Logf("charon alone has %d kB", loaded)

	began := time.Now()
	halfOpen := c.watchHalfOpen()
	for tenant, want := range c.declare(vpn.Always) {
		must(t, m.Set(t.Context(), tenant, want))
	}
	t.Logf("configured after %v", since(began))
	seen.awaitStanding(t, thousands, thousandsLimit)
	t.Logf("all stand after %v, with %d failures, and %d under way at most", since(began), seen.failed.Load(), halfOpen.Load())
	if halfOpen.Load() > mostHalfOpen {
		t.Errorf("%d were under way at once: that is a storm", halfOpen.Load())
	}
	t.Logf("per tunnel: charon %.1f kB, the Manager %.1f kB", float64(rss(t, c.charon.PID())-loaded)/thousands,
		float64(heap()-before)/1024/thousands)

	// The list is whole and true: charon lists as many, and the kernel has two SAs for each.
	began = time.Now()
	list, err := m.Tunnels(t.Context())
	took := since(began)
	must(t, err)
	t.Logf("listed in %v", took)
	if took > longestList {
		t.Errorf("listing took %v", took)
	}
	spis := map[string]bool{}
	for _, tunnel := range list {
		if tunnel.State == vpn.Connected && tunnel.SPIIn != "" && tunnel.SPIOut != "" {
			spis[tunnel.SPIIn] = true
		}
	}
	if len(list) != thousands || len(spis) != thousands {
		t.Errorf("the list has %d tunnels, %d of them connected", len(list), len(spis))
	}
	h := netlinkIn(t, c.gateway.NS, unix.NETLINK_XFRM)
	states, err := h.XfrmStateList(0)
	must(t, err)
	if len(states) != 2*thousands {
		t.Errorf("the kernel has %d SAs", len(states))
	}

	// One tenant's change takes no longer for all the others, and touches none of them.
	changed := c.declare(vpn.Always)[tenant(0)]
	changed[0].Idle = time.Hour
	began = time.Now()
	must(t, m.Set(t.Context(), tenant(0), changed))
	t.Logf("one interface changed in %v", since(began))
	after, err := m.Tunnels(t.Context())
	must(t, err)
	for n := range after {
		if after[n].SPIIn != list[n].SPIIn {
			t.Errorf("%s/%s has another SA after another's change", after[n].Tenant, after[n].Interface)
		}
	}

	must(t, c.charon.Kill())
	began = time.Now()
	c.charon, err = lab.StartCharon(t.Context(), c.gateway, filepath.Dir(c.charon.Socket))
	must(t, err)
	t.Logf("charon was started again in %v", since(began))
	testenv.Eventually(t, "the loss is noticed", func() bool { return seen.down.Load() == thousands })
	seen.awaitStanding(t, thousands, thousandsLimit)
	t.Logf("all stand again %v after charon's start", since(began))
}

// watchHalfOpen follows how many IKE_SAs are under way at the gateway, and tells the most until the test ends.
func (c *crowd) watchHalfOpen() *atomic.Int64 {
	c.t.Helper()
	session, err := vici.NewSession(vici.WithSocketPath(c.charon.Socket))
	must(c.t, err)
	var most atomic.Int64
	go func() {
		defer func() { _ = session.Close() }()
		for {
			out, err := session.Call(c.t.Context(), "stats", nil)
			if err != nil {
				return // charon or the test has ended
			}
			sas, _ := out.Get("ikesas").(*vici.Message)
			text, _ := sas.Get("half-open").(string)
			if n, _ := strconv.ParseInt(text, 10, 64); n > most.Load() {
				most.Store(n)
			}
			<-time.After(200 * time.Millisecond)
		}
	}()
	return &most
}

func since(t time.Time) time.Duration { return time.Since(t).Round(10 * time.Millisecond) }

// heap is what is in use of this process's memory.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// rss is the resident memory of a process in kB.
func rss(t testing.TB, pid int) int64 {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			must(t, err)
			return n
		}
	}
	t.Fatalf("process %d has no VmRSS", pid)
	return 0
}
