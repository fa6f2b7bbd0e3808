package bgp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"bulkhead/bgp/internal/seat"
	"bulkhead/bgp/internal/wire"
)

// ErrNoSpeaker says that no speaker runs in the compartment.
var ErrNoSpeaker = errors.New("the compartment has no BGP speaker")

// errSilent says that a speaker is there and does not answer.
var errSilent = errors.New("the BGP speaker does not answer; one that is hung is ended and started again")

// Status tells of a tenant's speaker as a whole.
func (m *Manager) Status(ctx context.Context, tenant string) (Status, error) {
	var out Status
	err := m.ask(ctx, tenant, m.pace.answer, http.MethodGet, wire.Status, nil, &out)
	return out, err
}

// Peers tells of a tenant's peers, in the order of the declaration.
func (m *Manager) Peers(ctx context.Context, tenant string) ([]PeerState, error) {
	var out []PeerState
	err := m.ask(ctx, tenant, m.pace.answer, http.MethodGet, wire.Peers, nil, &out)
	return out, err
}

// Routes are the paths that a tenant's speaker knows, prefix by prefix in order, as they come: they may be hundreds of
// thousands. An error is the last that is yielded.
func (m *Manager) Routes(ctx context.Context, tenant string, query RouteQuery) iter.Seq2[Route, error] {
	return m.list(ctx, tenant, wire.Routes, query)
}

// Advertised are the paths that the query's peer is told by a tenant's speaker, in the way of Routes.
func (m *Manager) Advertised(ctx context.Context, tenant string, query RouteQuery) iter.Seq2[Route, error] {
	return m.list(ctx, tenant, wire.Advertised, query)
}

// Reset ends the session with a peer, by its name, and lets it come back at once; soft: the session stays and routes are
// exchanged anew. A peer that was over its limit is let in again.
func (m *Manager) Reset(ctx context.Context, tenant, peer string, soft bool) error {
	return m.ask(ctx, tenant, m.pace.change, http.MethodPost, wire.Reset, wire.ResetRequest{Peer: peer, Soft: soft}, nil)
}

// ask asks a tenant's speaker, and reads the answer unless it is nil.
func (m *Manager) ask(ctx context.Context, tenant string, patience time.Duration, method, path string, request, answer any,
) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := ask(ctx, seat.Path(m.opts.Dir, tenant), method, path, request, answer)
	if errors.Is(err, ErrNoSpeaker) {
		return fmt.Errorf("tenant %s: %w%s", tenant, err, m.keeper(tenant).whereItIs())
	}
	if err != nil {
		return fmt.Errorf("tenant %s: %w", tenant, err)
	}
	return nil
}

// whereItIs is what to say of a speaker that is not there.
func (k *keeper) whereItIs() string {
	fate := k.fate.Load()
	switch {
	case k.want.Load() == nil:
		return "; is bgp declared, and the tenant in order (bulkhead show compartments)?"
	case fate == nil:
		return "; it is about to be started"
	}
	return "; it is started again after it " + *fate
}

func (m *Manager) list(ctx context.Context, tenant, path string, query RouteQuery) iter.Seq2[Route, error] {
	return func(yield func(Route, error) bool) {
		ctx, cancel := context.WithTimeout(ctx, m.pace.change)
		defer cancel()
		fail := func(err error) { yield(Route{}, fmt.Errorf("tenant %s: list BGP routes: %w", tenant, err)) }
		// One that hangs is found out in seconds, though a long list may take longer to put together.
		if _, err := m.Status(ctx, tenant); err != nil {
			yield(Route{}, err)
			return
		}
		response, err := do(ctx, seat.Path(m.opts.Dir, tenant), http.MethodPost, path, query)
		if err != nil {
			fail(err)
			return
		}
		defer response.Body.Close()
		for decoder := json.NewDecoder(response.Body); ; {
			var route Route
			err := decoder.Decode(&route)
			if errors.Is(err, io.EOF) {
				if reason := response.Trailer.Get(wire.Broken); reason != "" {
					fail(errors.New(reason))
				}
				return
			}
			if err != nil {
				fail(fmt.Errorf("broken off: %w", err))
				return
			}
			if !yield(route, nil) {
				return
			}
		}
	}
}

// ask asks the speaker of the keeper's tenant.
func (k *keeper) ask(ctx context.Context, patience time.Duration, method, path string, request, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return ask(ctx, k.socket, method, path, request, answer)
}

// ask asks the speaker of the socket.
func ask(ctx context.Context, socket, method, path string, request, answer any) error {
	response, err := do(ctx, socket, method, path, request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("read the BGP speaker's answer: %w", err)
	}
	return nil
}

// do asks the speaker of the socket and returns its answer, whose body the caller closes.
func do(ctx context.Context, socket, method, path string, request any) (*http.Response, error) {
	var body io.Reader
	if request != nil {
		data, err := json.Marshal(request)
		if err != nil {
			return nil, fmt.Errorf("ask the BGP speaker: %w", err)
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://speaker"+path, body)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // one that is idle would cost the speaker memory
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return seat.Dial(ctx, socket) },
	}}
	response, err := client.Do(r)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNoSpeaker
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: %w", errSilent, err)
	case err != nil:
		return nil, fmt.Errorf("ask the BGP speaker: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		reason, _ := io.ReadAll(io.LimitReader(response.Body, 1<<16))
		return nil, errors.New(strings.TrimSpace(string(reason)))
	}
	return response, nil
}
