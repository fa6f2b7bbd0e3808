package vpn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// errNoCertificate is why an interface whose ends have certificates cannot be loaded.
var errNoCertificate = errors.New("the gateway has no certificate to prove itself with: declare the gateway's certificate " +
	"and private key")

// authentication is what authentication needs beside the interfaces. The Manager's mu guards it.
type authentication struct {
	credentials Credentials
	own         *identity           // nil before SetCredentials
	hosts       map[host]netip.Addr // what peers' names stand for
	turns       map[string]int      // how often an interface's peer did not understand us
	turned      map[string]bool     // tenants of whom an interface did so since it was loaded
	newTurn     chan struct{}       // there is one
	newHost     chan struct{}       // there is a name to look up
	newAddress  chan struct{}       // a name stands for another address
	looking     map[host]bool       // names that are being looked up
	silent      map[host]bool       // names that had no answer the last time
}

func newAuthentication() authentication {
	return authentication{
		hosts: map[host]netip.Addr{}, turns: map[string]int{}, turned: map[string]bool{},
		newHost: make(chan struct{}, 1), newTurn: make(chan struct{}, 1), newAddress: make(chan struct{}, 1),
		looking: map[host]bool{}, silent: map[host]bool{},
	}
}

// lookSoon has the names looked up now if the interface's was not yet. The Manager's mu must be held.
func (a *authentication) lookSoon(i Interface) {
	if _, known := a.hosts[hostKey(i)]; known || i.PeerHost == "" {
		return
	}
	poke(a.newHost)
}

// poke has whoever waits for the channel, which has room for one, look again.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is about to
	}
}

// complete adds to an interface what is not declared of it. The Manager's mu must be held.
func (a *authentication) complete(name string, i Interface) complete {
	c := complete{Interface: i, resolved: a.hosts[hostKey(i)]}
	c.turn = a.turns[name] % c.turns()
	if i.Method != PSK {
		c.own = a.own
	}
	return c
}

// SetCredentials makes c what the gateway proves itself with, and what it knows about its peers' certificates. Nothing
// happens to standing tunnels: it counts from the next authentication on. What is wrong changes nothing. With
// ErrNotConnected in the error, c was taken up and is loaded when charon comes.
func (m *Manager) SetCredentials(ctx context.Context, c Credentials) error {
	own, err := c.parse()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	m.apply.Lock()
	defer m.apply.Unlock()
	m.mu.Lock()
	if m.auth.own == nil || m.auth.own.fingerprint != own.fingerprint {
		m.auth.own = own
	}
	m.auth.credentials = c
	m.mu.Unlock()
	session, err := m.connected()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	if err := m.loadCredentials(ctx, session); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return errors.Join(m.applyAll(ctx, session), m.dropKeys(ctx, session))
}

// loadCredentials loads the gateway's key, the certificates between its own and the root, and the revocation lists. The
// own certificate and the authorities go with each connection. It must be called with apply held.
func (m *Manager) loadCredentials(ctx context.Context, c *client) error {
	m.mu.Lock()
	own, lists := m.auth.own, m.auth.credentials.RevocationLists
	m.mu.Unlock()
	if own == nil {
		return nil
	}
	errs := []error{m.setRevocation(ctx, c, own.revocation)}
	load := func(what, command string, pairs ...string) {
		if _, err := c.call(ctx, command, arguments(pairs...)); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	if own.leaf != nil {
		load("the private key", "load-key", "type", "any", "data", string(own.key))
	}
	for _, der := range own.chain {
		load("a certificate after the gateway's", "load-cert", "type", "X509", "flag", "NONE", "data", string(der))
	}
	if own.revocation != RevocationOff {
		for _, der := range lists {
			load("a revocation list", "load-cert", "type", "X509_CRL", "flag", "NONE", "data", string(der))
		}
		// charon goes by the first list that it finds good, and may have kept the one before this in its cache.
		load("forgetting earlier revocation lists", "flush-certs", "type", "X509_CRL")
	}
	return errors.Join(errs...)
}

// dropKeys unloads the keys of earlier certificates, which no connection uses any more.
func (m *Manager) dropKeys(ctx context.Context, c *client) error {
	m.mu.Lock()
	own := m.auth.own
	m.mu.Unlock()
	out, err := c.call(ctx, "get-keys", nil)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range texts(out, "keys") {
		if own.leaf == nil || id != own.keyID {
			_, err := c.call(ctx, "unload-key", arguments("id", id))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
