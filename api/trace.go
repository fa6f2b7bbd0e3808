package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"bulkhead/gateway"
)

const (
	tracePath   = "/v1/trace"
	throughPath = "/v1/through/"
)

// Trace asks what becomes of a packet. Nothing is sent.
func (c *Client) Trace(ctx context.Context, r gateway.TraceRequest) (*gateway.Trace, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var answer gateway.Trace
	if err := c.call(ctx, http.MethodPost, tracePath, bytes.NewReader(body), &answer); err != nil {
		return nil, err
	}
	return &answer, nil
}

func (s *Server) trace(w http.ResponseWriter, r *http.Request) {
	var request gateway.TraceRequest
	if !decode(w, r, "trace", 1<<20, &request) {
		return
	}
	answer, err := s.gateway.Trace(r.Context(), request)
	if err != nil {
		http.Error(w, "trace: "+err.Error(), http.StatusUnprocessableEntity)
		return
	}
	s.answer(w, answer)
}

// Through makes what a tenant's external router routes pass the compartment until ctx ends or the daemon does. over is
// closed then.
func (c *Client) Through(ctx context.Context, tenant string) (over <-chan struct{}, err error) {
	reading, err := c.do(ctx, http.MethodPost, throughPath+url.PathEscape(tenant), nil)
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer reading.Close()
		_, _ = io.Copy(io.Discard, reading)
	}()
	return ended, nil
}

// through holds on until the asker goes away, so that an asker that is killed leaves nothing behind.
func (s *Server) through(w http.ResponseWriter, r *http.Request) {
	undo, err := s.gateway.RouteThrough(r.PathValue("tenant"))
	if err != nil {
		http.Error(w, "through: "+err.Error(), http.StatusUnprocessableEntity)
		return
	}
	defer func() {
		if err := undo(); err != nil {
			s.log.Error("the external router does not route past the compartment again", "tenant", r.PathValue("tenant"),
				"error", err)
		}
	}()
	answer := http.NewResponseController(w)
	// The server's limit is for requests that are short.
	if err := answer.SetReadDeadline(time.Time{}); err != nil {
		http.Error(w, fmt.Sprintf("through: %v", err), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusOK)
	if err := answer.Flush(); err != nil {
		return
	}
	<-r.Context().Done()
}
