package bgp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"bulkhead/bgp/internal/seat"
	"bulkhead/internal/netns"
)

// ownBinary is the binary of the process: a speaker is always of one kind with the daemon that starts it, even where a
// package has replaced the file meanwhile.
const ownBinary = "/proc/self/exe"

// Options of a Manager.
type Options struct {
	// Dir holds the speakers' sockets and locks. What lies in it outlives the daemon.
	Dir string
	// Binary is run with the words bgp-speaker --tenant TENANT --socket PATH; the process's own where empty.
	Binary string
	// Log takes what happens to speakers; slog.Default where nil. What they log themselves goes to the standard error.
	Log *slog.Logger
}

// Manager keeps a speaker in each compartment that is to have one. Speakers live on when it is closed, and are taken up
// by the next one as they are. Its methods may be called from any goroutine; what one tenant's speaker keeps waiting
// holds up no other's.
type Manager struct {
	opts   Options
	log    *slog.Logger
	pace   pace
	ctx    context.Context // the life of what watches
	cancel context.CancelFunc
	all    sync.WaitGroup // what watches; added to with mu

	mu      sync.Mutex
	keepers map[string]*keeper // guarded by mu: by tenant
}

// pace is how long things may take, and how long is waited between them.
type pace struct {
	// again is the wait before a speaker that ended soon after its start is started again, which doubles up to longest. One
	// that lived for longest is started again at once.
	again, longest time.Duration
	// check is between two looks at whether a speaker answers, and for how long it may take. One that did not twice in a row
	// is ended, and started again.
	check time.Duration
	// start, answer, change and stop are for how long a start, a question, a change and an end may take.
	start, answer, change, stop time.Duration
}

var usualPace = pace{
	again: time.Second, longest: time.Minute, check: 30 * time.Second,
	start: 20 * time.Second, answer: 5 * time.Second, change: time.Minute, stop: 10 * time.Second,
}

// NewManager makes a Manager. It touches no speaker before Set.
func NewManager(opts Options) *Manager {
	opts.Binary = cmp.Or(opts.Binary, ownBinary)
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Manager{opts: opts, log: opts.Log, pace: usualPace, ctx: ctx, cancel: cancel, keepers: map[string]*keeper{}}
}

// Close ends the daemon's part and leaves the speakers alone.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.cancel()
	keepers := slices.Collect(maps.Values(m.keepers))
	m.mu.Unlock()
	m.all.Wait()
	var errs []error
	for _, k := range keepers {
		k.turn <- struct{}{}
		errs = append(errs, k.release())
		k.leave()
	}
	return errors.Join(errs...)
}

// run runs f aside, unless the manager is closed.
func (m *Manager) run(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return false
	}
	m.all.Go(f)
	return true
}

// Set makes the tenant's speaker what want says. A speaker that an earlier daemon left in the compartment is taken up;
// one that speaks another protocol, or is in another namespace, is exchanged; where there is none one is started, and
// started again whenever it ends. What is as it is to be is not touched.
//
// Without want the speaker ends, with all its sessions, and Set returns when its process is gone and its routes are out
// of the compartment, which may be removed then. ns may be nil where the compartment is not there any more.
//
// Errors do not name the tenant: whoever brings a tenant about does.
func (m *Manager) Set(ctx context.Context, ns *netns.Namespace, tenant string, want *Config) error {
	k := m.keeper(tenant)
	if err := k.take(ctx); err != nil {
		return err
	}
	defer k.leave()
	if m.ctx.Err() != nil {
		return errors.New("the daemon is stopping, the BGP speaker is left as it is")
	}
	var err error
	if want == nil {
		err = k.end(ctx, ns)
	} else {
		err = k.set(ctx, ns, want)
	}
	if err != nil {
		return fmt.Errorf("BGP: %w", err)
	}
	return nil
}

// SetTunnels says which of the compartment's links have a tunnel that is not connected. It returns at once; the speaker
// is told as soon as it is there, and told again where it was started anew.
func (m *Manager) SetTunnels(tenant string, down []string) { m.keeper(tenant).setTunnels(down) }

// Leave has the tenant's speaker count on none of some links any more, and returns when no route of BGP leads out by them. It
// is for links that are about to go: the kernel would remove the routes with them, before the speaker can have the prefixes
// unreachable (law 1). A tenant without a speaker has nothing to do. Errors do not name the tenant, as those of Set.
func (m *Manager) Leave(ctx context.Context, tenant string, links []string) error {
	if err := m.keeper(tenant).leaveLinks(ctx, links); err != nil {
		return fmt.Errorf("BGP: %w", err)
	}
	return nil
}

// Restart exchanges the speaker's process, after an upgrade or when it is hung, as a graceful restart (RFC 4724) where
// that is declared. The tenant must have been set.
func (m *Manager) Restart(ctx context.Context, tenant string) error {
	k := m.keeper(tenant)
	if err := k.take(ctx); err != nil {
		return fmt.Errorf("tenant %s: %w", tenant, err)
	}
	defer k.leave()
	if k.want.Load() == nil {
		return fmt.Errorf("tenant %s: %w%s", tenant, ErrNoSpeaker, k.whereItIs())
	}
	if err := errors.Join(k.stop(ctx, true), k.bring(ctx)); err != nil {
		return fmt.Errorf("tenant %s: restart the BGP speaker: %w", tenant, err)
	}
	return nil
}

// Names are the tenants for which a speaker runs, or left something, whoever started it.
func (m *Manager) Names() ([]string, error) { return seat.Tenants(m.opts.Dir) }

func (m *Manager) keeper(tenant string) *keeper {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.keepers[tenant]
	if k == nil {
		k = newKeeper(m, tenant)
		m.keepers[tenant] = k
	}
	return k
}

// declared are the keepers of the tenants that are to have a speaker.
func (m *Manager) declared() []*keeper {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*keeper
	for _, k := range m.keepers {
		if k.want.Load() != nil {
			out = append(out, k)
		}
	}
	return out
}

// makeDir makes the folder of sockets, which root alone may enter.
func (m *Manager) makeDir() error {
	if err := os.MkdirAll(m.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of BGP speakers: %w", err)
	}
	if err := os.Chmod(m.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("protect the folder of BGP speakers: %w", err)
	}
	return nil
}
