package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

const bgpPath = "/v1/bgp/"

// ResetPeer ends the session of a tenant's speaker with a peer, and lets it come back at once; soft: routes are exchanged
// anew and the session stays.
func (c *Client) ResetPeer(ctx context.Context, tenant, peer string, soft bool) error {
	query := url.Values{"peer": {peer}, "soft": {strconv.FormatBool(soft)}}
	return c.post(ctx, bgpPath+url.PathEscape(tenant)+"/reset?"+query.Encode())
}

// RestartSpeaker exchanges the process of a tenant's speaker for one of the daemon's version.
func (c *Client) RestartSpeaker(ctx context.Context, tenant string) error {
	return c.post(ctx, bgpPath+url.PathEscape(tenant)+"/restart")
}

func (s *Server) resetPeer(w http.ResponseWriter, r *http.Request) {
	tenant, peer := r.PathValue("tenant"), r.URL.Query().Get("peer")
	soft := r.URL.Query().Get("soft") == "true"
	err := s.gateway.ResetBGPPeer(r.Context(), tenant, peer, soft)
	s.log.Info("bgp reset", "tenant", tenant, "peer", peer, "soft", soft, "done", err == nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	}
}

func (s *Server) restartSpeaker(w http.ResponseWriter, r *http.Request) {
	tenant := r.PathValue("tenant")
	err := s.gateway.RestartBGP(r.Context(), tenant)
	s.log.Info("bgp restart", "tenant", tenant, "done", err == nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	}
}
