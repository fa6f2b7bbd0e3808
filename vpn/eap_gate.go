package vpn

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tendEAPGate loads the catcher and the refuser before the first EAP interface is loaded, and again when the gateway's
// certificate or the interfaces' proposals change, and unloads them when there is no EAP interface any more. It must be
// called with apply held.
func (m *Manager) tendEAPGate(ctx context.Context, c *client) error {
	m.mu.Lock()
	own := m.auth.own
	proposals := m.eapProposals()
	m.mu.Unlock()
	if own == nil || own.leaf == nil || len(proposals) == 0 {
		if m.gate == gateUnknown && m.awaitsTenants() {
			return nil // an earlier daemon's, whose sites may dial meanwhile
		}
		return m.closeEAPGate(ctx, c)
	}
	wanted := own.fingerprint + " " + strings.Join(proposals, " ")
	if m.gate == wanted {
		return nil
	}
	if m.gate == gateUnknown || m.gate == gateClosed {
		// The way to RADIUS is in a file that may be younger than charon.
		if _, err := c.call(ctx, "reload-settings", nil); err != nil {
			return err
		}
	}
	gate, err := eapGate(own, proposals)
	if err != nil {
		return err
	}
	for _, conn := range gate {
		if _, err := c.call(ctx, "load-conn", conn.msg); err != nil {
			return fmt.Errorf("%s: %w", conn.name, err)
		}
	}
	m.gate = wanted
	return nil
}

// awaitsTenants tells whether charon has anything of a tenant that was not set yet. It must be called with apply held.
func (m *Manager) awaitsTenants() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.have {
		if tenant, _, _ := splitName(name); !m.tenants[tenant] {
			return true
		}
	}
	return false
}

// closeEAPGate unloads the catcher and the refuser, which an earlier daemon may have left.
func (m *Manager) closeEAPGate(ctx context.Context, c *client) error {
	if m.gate == gateClosed {
		return nil
	}
	for _, name := range []string{eapCatcher, eapRefuser} {
		if _, err := c.call(ctx, "unload-conn", arguments("name", name)); err != nil && !refused(err) {
			return err
		}
	}
	m.gate = gateClosed
	return nil
}

// What is known of the gate when it is not what was loaded.
const (
	gateUnknown = ""
	gateClosed  = "closed" // not loaded
)

// eapProposals are the IKE proposals of all EAP interfaces. It must be called with mu held.
func (m *Manager) eapProposals() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m.tunnels)) {
		t := m.tunnels[name]
		if !t.declared || t.want.Method != EAP || t.want.Disabled {
			continue
		}
		for _, p := range t.want.IKEProposals {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}
