// Package speaker is the process that speaks BGP for one compartment: GoBGP as a library, whose best paths package fib
// writes into the compartment's routing table.
package speaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/fib"
	"bulkhead/internal/netns"

	"github.com/osrg/gobgp/v4/pkg/server"
)

// Options are what a speaker has from its birth.
type Options struct {
	// Tenant that the speaker is for. What is logged is labelled by Log's own attributes.
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
	log     *slog.Logger
	since   time.Time
	ns      *netns.Namespace
	// life ends with Close.
	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup
	// journal is what GoBGP's log tells of peers; wake has the sessions looked at now.
	journal *journal
	wake    chan struct{}
	memory  memory

	mu     sync.Mutex
	closed bool
	config *bgp.Config
	// table is the kernel's; nil until the first Set, which tells what its routes look like.
	table *fib.Table
	// server is GoBGP; nil: it is not running. stopWatching ends what listens to it, feed takes its best paths.
	server       *server.BgpServer
	stopWatching context.CancelFunc
	feed         *feed
	sessions     map[netip.Addr]*session
	// own are the prefixes that are originated.
	own map[netip.Prefix]struct{}
	// told are counted prefixes; the numbers of changes say when they are to be counted again.
	told                       told
	ownChanges, sessionChanges uint64
	// imports and exports are the policies in force.
	imports, exports chain
	// down are the links whose tunnel is not connected.
	down map[string]bool
	// restart is the state of a graceful restart that goes on.
	restart *restart
}

// New makes a speaker. It speaks to nobody and leaves the kernel's table as it is until [Speaker.Set].
func New(options Options) (*Speaker, error) {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	ns, err := netns.Current()
	if err != nil {
		return nil, fmt.Errorf("speaker of %s: %w", options.Tenant, err)
	}
	s := &Speaker{
		options: options, log: options.Log, since: time.Now(), ns: ns,
		journal: newJournal(), wake: make(chan struct{}, 1), sessions: map[netip.Addr]*session{}, own: map[netip.Prefix]struct{}{},
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.work.Go(s.watchOver)
	return s, nil
}

// errClosed is the answer to those who come late.
var errClosed = errors.New("the speaker is ending")

// Set makes the speaker what want says. Sessions of peers that stay as they are stay up; only another identifier or number
// of our own, or another way to choose paths, ends all.
func (s *Speaker) Set(ctx context.Context, want *bgp.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	had := s.config
	if s.table == nil {
		if err := s.takeUp(want); err != nil {
			return err
		}
	}
	s.table.SetOptions(want.Sources, want.Guard, acceptsDefault(want))
	if s.server != nil && restarts(had, want) {
		s.log.Info("BGP starts again, since what all sessions stand on is declared otherwise")
		if err := s.stop(ctx, false); err != nil {
			return err
		}
	}
	if s.server == nil {
		if err := s.start(ctx, want); err != nil {
			return fmt.Errorf("start BGP of %s: %w", s.options.Tenant, err)
		}
	}
	s.config = want
	s.feed.limit(want.MaximumPaths)
	if err := applyGTSM(want.Peers); err != nil {
		return err
	}
	if err := s.applyPolicies(ctx, want); err != nil {
		return err
	}
	return errors.Join(s.applyPeers(ctx), s.applyOwn())
}

// Reset ends the session with a peer and lets it come back at once; soft: routes are exchanged anew and the session stays.
// A peer that is over its limit is let back in.
func (s *Speaker) Reset(ctx context.Context, name string, soft bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return errors.New("BGP is not running")
	}
	one, err := s.named(name)
	if err != nil {
		return err
	}
	if soft {
		return s.refresh(ctx, one)
	}
	return s.reset(ctx, one, "reset by an operator")
}

// Close ends all sessions and takes the routes out of the kernel; graceful: as for a restart that is soon to follow (RFC
// 4724), so that peers and the kernel keep them where that was agreed.
func (s *Speaker) Close(ctx context.Context, graceful bool) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	graceful = graceful && s.config != nil && s.config.RestartTime > 0
	err := s.stop(ctx, graceful)
	for _, one := range s.sessions {
		one.stopTimers()
	}
	s.mu.Unlock()
	s.end()
	s.work.Wait()
	if s.table != nil {
		if !graceful {
			err = errors.Join(err, s.table.Withdraw(ctx))
		}
		s.table.Close()
	}
	_ = s.ns.Close()
	return err
}

// forgetTries is how often what could not be forgotten is tried again, a second later each time.
const forgetTries = 60

// installed is told of prefixes that came into the kernel's table. It returns when no translation to them is left; what comes
// in meanwhile is told afterwards.
func (s *Speaker) installed(prefixes []netip.Prefix) {
	if s.options.Forget == nil {
		return
	}
	last := ""
	for range forgetTries {
		err := s.options.Forget(s.life, prefixes)
		if err == nil || s.life.Err() != nil {
			return
		}
		if text := err.Error(); text != last {
			last = text
			s.log.Error("translations to the Internet that learned prefixes cover may go on; trying again",
				"prefixes", len(prefixes), "error", err)
		}
		select {
		case <-s.life.Done():
			return
		case <-time.After(time.Second):
		}
	}
}
