package api

import (
	"context"
	"net/http"
	"net/url"

	"bulkhead/gateway"
)

const tunnelPath = "/v1/tunnel/"

// Tunnel connects, disconnects or resets the tunnel of a tenant's interface, and waits until it is done. The error says why
// it is not.
func (c *Client) Tunnel(ctx context.Context, tenant, iface string, action gateway.TunnelAction) error {
	path := tunnelPath + url.PathEscape(tenant) + "/" + url.PathEscape(iface) + "/" + url.PathEscape(string(action))
	return c.post(ctx, path)
}

func (s *Server) tunnel(w http.ResponseWriter, r *http.Request) {
	tenant, iface, action := r.PathValue("tenant"), r.PathValue("interface"), r.PathValue("action")
	err := s.gateway.Tunnel(r.Context(), tenant, iface, gateway.TunnelAction(action))
	s.log.Info("tunnel", "tenant", tenant, "interface", iface, "action", action, "done", err == nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	}
}
