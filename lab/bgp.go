package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// BGP is what a site's router speaks (RFC 4271).
type BGP struct {
	ASN        uint32
	Identifier netip.Addr
	// Networks are announced as long as the router runs.
	Networks   []netip.Prefix
	Neighbours []Neighbour
	// GracefulRestart (RFC 4724): what neighbours learned stays for that long while the router starts again, and the other
	// way round; 0: it does not, which neither FRR nor BIRD has as its default.
	GracefulRestart time.Duration
}

// Neighbour is another router that a site's router has a session with.
type Neighbour struct {
	// Local and Address are the ends of the session.
	Local, Address netip.Addr
	ASN            uint32
	// Passive: the neighbour dials.
	Passive bool
	// SecurityHops: nothing from farther away is heard (GTSM, RFC 5082), and what is sent allows the same; 0: anything is.
	SecurityHops uint8
	// Password of the TCP MD5 signature (RFC 2385); empty: none.
	Password string
	// Hold is the hold time, of which a third is the keepalive interval; 0: the implementation's.
	Hold time.Duration
	// BFD is the interval of the single-hop watch (RFC 5881), three of which may pass in silence; 0: no watch.
	BFD time.Duration
	// IPv6 says that the session carries IPv6 too, with NextHop6 as the router's own next hop; IPv4 is always carried.
	IPv6     bool
	NextHop6 netip.Addr
}

// Speaker is a running implementation of BGP.
type Speaker interface {
	// Load gives it another configuration. BIRD keeps the sessions that are declared as before, FRR starts all anew.
	Load(ctx context.Context, want BGP) error
	// Configure gives it a configuration in its own words.
	Configure(ctx context.Context, text string) error
	// Session is the session with a neighbour.
	Session(ctx context.Context, neighbour netip.Addr) (Session, error)
	// Best are the best paths by prefix, as AS numbers with blanks between; its own have none.
	Best(ctx context.Context) (map[netip.Prefix]string, error)
	// Log is the end of what it logged.
	Log() string
	// Stop ends it properly, Kill at once: it takes back none of its routes.
	Stop() error
	Kill() error
}

// Session is what an implementation says of a session.
type Session struct {
	Established bool
	// Since is when it came to its state, give or take a second.
	Since time.Time
	// State is the implementation's own word, LastError why the session is not up, or was not.
	State, LastError string
}

// Implementation starts a speaker in a node, with its files in a folder that it makes.
type Implementation func(ctx context.Context, n *Node, dir string, want BGP) (Speaker, error)

// Speak has the site's router speak BGP. The gateway is then a neighbour at the far end of the tunnel, and the virtual
// network is reached by what it announces, no longer by a static route.
func (s *Site) Speak(ctx context.Context, start Implementation, want BGP) error {
	if err := s.point(want); err != nil {
		return err
	}
	speaker, err := start(ctx, s.Router, filepath.Join(s.lab.dir, s.Name+"-bgp"), want)
	if err != nil {
		return fmt.Errorf("site %s: %w", s.Name, err)
	}
	s.Speaker = speaker
	s.lab.onClose(speaker.Stop)
	return nil
}

// Pair gives the tunnel interface another pair of ends, the router's own address first, until Silence.
func (s *Site) Pair(near, far netip.Addr) error {
	s.farEnds[far] = near
	return s.raiseTunnel()
}

// Silence ends what Speak started: the virtual network is reached by a static route again.
func (s *Site) Silence() error {
	err := s.Speaker.Stop()
	s.Speaker, s.farEnds = nil, nil
	return errors.Join(err, s.raiseTunnel())
}

// point makes the tunnel a line to the neighbours in the virtual network, which are its other end.
func (s *Site) point(want BGP) error {
	s.farEnds = map[netip.Addr]netip.Addr{}
	for _, n := range want.Neighbours {
		if virtualNetwork.Contains(n.Address) || virtualNetwork6.Contains(n.Address) {
			s.farEnds[n.Address] = n.Local
		}
	}
	if err := s.Router.link(siteTunnel, flushRoutes); err != nil {
		return err
	}
	return s.raiseTunnel()
}

// startServing starts a program that is ready once something answers at its socket.
func startServing(ctx context.Context, n *Node, dir, name, socket string, argv ...string) (*Process, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return launch(ctx, n, dir, name, nil, argv, func(ctx context.Context, p *Process) error {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
			if err == nil {
				return conn.Close()
			}
			select {
			case <-tick.C:
			case <-p.exited:
				return fmt.Errorf("it ended before it was ready: %w", errors.Join(p.err, errors.New(p.cmd.ProcessState.String())))
			case <-ctx.Done():
				return fmt.Errorf("nothing answers at %s: %w", socket, errors.Join(err, ctx.Err()))
			}
		}
	})
}

// settle stops what was started, in the reverse order, and tells all that went wrong.
func settle(end func(*Process) error, processes ...*Process) error {
	var errs []error
	for i := len(processes) - 1; i >= 0; i-- {
		if processes[i] != nil {
			errs = append(errs, end(processes[i]))
		}
	}
	return errors.Join(errs...)
}
