// Package speaker is the process that speaks BGP for one compartment: GoBGP as a library, whose best paths package fib
// writes into the compartment's routing table.
package speaker

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/pkg/server"
)

// Options are what a speaker has from its birth.
type Options struct {
	// Tenant that the speaker is for; it labels what is logged.
	Tenant string
	// Version of the binary, for [bgp.Status].
	Version string
	// Log takes the sessions' events and GoBGP's warnings; nil: nobody hears of them.
	Log *slog.Logger
	// Forget is called with prefixes that came into the kernel's table, so that translations to the Internet that were made
	// before end (law 1); nil: nothing is to be forgotten.
	Forget func(ctx context.Context, prefixes []netip.Prefix) error
}

// Speaker speaks BGP in the network namespace of the process. Its methods may be called at the same time.
type Speaker struct {
	options Options
	since   time.Time

	mu     sync.Mutex
	server *server.BgpServer
	config *bgp.Config
}

var errNotThere = errors.New("not there yet")

// New opens the kernel's table. Nothing is spoken until [Speaker.Set].
func New(options Options) (*Speaker, error) {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	return &Speaker{options: options, since: time.Now()}, nil
}

// Set makes the speaker what want says. Sessions of peers that stay as they are stay up.
func (s *Speaker) Set(_ context.Context, want *bgp.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = server.NewBgpServer()
	s.config = want
	return errNotThere
}

// SetTunnels says which links have a tunnel that is not connected. Sessions over those end at once.
func (s *Speaker) SetTunnels(_ []string) {}

// Status tells of the speaker as a whole.
func (s *Speaker) Status() bgp.Status { return bgp.Status{Version: s.options.Version, Since: s.since} }

// Peers tells of all peers, in the order of the declaration.
func (s *Speaker) Peers(_ context.Context) ([]bgp.PeerState, error) { return nil, errNotThere }

// Routes yields the paths that query chooses, prefix by prefix in order, until yield returns false.
func (s *Speaker) Routes(_ context.Context, _ bgp.RouteQuery, _ func(bgp.Route) bool) error {
	return errNotThere
}

// Advertised yields what the query's peer is told, prefix by prefix in order, until yield returns false.
func (s *Speaker) Advertised(_ context.Context, _ bgp.RouteQuery, _ func(bgp.Route) bool) error {
	return errNotThere
}

// Reset ends the session with a peer and lets it come back at once; soft: routes are exchanged anew and the session stays.
// A peer that is over its limit is let back in.
func (s *Speaker) Reset(_ context.Context, _ string, _ bool) error { return errNotThere }

// Close ends all sessions and takes the routes out of the kernel; graceful: as for a restart that is soon to follow
// (RFC 4724), so that peers and the kernel keep them where that was agreed.
func (s *Speaker) Close(_ context.Context, _ bool) error { return errNotThere }
