package speaker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/api"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// Indexes of GoBGP's own list of families. Without a choice it makes tables for all, 200 KB each.
const (
	familyIPv4 = 0
	familyIPv6 = 1
)

// global is the table of GoBGP that all peers have part in, and the name of the policies that hold for it.
const global = "global"

// stopTime is how long the end of GoBGP is waited for: it waits for sockets that may never say anything.
const stopTime = 5 * time.Second

// restarts says that GoBGP must be started again to go from one configuration to another.
func restarts(had, want *bgp.Config) bool {
	return had.Identifier != want.Identifier || had.ASN != want.ASN ||
		had.CompareMEDAcrossASN != want.CompareMEDAcrossASN ||
		(had.MaximumPaths > 1) != (want.MaximumPaths > 1)
}

// start starts GoBGP without peers. The caller holds s.mu.
func (s *Speaker) start(ctx context.Context, want *bgp.Config) error {
	level := &slog.LevelVar{}
	level.Set(slog.LevelInfo)
	running := server.NewBgpServer(server.LoggerOption(slog.New(newTranslator(s)), level))
	go running.Serve()
	err := running.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn:              want.ASN,
		RouterId:         want.Identifier.String(),
		ListenPort:       gobgp.BGP_PORT,
		Families:         []uint32{familyIPv4, familyIPv6},
		UseMultiplePaths: want.MaximumPaths > 1,
		RouteSelectionOptions: &api.RouteSelectionOptionsConfig{
			AlwaysCompareMed: want.CompareMEDAcrossASN,
		},
	}})
	if err != nil {
		running.Stop()
		return err
	}
	taking := newFeed(s.table, want.ASN, want.MaximumPaths, &s.memory, s.rouse)
	watching, stop := context.WithCancel(s.life)
	for _, watch := range []struct {
		callbacks server.WatchEventMessageCallbacks
		options   []server.WatchOption
	}{
		// Each has a queue of its own: sessions do not wait for routes.
		{server.WatchEventMessageCallbacks{OnPeerUpdate: s.peerEvent}, []server.WatchOption{server.WatchPeer()}},
		// The end of what a peer has to tell comes after it, by the same queue; what changes while a session comes up is
		// told from what changes later.
		{server.WatchEventMessageCallbacks{OnBestPath: taking.take, OnPathEor: s.endOfRIB, OnPeerUpdate: taking.session},
			[]server.WatchOption{server.WatchBestPath(false), server.WatchEor(false), server.WatchPeer()}},
	} {
		if err := running.WatchEvent(watching, watch.callbacks, watch.options...); err != nil {
			stop()
			running.Stop()
			return fmt.Errorf("watch: %w", err)
		}
	}
	s.server, s.stopWatching, s.feed = running, stop, taking
	s.imports, s.exports = chain{}, chain{}
	return nil
}

// stop ends GoBGP and all sessions; graceful: without a word, so that peers that agreed to it keep our routes. The caller
// holds s.mu.
func (s *Speaker) stop(ctx context.Context, graceful bool) error {
	if s.server == nil {
		return nil
	}
	running := s.server
	for _, one := range s.sessions {
		one.cause = "BGP stops"
	}
	// What the end does to the table is not to be seen by the kernel route by route, and not at all by a graceful one.
	s.feed.close()
	done := make(chan error, 1)
	go func() {
		done <- running.StopBgp(context.Background(), &api.StopBgpRequest{AllowGracefulRestart: graceful})
	}()
	bound, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	var err error
	select {
	case err = <-done:
	case <-bound.Done():
		err = fmt.Errorf("BGP has not ended in %s: %w", stopTime, bound.Err())
	}
	s.stopWatching()
	s.server, s.stopWatching, s.feed = nil, nil, nil
	clear(s.own)
	for _, one := range s.sessions {
		one.there = false
		s.ended(one, "BGP stops")
	}
	if !graceful {
		s.table.KeepStale()
		s.table.SweepStale()
	}
	return err
}
