package vpn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/strongswan/govici/vici"

	"bulkhead/internal/netns"
)

// DefaultSocket is where charon listens for VICI unless told otherwise.
const DefaultSocket = "/var/run/charon.vici"

// reconnectPause is between two attempts to reach charon's socket.
const reconnectPause = 250 * time.Millisecond

// ErrNotConnected says that charon is not there. What was to be set is remembered, and loaded once it is.
var ErrNotConnected = errors.New("charon is not connected")

// ErrUnknown says that no such interface was declared.
var ErrUnknown = errors.New("no such S2S interface")

// Options of a Manager.
type Options struct {
	// Socket is the path of charon's VICI socket; DefaultSocket where empty.
	Socket string
	// Settings is the path of the settings that charon includes; DefaultSettings where empty.
	Settings string
	// Resolver looks up the names of peers; net.DefaultResolver where nil.
	Resolver *net.Resolver
	// Namespace is charon's, in whose kernel the SAs are; the process's own where nil.
	Namespace *netns.Namespace
	// Log takes what happens to tunnels and to the connection to charon; slog.Default where nil.
	Log *slog.Logger
	// OnEvent is called for every Event, one at a time and in order, without a lock held. It must not block for long:
	// charon's events wait behind it. It must not call the Manager and wait for the answer.
	OnEvent func(Event)
}

// Manager keeps the tunnels of all tenants as they are declared. Its methods may be called from any goroutine.
type Manager struct {
	opts      Options
	log       *slog.Logger
	ready     chan struct{}
	readyOnce sync.Once

	// apply serializes all that changes charon's configuration, and guards have, gate and blocked. It is taken before mu.
	apply   sync.Mutex
	have    map[string]loaded // what charon has of ours
	gate    string            // what is known of the connections that all EAP users come by
	blocked map[string]bool   // tenants with an interface that waits for another tenant's to go

	auth     authentication // what authentication needs beside the interfaces, guarded by mu
	reporter *reporter      // with a lock of its own, never taken with mu held
	wake     chan struct{}  // the dial loop

	mu      sync.Mutex
	client  *client            // nil while charon is not connected
	tunnels map[string]*tunnel // what is declared, and what else has an SA, by the name at charon
	found   []Event            // to be reported
	tenants map[string]bool    // those that Set was called for
	usable  map[string]bool    // the connections that this session loaded, and whether there is an address to dial
	looked  bool               // at charon, at least once
}

// New makes a Manager. It does nothing at charon before Run.
func New(opts Options) *Manager {
	if opts.Socket == "" {
		opts.Socket = DefaultSocket
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.Settings == "" {
		opts.Settings = DefaultSettings
	}
	if opts.Resolver == nil {
		opts.Resolver = net.DefaultResolver
	}
	return &Manager{
		auth: newAuthentication(),
		opts: opts, log: opts.Log, reporter: newReporter(opts), ready: make(chan struct{}),
		wake: make(chan struct{}, 1),
		have: map[string]loaded{}, blocked: map[string]bool{},
		tunnels: map[string]*tunnel{}, tenants: map[string]bool{}, usable: map[string]bool{},
	}
}

// Ready is closed once charon was reached for the first time and what had been declared by then was loaded.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Run keeps a session to charon until ctx ends: it waits for the socket, loads what is declared, follows events, dials
// what is to be up, and starts over when charon went. It returns nil when ctx ended. Call it once.
func (m *Manager) Run(ctx context.Context) error {
	var last string
	for {
		err := m.session(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the session's end is what was asked for
		}
		if errors.Is(err, errSessionEnded) || err.Error() != last {
			last = err.Error()
			m.log.Warn("charon is not connected", "event", "charon", "reason", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectPause):
		}
	}
}

// session lives from charon's socket being there to its end.
func (m *Manager) session(ctx context.Context) error {
	c, err := dial(m.opts.Socket)
	if err != nil {
		return err
	}
	defer c.close()
	events, ch, err := subscribe(m.opts.Socket, eventPause, subscriptions...)
	if err != nil {
		return err
	}
	log, lines, err := subscribe(m.opts.Socket, logPause, logSubscription)
	if err != nil {
		return errors.Join(err, events.Close())
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	defer func() { _, _ = events.Close(), log.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	if err := m.takeOver(ctx, c); err != nil {
		return err
	}
	defer m.leave()
	m.log.Info("charon is connected", "event", "charon")
	ended := make(chan struct{})
	workers.Go(func() {
		defer close(ended)
		m.newWatcher().run(ch, lines)
	})
	// What is loaded is dialled while the rest is loaded still.
	workers.Go(func() { m.dialLoop(ctx, c) })
	workers.Go(func() { m.resolveLoop(ctx, c) })
	workers.Go(func() { m.turnLoop(ctx, c) })
	if err := m.loadAll(ctx, c); err != nil {
		m.log.Error("not everything could be loaded", "event", "charon", "reason", err)
	}
	m.readyOnce.Do(func() { close(m.ready) })
	select {
	case <-ctx.Done():
	case <-ended:
	case <-c.gone:
	}
	return errSessionEnded
}

// takeOver finds out what charon has, adopts its SAs, and makes the session the one in use.
func (m *Manager) takeOver(ctx context.Context, c *client) error {
	m.apply.Lock()
	defer m.apply.Unlock()
	have, sas, gate, err := inventory(ctx, c)
	if err != nil {
		return err
	}
	m.have, m.gate = have, gate
	now := time.Now()
	m.mu.Lock()
	m.client = c
	clear(m.usable)
	for name := range sas {
		if _, _, ok := splitName(name); ok {
			m.tunnel(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.tunnels)) {
		t := m.tunnels[name]
		e, changed := t.adopt(sas[name], now)
		if e.Kind == Up && !m.looked {
			e.Kind = Adopted
		}
		if changed && t.declared {
			m.found = append(m.found, e)
		}
		m.prune(name)
	}
	m.looked = true
	m.mu.Unlock()
	m.tellFound()
	return nil
}

// tunnel returns what is remembered under a name of ours, and begins to remember where nothing is. It must be called
// with mu held.
func (m *Manager) tunnel(name string) *tunnel {
	t := m.tunnels[name]
	if t == nil {
		tenant, _, _ := splitName(name)
		t = &tunnel{tenant: tenant, children: map[string]child{}, ikes: map[string]ike{}}
		m.tunnels[name] = t
	}
	return t
}

// prune forgets a tunnel that nobody declares and that has no SA. It must be called with mu held.
func (m *Manager) prune(name string) {
	if t := m.tunnels[name]; t != nil && !t.declared && !t.up() && len(t.ikes) == 0 {
		delete(m.tunnels, name)
	}
}

// tellFound reports what was found out other than by charon's events.
func (m *Manager) tellFound() {
	m.mu.Lock()
	found := m.found
	m.found = nil
	m.mu.Unlock()
	for _, e := range found {
		m.report(e)
	}
}

// report tells an Event, and what follows from it.
func (m *Manager) report(e Event) {
	m.reporter.report(e)
	m.followUp(e)
}

// followUp tells what follows from an Event: that the tunnel is unreachable, and to those who wait for its dial, how that
// ended.
func (m *Manager) followUp(e Event) {
	m.mu.Lock()
	t := m.tunnels[connName(e.Tenant, e.Interface)]
	if t == nil {
		m.mu.Unlock()
		return
	}
	entered := t.failed && !t.told
	t.told = t.failed
	switch {
	case t.up():
		t.conclude(nil)
	case e.Kind == Failed && !t.dial.underWay() && !t.dial.asked:
		t.conclude(errors.New(e.Reason))
	}
	m.mu.Unlock()
	if entered {
		e.Kind = WentUnreachable
		m.reporter.report(e)
	}
	m.wakeDialer()
}

// leave notes that charon is gone, with which tunnels were up.
func (m *Manager) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.client = nil
	now := time.Now()
	for _, t := range m.tunnels {
		t.dial.lost(now, t.up())
		t.conclude(fmt.Errorf("%w any more", ErrNotConnected))
	}
}

// inventory lists what charon has under our names: connections, secrets and SAs.
func inventory(ctx context.Context, c *client) (
	have map[string]loaded, sas map[string][]ikeSA, gate string, err error,
) {
	have, gate = map[string]loaded{}, gateClosed
	messages, err := c.list(ctx, "list-conns", nil)
	if err != nil {
		return nil, nil, "", err
	}
	for _, conn := range parseConns(messages) {
		if conn.name == eapCatcher || conn.name == eapRefuser {
			gate = gateUnknown
		}
		if _, _, ok := splitName(conn.name); ok {
			l := have[baseName(conn.name)]
			l.conns = append(l.conns, conn.name)
			if conn.name == baseName(conn.name) {
				l.view = conn
			}
			if w := conn.who(); w != (who{}) {
				l.who = w
			}
			have[baseName(conn.name)] = l
		}
	}
	shared, err := c.call(ctx, "get-shared", nil)
	if err != nil {
		return nil, nil, "", err
	}
	for _, name := range texts(shared, "keys") {
		if _, _, ok := splitName(name); ok {
			l := have[baseName(name)]
			l.secrets = append(l.secrets, name)
			have[baseName(name)] = l
		}
	}
	if sas, err = listSAs(ctx, c, ""); err != nil {
		return nil, nil, "", err
	}
	for name := range sas {
		if _, _, ok := splitName(name); ok {
			l := have[name] // an SA alone is something to sweep, too
			have[name] = l
		}
	}
	return have, sas, gate, nil
}

// listSAs lists the IKE_SAs of one interface, or of all with an empty name, by the name at charon.
func listSAs(ctx context.Context, c *client, name string) (map[string][]ikeSA, error) {
	in := []*vici.Message{nil}
	if name != "" {
		in = []*vici.Message{arguments("ike", name), arguments("ike", name+answering)}
	}
	sas := map[string][]ikeSA{}
	for _, in := range in {
		messages, err := c.list(ctx, "list-sas", in)
		if err != nil {
			return nil, err
		}
		for _, sa := range parseSAs(messages) {
			sas[sa.name] = append(sas[sa.name], sa)
		}
	}
	return sas, nil
}

// connected returns the session in use, or ErrNotConnected.
func (m *Manager) connected() (*client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client == nil {
		return nil, fmt.Errorf("%w at %s", ErrNotConnected, m.opts.Socket)
	}
	return m.client, nil
}
