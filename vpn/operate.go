package vpn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// errEnded says why a Connect that somebody waited for came to nothing.
var errEnded = errors.New("disconnected by an operator")

// Dial says that a packet wants a tunnel. It is dialled now, unless it is up, under way or backing off, and Dial returns
// at once: the outcome is an [Event]. Nothing happens to one that must not be dialled: one that is disabled, waits for
// its peer (Never, or no address), or is always up and was disconnected by an operator.
func (m *Manager) Dial(tenant, iface string) {
	m.mu.Lock()
	t := m.tunnels[connName(tenant, iface)]
	wanted := t != nil && t.wanted()
	m.mu.Unlock()
	if wanted {
		m.wakeDialer()
	}
}

// wanted notes that a packet wants the tunnel, and tells whether that is news.
func (t *tunnel) wanted() bool {
	if !t.declared || t.up() || t.dial.underWay() || t.want.Initiate == Never || !t.want.canDial() ||
		(t.dial.held && t.want.Initiate == Always) {
		return false
	}
	t.dial.held, t.dial.asked = false, true
	return true
}

// Connect dials a declared interface's peer at once, whatever happened before, and returns when the tunnel is up. The
// error says why it did not come up. When ctx ends before, the dial goes on.
func (m *Manager) Connect(ctx context.Context, tenant, iface string) error {
	if err := m.connect(ctx, connName(tenant, iface)); err != nil {
		return fmt.Errorf("tenant %s, interface %s: %w", tenant, iface, err)
	}
	return nil
}

func (m *Manager) connect(ctx context.Context, name string) error {
	outcome := make(chan error, 1)
	if up, err := m.order(name, outcome); up || err != nil {
		return err
	}
	m.wakeDialer()
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		m.mu.Lock()
		defer m.mu.Unlock()
		if t := m.tunnels[name]; t != nil {
			t.waiting = slices.DeleteFunc(t.waiting, func(c chan<- error) bool { return c == outcome })
		}
		return fmt.Errorf("it is still being dialled: %w", ctx.Err())
	}
}

// order has a tunnel dialled and the outcome told, unless it is up.
func (m *Manager) order(name string, outcome chan<- error) (up bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := m.known(name)
	switch {
	case err != nil:
		return false, err
	case t.want.Disabled:
		return false, errors.New("it is disabled: enable it first")
	case t.up():
		return true, nil
	case !t.want.canDial():
		return false, errors.New("it declares no destination: only its site can dial")
	case m.client == nil:
		return false, fmt.Errorf("%w at %s", ErrNotConnected, m.opts.Socket)
	case !m.usable[name]:
		return false, errors.New("charon does not have it: see what its declaration was answered")
	}
	t.dial.order(time.Now())
	t.waiting = append(t.waiting, outcome)
	return false, nil
}

// Disconnect ends a declared interface's SAs, a dial that is under way included, and returns when they are gone. One on
// demand comes back with the next packet; one that is always up stays down until Connect, Reset, a changed declaration
// or the peer brings it up. It is not unreachable any more.
func (m *Manager) Disconnect(ctx context.Context, tenant, iface string) error {
	if err := m.disconnect(ctx, connName(tenant, iface)); err != nil {
		return fmt.Errorf("tenant %s, interface %s: %w", tenant, iface, err)
	}
	return nil
}

func (m *Manager) disconnect(ctx context.Context, name string) error {
	m.mu.Lock()
	t, err := m.known(name)
	if err != nil {
		m.mu.Unlock()
		return err
	}
	t.dial.hold()
	t.reachable()
	t.conclude(errEnded)
	m.mu.Unlock()
	c, err := m.connected()
	if err != nil {
		return err
	}
	sas, err := listSAs(ctx, c, name)
	if err != nil {
		return err
	}
	ids := map[string]bool{}
	for _, sa := range sas[name] {
		ids[sa.id] = true
	}
	return m.endSAs(ctx, c, name, ids)
}

// Reset ends a declared interface's SAs, forgets that it failed, and dials anew, unless it waits for its peer. It
// returns when the tunnel is up, or why it did not come up.
func (m *Manager) Reset(ctx context.Context, tenant, iface string) error {
	name := connName(tenant, iface)
	err := m.disconnect(ctx, name)
	if err == nil {
		m.mu.Lock()
		t, unknown := m.known(name)
		err = unknown
		dials := false
		if err == nil {
			t.dial.held, dials = false, t.want.Initiate != Never && t.want.canDial()
		}
		m.mu.Unlock()
		if dials {
			err = m.connect(ctx, name)
		}
	}
	if err != nil {
		return fmt.Errorf("tenant %s, interface %s: %w", tenant, iface, err)
	}
	return nil
}

// known returns a declared interface's tunnel. It must be called with mu held.
func (m *Manager) known(name string) (*tunnel, error) {
	if t := m.tunnels[name]; t != nil && t.declared {
		return t, nil
	}
	return nil, ErrUnknown
}

// conclude tells those who wait for a dial how it ended.
func (t *tunnel) conclude(outcome error) {
	for _, c := range t.waiting {
		c <- outcome
	}
	t.waiting = nil
}
