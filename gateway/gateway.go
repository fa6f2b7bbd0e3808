package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"bulkhead/compartments"
	"bulkhead/configs"
	"bulkhead/dataplane"
	"bulkhead/nat"
	"bulkhead/vpn"
)

// Options are what a gateway needs to know of its machine.
type Options struct {
	// RunDir holds the pinned namespaces, the BPF file system and the lock. What lies in it outlives the daemon.
	RunDir string
	// CharonSocket is the path of charon's VICI socket.
	CharonSocket string
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
	events       chan vpn.Event

	applying sync.Mutex // held while a declaration is applied

	mu     sync.Mutex
	config *configs.Config  // guarded by mu: what Apply took up last
	plan   *Plan            // guarded by mu: its translation
	loops  map[string]*loop // guarded by mu: by tenant
	ctx    context.Context  // the life of the loops
	cancel context.CancelFunc
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
		return nil, errors.Join(err, lock.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	events := make(chan vpn.Event, 64)
	return &Gateway{
		log:          o.Log,
		lock:         lock,
		pins:         pins,
		compartments: rooms,
		doors:        doors,
		vpn: vpn.New(vpn.Options{Socket: o.CharonSocket, Log: o.Log, OnEvent: func(e vpn.Event) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		}}),
		events: events,
		loops:  map[string]*loop{},
		ctx:    ctx,
		cancel: cancel,
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

// Close ends the daemon's part. Namespaces, doors, filters and tunnels go on working.
func (g *Gateway) Close() error {
	g.cancel()
	g.mu.Lock()
	loops := g.loops
	g.loops = map[string]*loop{}
	g.mu.Unlock()
	for _, l := range loops {
		l.stop()
	}
	return errors.Join(g.doors.Close(), g.compartments.Close(), g.lock.Close())
}

// Run keeps the session with charon, passes on events and mends the Default compartment when a NIC comes back, until
// ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.vpn.Run(ctx) })
	group.Go(func() error { return g.routeEvents(ctx) })
	group.Go(func() error { return g.sweepCharon(ctx) })
	group.Go(func() error { return g.watchNICs(ctx) })
	return group.Wait()
}

// TunnelsReady is closed once charon was reached and has what was declared by then.
func (g *Gateway) TunnelsReady() <-chan struct{} { return g.vpn.Ready() }

// Apply takes up a declaration as the whole desired state: what it does not declare goes. Each tenant is changed on
// its own; a tenant that cannot be brought to its state is named in the error and tried again, and holds up no other.
// When the machine lacks what the declaration builds on (a NIC, say), nothing is changed.
func (g *Gateway) Apply(ctx context.Context, cfg *configs.Config) error {
	g.applying.Lock()
	defer g.applying.Unlock()

	ids, err := g.compartments.IfIDs()
	if err != nil {
		return err
	}
	names, interfaces := siteInterfaces(cfg)
	plan := translate(cfg, allocate(names, interfaces, ids))
	if err := g.applyDefault(ctx, &plan); err != nil {
		return err
	}
	g.mu.Lock()
	g.config, g.plan = cfg, &plan
	g.mu.Unlock()

	// What goes frees names, VSIDs and addresses that others may take.
	gone, err := g.undeclared(ctx, &plan)
	if err != nil {
		return err
	}
	removed := g.applyTenants(ctx, gone, nil)
	return errors.Join(removed, g.applyTenants(ctx, plan.names(), plan.tenant))
}

// applyTenants hands each named tenant's plan to its loop and waits for all first attempts.
func (g *Gateway) applyTenants(ctx context.Context, names []string, plan func(name string) *TenantPlan) error {
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		var want *TenantPlan
		if plan != nil {
			want = plan(name)
		}
		l := g.loop(name)
		all.Go(func() {
			if err := l.take(ctx, want); err != nil {
				errs[i] = fmt.Errorf("tenant %s: %w", name, err)
			} else if want == nil {
				g.forgetLoop(name, l)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// loop is the named tenant's loop, started where there is none.
func (g *Gateway) loop(name string) *loop {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.loops[name]
	if l != nil {
		select {
		case <-l.ended: // it removed its tenant, which is declared again
		default:
			return l
		}
	}
	l = startLoop(g.ctx, func(ctx context.Context, plan *TenantPlan) error {
		if plan == nil {
			return g.removeTenant(ctx, name)
		}
		return g.applyTenant(ctx, plan)
	})
	g.loops[name] = l
	return l
}

func (g *Gateway) forgetLoop(name string, l *loop) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.loops[name] == l {
		delete(g.loops, name)
	}
}

// applyDefault brings the Default compartment and its two doors to the declared state.
func (g *Gateway) applyDefault(ctx context.Context, plan *Plan) error {
	if err := g.compartments.SetDefault(ctx, plan.Default); err != nil {
		return &DefaultError{err}
	}
	if err := g.doors.SetGateway(plan.Doors); err != nil {
		return &DefaultError{err}
	}
	return nil
}

// DefaultError tells that the Default compartment could not be brought to the declared state: the machine lacks what
// every tenant builds on, and no tenant was changed.
type DefaultError struct{ err error }

func (e *DefaultError) Error() string { return "default compartment: " + e.err.Error() }

// Unwrap returns the cause.
func (e *DefaultError) Unwrap() error { return e.err }

// applyTenant brings one tenant to its desired state. Guards come before the links that they guard, links before the
// doors that lead to them; a stage that fails keeps the later ones shut.
func (g *Gateway) applyTenant(ctx context.Context, plan *TenantPlan) error {
	ns, err := g.compartments.Ensure(plan.Name)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := nat.Set(ctx, ns, plan.NAT); err != nil {
		return err
	}
	if err := g.compartments.Set(ctx, ns, plan.Compartment); err != nil {
		return err
	}
	// Law 1: from here on the sites' routes stand, so no session may go on leaving by NAT.
	if err := g.forget(ctx, ns, plan.Name, plan.NAT.Protected); err != nil {
		return err
	}
	if err := g.doors.SetTenant(plan.Doors); err != nil {
		return err
	}
	if err := g.vpn.Set(ctx, plan.Name, plan.VPN); err != nil && !errors.Is(err, vpn.ErrNotConnected) {
		return err
	}
	return nil
}

// removeTenant removes all of a tenant: the doors shut first, the namespace goes last (law 9).
func (g *Gateway) removeTenant(ctx context.Context, name string) error {
	known, err := g.doors.Tenants()
	if err != nil {
		return err
	}
	for rdid, tenant := range known {
		if tenant == name {
			if err := g.doors.RemoveTenant(rdid); err != nil {
				return err
			}
		}
	}
	if err := g.vpn.Set(ctx, name, nil); err != nil && !errors.Is(err, vpn.ErrNotConnected) {
		return err
	}
	if err := g.compartments.Remove(ctx, name); err != nil {
		return err
	}
	g.log.Info("tenant removed", "tenant", name)
	return nil
}

// undeclared names the tenants that exist in the kernel, in charon or in this daemon and are not in the plan: those
// that were just taken out of the declaration and those that a predecessor left behind.
func (g *Gateway) undeclared(ctx context.Context, plan *Plan) ([]string, error) {
	names, err := g.compartments.Names()
	if err != nil {
		return nil, err
	}
	doors, err := g.doors.Tenants()
	if err != nil {
		return nil, err
	}
	for _, name := range doors {
		names = append(names, name)
	}
	loaded, err := g.vpn.Tenants(ctx)
	if err != nil && !errors.Is(err, vpn.ErrNotConnected) {
		return nil, err
	}
	names = append(names, loaded...)
	g.mu.Lock()
	for name := range g.loops {
		names = append(names, name)
	}
	g.mu.Unlock()
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return plan.tenant(name) != nil }), nil
}
