package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

const peerConfigPath = "/v1/peer-config/"

// PeerConfig reads what the device at the other end of a tenant's site-to-site interface needs, with the secret where it is
// asked for.
func (c *Client) PeerConfig(ctx context.Context, tenant, iface, device string, secret bool) (string, error) {
	query := url.Values{"device": {device}, "secret": {strconv.FormatBool(secret)}}
	path := peerConfigPath + url.PathEscape(tenant) + "/" + url.PathEscape(iface) + "?" + query.Encode()
	answer, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	defer answer.Close()
	text, err := io.ReadAll(answer)
	return string(text), err
}

func (s *Server) peerConfig(w http.ResponseWriter, r *http.Request) {
	tenant, iface, query := r.PathValue("tenant"), r.PathValue("interface"), r.URL.Query()
	text, err := s.gateway.PeerConfig(tenant, iface, query.Get("device"), query.Get("secret") == "true")
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := io.WriteString(w, text); err != nil {
		s.log.Warn("control socket: answer not delivered", "error", err)
	}
}
