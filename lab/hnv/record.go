package hnv

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Observation is one NVGRE packet that a host sent or received.
type Observation struct {
	Time                time.Time
	Sent                bool
	Source, Destination netip.Addr // provider addresses
	VSID                uint32
	FlowID              uint8
	TOS                 uint8 // outer DSCP and ECN
	// Inner says in words what was carried: "10.0.0.10 > 10.0.254.2 ICMP echo request".
	Inner string
	// Dropped is why the host did not accept the packet, empty when it did.
	Dropped Drop
}

// String is the observation as one line of the demo.
func (o Observation) String() string {
	s := fmt.Sprintf("%v > %v NVGRE VSID %d FlowID %02x: %s", o.Source, o.Destination, o.VSID, o.FlowID, o.Inner)
	if o.Dropped != "" {
		s += " (" + o.Dropped.Error() + ")"
	}
	return s
}

// remembered is how many observations a host keeps; older ones go.
const remembered = 8192

// recorder keeps observations and drop counts.
type recorder struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every observation
	seen    []Observation
	drops   map[Drop]uint64
	events  []Event
}

// EventKind says what happened to a record of a host.
type EventKind string

// The kinds of events.
const (
	Learned    EventKind = "learned"    // a Dynamic record was made, or moved
	Redirected EventKind = "redirected" // a REDIRECT was believed
	Stale      EventKind = "stale"      // an UNREACHABLE was believed
)

// Event is what a host tells the controller.
type Event struct {
	Kind   EventKind
	Record Record     // as it is now
	From   netip.Addr // the provider address that told it
}

func newRecorder() *recorder {
	return &recorder{changed: make(chan struct{}), drops: map[Drop]uint64{}}
}

func (r *recorder) observe(o Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seen) == remembered {
		r.seen = append(r.seen[:0], r.seen[remembered/2:]...)
	}
	r.seen = append(r.seen, o)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) drop(reason Drop) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drops[reason]++
}

func (r *recorder) event(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Events are what the host told the controller, oldest first.
func (h *Host) Events() []Event {
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	return slices.Clone(h.recorder.events)
}

// Observations are the NVGRE packets that the host sent and received lately, oldest first.
func (h *Host) Observations() []Observation {
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	return slices.Clone(h.recorder.seen)
}

// Forget empties the list of observations; drop counts stay.
func (h *Host) Forget() {
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	h.recorder.seen = nil
}

// Await returns the first observation, already made or still to come, that matches; the error is the context's.
func (h *Host) Await(ctx context.Context, match func(Observation) bool) (Observation, error) {
	for {
		h.recorder.mu.Lock()
		i := slices.IndexFunc(h.recorder.seen, match)
		changed := h.recorder.changed
		var found Observation
		if i >= 0 {
			found = h.recorder.seen[i]
		}
		h.recorder.mu.Unlock()
		if i >= 0 {
			return found, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Observation{}, fmt.Errorf("host %s saw no such packet: %w", h.config.Name, ctx.Err())
		}
	}
}

// Drops counts the frames that the host dropped, by reason.
func (h *Host) Drops() map[Drop]uint64 {
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	return maps.Clone(h.recorder.drops)
}
