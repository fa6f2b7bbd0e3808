// Package trigger dials on demand without losing the packet that asked: what leaves a compartment by a site-to-site
// interface whose tunnel is not up is held, and then delivered or answered with "host unreachable".
//
// The kernel holds the packets (NFQUEUE, in the hooks forward and output); this package decides. While nobody listens,
// because the daemon is dead, they pass by, and reach the policy beneath that makes charon dial (but loses them). Which
// interfaces hold, refuse or pass stands in the kernel too, so that a restarted daemon goes on where it was.
//
// What is held is lost when the daemon dies, when the link goes down, and when any base chain of the namespace is removed,
// whosever table it is in: the kernel empties its queues then.
package trigger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/florianl/go-nfqueue/v2"

	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
)

// The bounds, where Options do not say otherwise.
const (
	// DefaultPerLink is how many packets one interface holds: more than a person's first clicks, less than a flood.
	DefaultPerLink = 64
	// DefaultTotal is how many packets one compartment holds.
	DefaultTotal = 1024
	// DefaultPatience is how long a packet is held: longer than charon tries to dial (13 s), and longer than most
	// programs wait for a connection.
	DefaultPatience = 30 * time.Second
)

// askAgain is the time within which an interface asks for its tunnel once.
const askAgain = time.Second

// Options are what a Trigger needs to know.
type Options struct {
	// Log takes what goes wrong.
	Log *slog.Logger
	// Wanted is called when a packet wants the tunnel of a link that holds or refuses, about once a second and link at
	// most. It has a goroutine of its own, so that it may call back, and may be under way when Close returns.
	Wanted func(link string)
	// PerLink and Total bound the packets held; the defaults where 0.
	PerLink, Total int
	// Patience is how long a packet is held at most; the default where 0.
	Patience time.Duration
}

// Trigger holds packets in one compartment. Its methods may be called at the same time.
type Trigger struct {
	options Options
	ns      *netns.Namespace
	queue   *nfqueue.Nfqueue
	stop    context.CancelFunc

	mu     sync.Mutex // guards what follows
	closed bool
	links  map[string]*link
	names  map[uint32]string // of links, by interface index
	total  int               // packets held
}

// Open begins to listen in the namespace; nothing is held before [Trigger.Set]. Only one may listen in a namespace at a
// time. The namespace lives on until Close, even if it is removed meanwhile.
func Open(ns *netns.Namespace, o Options) (*Trigger, error) {
	if o.PerLink == 0 {
		o.PerLink = DefaultPerLink
	}
	if o.Total == 0 {
		o.Total = DefaultTotal
	}
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	own, err := netns.Open(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
	if err != nil {
		return nil, fmt.Errorf("hold packets: %w", err)
	}
	t := &Trigger{options: o, ns: own, links: map[string]*link{}, names: map[uint32]string{}}
	if err := t.listen(); err != nil {
		return nil, errors.Join(fmt.Errorf("hold packets: %w", err), own.Close())
	}
	return t, nil
}

// Set declares all links of the compartment that packets may have to wait for, by name; they need not exist yet. One
// that the kernel knows already stays as it is; a new one holds. What is no longer declared passes from now on, and the
// packets that it held are dropped.
func (t *Trigger) Set(links []string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	// Another release's table is replaced, and its links go with it.
	before, err := readStates(t.ns)
	if err != nil {
		return fmt.Errorf("hold packets: %w", err)
	}
	if err := apply(t.ns); err != nil {
		return fmt.Errorf("hold packets: %w", err)
	}
	have, err := readStates(t.ns)
	if err != nil {
		return fmt.Errorf("hold packets: %w", err)
	}
	want := make(map[string]state, len(links))
	for _, name := range links {
		l := t.links[name]
		if l == nil {
			l = &link{name: name, state: before[name]}
			if l.state == "" {
				l.state = held
			}
			t.links[name] = l
		}
		want[name] = l.state
	}
	for name, l := range t.links {
		if _, declared := want[name]; !declared {
			t.settle(l, markLate)
			delete(t.links, name)
		}
	}
	clear(t.names) // a name may have come to mean another interface
	if err := writeStates(t.ns, have, want); err != nil {
		return fmt.Errorf("hold packets: %w", err)
	}
	for name, l := range t.links {
		l.kernel = want[name]
	}
	return nil
}

// Hold holds the packets that leave by the link, beginning with the next one, which is also told to Wanted at once.
func (t *Trigger) Hold(link string) error { return t.become(link, held) }

// Release delivers the packets that the link held, and lets the next ones pass.
func (t *Trigger) Release(link string) error { return t.become(link, open) }

// Refuse answers the packets that the link held, and the next ones, with "host unreachable". They are told to Wanted
// nevertheless.
func (t *Trigger) Refuse(link string) error { return t.become(link, refused) }

// Close stops to listen and drops what is held. The rules stay: until somebody opens the Trigger again, packets pass.
func (t *Trigger) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	for _, l := range t.links {
		t.settle(l, markLate)
	}
	t.mu.Unlock()
	t.stop()
	if err := errors.Join(t.queue.Close(), t.ns.Close()); err != nil {
		return fmt.Errorf("stop to hold packets: %w", err)
	}
	return nil
}

// Remove takes away what a Trigger left in the namespace; where there is nothing, it does nothing.
func Remove(ns *netns.Namespace) error {
	if _, err := nft.Remove(ns, tableName); err != nil {
		return fmt.Errorf("stop to hold packets: %w", err)
	}
	return nil
}

var errClosed = errors.New("hold packets: the trigger is closed")
