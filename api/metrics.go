package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const metricsPath = "/metrics"

// Metrics reads the daemon's metrics in Prometheus' text format. The caller closes what it returns.
func (c *Client) Metrics(ctx context.Context) (io.ReadCloser, error) {
	return c.do(ctx, http.MethodGet, metricsPath, nil)
}

// metrics answers with the gateway's metrics, and with what can be had where a speaker does not answer.
func (s *Server) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.gateway.Collectors()...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 2})
}

// ServeMetrics answers on l with metrics and nothing else, until ctx ends. They name tenants and their peers' addresses: l
// is for a network of those who may know.
func (s *Server) ServeMetrics(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET "+metricsPath, s.metrics())
	// Who is on that network may neither keep connections nor, by reading nothing, others' answers.
	server := &http.Server{
		Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
