package speaker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/seat"
	"bulkhead/bgp/internal/wire"
)

// Limits of the socket's server.
const (
	maxRequest   = 64 << 20         // bytes of a request: 100,000 networks and policies have room
	headPatience = 10 * time.Second // for a request's head
	endPatience  = 5 * time.Second  // for answers that are under way when the speaker ends
	longest      = time.Minute      // an answer takes at most: a daemon that fetches no more is not waited for
)

// ErrTaken says that the compartment has a live speaker already.
var ErrTaken = seat.ErrTaken

// Control is what a daemon may ask of a speaker.
type Control interface {
	Set(context.Context, *bgp.Config) error
	SetTunnels(down []string)
	Status() bgp.Status
	Peers(context.Context) ([]bgp.PeerState, error)
	Routes(context.Context, bgp.RouteQuery, func(bgp.Route) bool) error
	Advertised(context.Context, bgp.RouteQuery, func(bgp.Route) bool) error
	Reset(ctx context.Context, peer string, soft bool) error
	Close(ctx context.Context, graceful bool) error
}

// Server answers the daemon on a speaker's socket.
type Server struct {
	seat *seat.Seat
	log  *slog.Logger
	stop context.CancelFunc

	closing sync.Once
	closed  error
}

// Listen takes the compartment's one place and opens its socket. It comes before [New], which touches the routes; the error
// is ErrTaken where a live speaker has the place.
func Listen(socket string, log *slog.Logger) (*Server, error) {
	s, err := seat.Take(socket)
	if err != nil {
		return nil, err
	}
	return &Server{seat: s, log: log}, nil
}

// Serve hands what comes to the speaker until a daemon stops it or ctx ends, which is a stop that another speaker follows:
// on an upgrade or when the machine goes down. The speaker is closed then.
func (s *Server) Serve(ctx context.Context, speaker Control) error {
	ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	server := &http.Server{
		Handler:           s.handler(speaker),
		ReadHeaderTimeout: headPatience,
		WriteTimeout:      longest,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelError),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.seat.Listener) }()
	var err error
	select {
	case err = <-served:
		err = fmt.Errorf("serve the speaker's socket: %w", err)
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	err = errors.Join(err, s.close(patience, speaker, true))
	if server.Shutdown(patience) != nil {
		_ = server.Close() // an answer that nobody fetches keeps nobody
	}
	return errors.Join(err, s.seat.Close())
}

// close closes the speaker, once.
func (s *Server) close(ctx context.Context, speaker Control, graceful bool) error {
	s.closing.Do(func() { s.closed = speaker.Close(ctx, graceful) })
	return s.closed
}

func (s *Server) handler(speaker Control) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.Status, func(w http.ResponseWriter, _ *http.Request) {
		status := speaker.Status()
		status.Protocol = wire.Protocol
		s.answer(w, status, nil)
	})
	mux.HandleFunc("GET "+wire.Peers, func(w http.ResponseWriter, r *http.Request) {
		peers, err := speaker.Peers(r.Context())
		s.answer(w, peers, err)
	})
	// What was begun is finished, even if the daemon that asked for it goes away.
	mux.HandleFunc("PUT "+wire.Config, take(s, func(ctx context.Context, want *bgp.Config) error {
		return speaker.Set(context.WithoutCancel(ctx), want)
	}))
	mux.HandleFunc("PUT "+wire.Tunnels, take(s, func(_ context.Context, r *wire.TunnelsRequest) error {
		speaker.SetTunnels(r.Down)
		return nil
	}))
	mux.HandleFunc("POST "+wire.Reset, take(s, func(ctx context.Context, r *wire.ResetRequest) error {
		return speaker.Reset(context.WithoutCancel(ctx), r.Peer, r.Soft)
	}))
	mux.HandleFunc("POST "+wire.Stop, take(s, func(ctx context.Context, r *wire.StopRequest) error {
		defer s.stop()
		return s.close(context.WithoutCancel(ctx), speaker, r.Graceful)
	}))
	mux.HandleFunc("POST "+wire.Routes, stream(speaker.Routes))
	mux.HandleFunc("POST "+wire.Advertised, stream(speaker.Advertised))
	return mux
}

// take hands a request's body to do. A mistake in it is told without its values, of which some are secret.
func take[T any](s *Server, do func(context.Context, *T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request T
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&request); err != nil {
			http.Error(w, "request not understood", http.StatusBadRequest)
			return
		}
		s.answer(w, struct{}{}, do(r.Context(), &request))
	}
}

func (s *Server) answer(w http.ResponseWriter, body any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.log.Warn("answer to the daemon not delivered", "error", err)
	}
}

// stream answers with routes as they come: 100,000 are not put together in memory.
func stream(list func(context.Context, bgp.RouteQuery, func(bgp.Route) bool) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var query bgp.RouteQuery
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&query); err != nil {
			http.Error(w, fmt.Sprintf("routes: %v", err), http.StatusBadRequest)
			return
		}
		encoder, begun := json.NewEncoder(w), false
		err := list(r.Context(), query, func(route bgp.Route) bool {
			begun = true
			return encoder.Encode(route) == nil
		})
		switch {
		case err != nil && !begun:
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		case err != nil:
			w.Header().Set(http.TrailerPrefix+wire.Broken, err.Error())
		}
	}
}
