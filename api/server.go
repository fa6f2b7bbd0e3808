package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bulkhead/configs"
	"bulkhead/gateway"
)

// closeTimeout is how long requests may take to end when the server does.
const closeTimeout = 5 * time.Second

// Server answers on the control socket.
type Server struct {
	gateway *gateway.Gateway
	home    string // the folder that the daemon was started on
	log     *slog.Logger
	started <-chan struct{}
	life    context.Context // the daemon's; a change that was begun goes on without its asker, but not without the daemon
}

// NewServer returns a server for the gateway. home is the folder that the daemon takes up when it starts; until started
// is closed it is busy with that, and what is to be applied waits.
func NewServer(g *gateway.Gateway, home string, log *slog.Logger, started <-chan struct{}) *Server {
	return &Server{gateway: g, home: home, log: log, started: started}
}

// Listen opens the control socket in runDir, replacing one that a predecessor left behind.
func Listen(ctx context.Context, runDir string) (net.Listener, error) {
	path := filepath.Join(runDir, SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old control socket: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect the control socket: %w", err), l.Close())
	}
	return l, nil
}

// Serve answers on l until ctx ends, and returns when the requests that came before have ended too.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.life = ctx
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+applyPath, s.apply)
	mux.HandleFunc("POST "+tracePath, s.trace)
	mux.HandleFunc("POST "+throughPath+"{tenant}", s.through)
	mux.HandleFunc("POST "+policyPath+"{name}", s.policy)
	mux.HandleFunc("POST "+tunnelPath+"{tenant}/{interface}/{action}", s.tunnel)
	mux.HandleFunc("GET "+peerConfigPath+"{tenant}/{interface}", s.peerConfig)
	mux.HandleFunc("POST "+bgpPath+"{tenant}/reset", s.resetPeer)
	mux.HandleFunc("POST "+bgpPath+"{tenant}/restart", s.restartSpeaker)
	mux.HandleFunc("GET "+showPath+"{view}", s.show)
	mux.Handle("GET "+metricsPath, s.metrics())
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelError),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := server.Shutdown(patience); err != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(l)
	if !stop() {
		<-ended
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the control socket: %w", err)
	}
	return nil
}

func (s *Server) apply(w http.ResponseWriter, r *http.Request) {
	var request ApplyRequest
	if !decode(w, r, "apply", 1<<20, &request) {
		return
	}
	if !filepath.IsAbs(request.Config) {
		http.Error(w, fmt.Sprintf("apply: %q is not an absolute path", request.Config), http.StatusBadRequest)
		return
	}
	select {
	case <-s.started:
	case <-r.Context().Done():
		return
	}
	answer := s.take(request.Config)
	s.log.Info("apply", "config", request.Config, "tenants", answer.Tenants, "problems", len(answer.Problems),
		"refused", answer.Refused, "complete", answer.Error == "" && answer.Refused == "" && len(answer.Problems) == 0)
	s.answer(w, answer)
}

// decode reads a request of at most size bytes, or tells its sender what is wrong with it.
func decode(w http.ResponseWriter, r *http.Request, what string, size int64, request any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, size))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(request); err != nil {
		http.Error(w, what+": "+err.Error(), http.StatusBadRequest)
		return false
	}
	if decoder.More() {
		http.Error(w, what+": more than one request", http.StatusBadRequest)
		return false
	}
	return true
}

// take reads a folder and brings it about. A change that was begun is finished even if the asker goes away.
func (s *Server) take(dir string) ApplyAnswer {
	var answer ApplyAnswer
	var unread error
	err := s.gateway.Apply(s.life, dir, func() (*configs.Config, error) {
		cfg, err := configs.Load(dir)
		if err != nil {
			unread = err
			return nil, err
		}
		answer.Tenants, answer.Pending, answer.Warnings = len(cfg.Tenants), cfg.Pending(), cfg.Warnings()
		return cfg, nil
	})
	var problems configs.Problems
	var unable *gateway.DefaultError
	switch {
	case errors.As(unread, &problems):
		return ApplyAnswer{Problems: problems}
	case unread != nil:
		return ApplyAnswer{Refused: unread.Error()}
	case errors.As(err, &unable):
		answer.Refused = err.Error()
	case err != nil:
		answer.Error = err.Error()
	}
	if dir != s.home {
		answer.Notes = append(answer.Notes, fmt.Sprintf("the daemon was started on %s and takes that up again when it restarts", s.home))
	}
	return answer
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("view")
	view, ok := views[name]
	if !ok {
		http.Error(w, fmt.Sprintf("show %s: no such view; there are %s", name, strings.Join(Views(), ", ")), http.StatusNotFound)
		return
	}
	rows, err := view(r.Context(), s.gateway, r.URL.Query())
	if err != nil {
		http.Error(w, fmt.Sprintf("show %s: %v", name, err), http.StatusInternalServerError)
		return
	}
	s.answer(w, rows)
}

func (s *Server) answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.log.Warn("control socket: answer not delivered", "error", err)
	}
}
