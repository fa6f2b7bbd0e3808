package bgp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"bulkhead/bgp/internal/wire"
)

// tunnels is what a speaker is told of its compartment's tunnels.
type tunnels struct {
	mu      sync.Mutex
	down    []string // guarded by mu: links whose tunnel is not connected
	known   bool     // guarded by mu: down was said
	telling bool     // guarded by mu: deliver is under way

	order sync.Mutex // held while the speaker is told, so that the last word is the newest
}

// setTunnels notes which tunnels are down and has the speaker told.
func (k *keeper) setTunnels(down []string) {
	t := &k.tunnels
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known && slices.Equal(t.down, down) {
		return
	}
	t.down, t.known = slices.Clone(down), true
	if !t.telling {
		t.telling = k.run(k.deliver)
	}
}

// leaveLinks has no route lead out by links, which are about to go, and returns when that is so.
func (k *keeper) leaveLinks(ctx context.Context, links []string) error {
	t := &k.tunnels
	t.mu.Lock()
	t.down = slices.Compact(slices.Sorted(slices.Values(slices.Concat(t.down, links))))
	t.known = true
	t.mu.Unlock()
	if err := t.tell(ctx, k); err != nil && !errors.Is(err, ErrNoSpeaker) {
		return fmt.Errorf("leave links that go: %w", err)
	}
	return nil
}

// deliver tells the speaker until it knows the newest. One that is not there yet is told when it starts.
func (k *keeper) deliver() {
	t := &k.tunnels
	for {
		t.mu.Lock()
		now := t.down
		t.mu.Unlock()
		err := t.tell(k.ctx, k)
		t.mu.Lock()
		if err == nil && !slices.Equal(now, t.down) {
			t.mu.Unlock()
			continue
		}
		if err == nil || errors.Is(err, ErrNoSpeaker) || k.ctx.Err() != nil {
			t.telling = false
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		select {
		case <-time.After(k.pace.again):
		case <-k.ctx.Done():
		}
	}
}

// tell tells the speaker once.
func (t *tunnels) tell(ctx context.Context, k *keeper) error {
	t.order.Lock()
	defer t.order.Unlock()
	t.mu.Lock()
	known, request := t.known, wire.TunnelsRequest{Down: t.down}
	t.mu.Unlock()
	if !known {
		return nil
	}
	return k.ask(ctx, k.pace.answer, http.MethodPut, wire.Tunnels, request, nil)
}
