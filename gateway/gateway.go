package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"bulkhead/bgp"
	"bulkhead/compartments"
	"bulkhead/dataplane"
	"bulkhead/vpn"
)

// Options are what a gateway needs to know of its machine.
type Options struct {
	// RunDir holds the pinned namespaces, the BPF file system and the lock. What lies in it outlives the daemon.
	RunDir string
	// CharonSocket is the path of charon's VICI socket.
	CharonSocket string
	// CharonSettings is the file of settings that charon includes; charon.conf in RunDir where empty.
	CharonSettings string
	// RADIUSDir is the folder of FreeRADIUS's configuration; radius in RunDir where empty.
	RADIUSDir string
	// Log receives events and failures.
	Log *slog.Logger
}

// Gateway applies declarations to the machine that it runs on. The namespace of the thread that opens it is the
// Default compartment.
type Gateway struct {
	log          *slog.Logger
	lock         *os.File
	pins         string // the folder of the compartments' namespaces
	compartments *compartments.Manager
	doors        *dataplane.Dataplane
	vpn          *vpn.Manager
	bgp          *bgp.Manager
	events       chan vpn.Event
	peersChanged chan struct{} // door 2's bounds on peers are to follow
	declared     chan struct{} // a declaration came in force
	radius       string        // the folder of FreeRADIUS's configuration
	mend         chan struct{} // the Default compartment is to be brought to its plan
	watchers     watchers

	applying sync.Mutex    // held while a declaration is applied
	changing sync.RWMutex  // held for reading while something declared changes, for writing while a declaration is read
	slots    chan struct{} // taken while a tenant's state is applied or removed

	mu    sync.Mutex
	plan  *Plan            // guarded by mu: what is in force
	loops map[string]*loop // guarded by mu: by tenant
	// followers of tunnels, by tenant; guarded by mu.
	followers map[string]*follower
	ctx       context.Context // the life of the loops and followers
	cancel    context.CancelFunc
}

// Open prepares a gateway and adopts what an earlier one left in the kernel, without changing it. It fails when
// another daemon runs on the same RunDir.
func Open(o Options) (*Gateway, error) {
	if err := os.MkdirAll(o.RunDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the runtime folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(o.RunDir, "lock"))
	if err != nil {
		return nil, err
	}
	pins := filepath.Join(o.RunDir, "netns")
	rooms, err := compartments.New(pins)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	doors, err := dataplane.Open(filepath.Join(o.RunDir, "bpf"))
	if err != nil {
		return nil, errors.Join(err, rooms.Close(), lock.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	events := make(chan vpn.Event, 64)
	return &Gateway{
		log:          o.Log,
		lock:         lock,
		pins:         pins,
		compartments: rooms,
		doors:        doors,
		vpn: vpn.New(vpn.Options{
			Socket: o.CharonSocket, Settings: cmp.Or(o.CharonSettings, filepath.Join(o.RunDir, "charon.conf")), Log: o.Log,
			OnEvent: func(e vpn.Event) {
				select {
				case events <- e:
				case <-ctx.Done():
				}
			},
		}),
		bgp:    bgp.NewManager(bgp.Options{Dir: filepath.Join(o.RunDir, "bgp"), Log: o.Log}),
		events: events,
		mend:   make(chan struct{}, 1),

		peersChanged: make(chan struct{}, 1),
		declared:     make(chan struct{}, 1),
		radius:       cmp.Or(o.RADIUSDir, filepath.Join(o.RunDir, "radius")),
		slots:        make(chan struct{}, maxAtOnce),
		loops:        map[string]*loop{},
		ctx:          ctx,
		cancel:       cancel,

		followers: map[string]*follower{},
	}, nil
}

// lockFile takes the lock that keeps two daemons apart; it goes with the process.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: another bulkhead daemon runs here; stop it first: %w", path, err),
			f.Close())
	}
	return f, nil
}

// Close ends the daemon's part. Namespaces, doors, filters, tunnels and speakers go on working. An Apply that is under way is
// broken off.
func (g *Gateway) Close() error {
	g.cancel()
	g.applying.Lock() // from here on Apply refuses
	defer g.applying.Unlock()
	g.mu.Lock()
	loops, followers := maps.Clone(g.loops), maps.Clone(g.followers)
	g.mu.Unlock()
	for _, l := range loops {
		l.stop()
	}
	var errs []error
	for tenant := range followers {
		errs = append(errs, g.unfollow(tenant))
	}
	return errors.Join(errors.Join(errs...), g.bgp.Close(), g.doors.Close(), g.compartments.Close(), g.lock.Close())
}

// Run keeps the session with charon, passes on events, mends the Default compartment when a NIC comes back, and learns
// from the provider network where customer addresses live, until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.routeEvents(ctx, g.vpn.Run) })
	group.Go(func() error { return g.charonReady(ctx) })
	group.Go(func() error { return g.watchNICs(ctx) })
	group.Go(func() error { return g.police(ctx) })
	group.Go(func() error { return g.watchExpiry(ctx) })
	group.Go(func() error {
		return g.doors.Run(ctx, dataplane.Agent{OnEvent: newLearnedLog(g.log).event, Log: g.log})
	})
	return group.Wait()
}

// TunnelsReady is closed once charon was reached and has what was declared by then.
func (g *Gateway) TunnelsReady() <-chan struct{} { return g.vpn.Ready() }
