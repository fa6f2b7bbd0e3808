package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
)

// freeradiusPath is Debian's FreeRADIUS.
const freeradiusPath = "/usr/sbin/freeradius"

// RADIUS is a running FreeRADIUS that is started anew whenever it ends, as the appliance's unit does it.
type RADIUS struct {
	node *Node
	dir  string

	mu      sync.Mutex
	process *Process
	stopped bool
	err     error // why it could not be started anew
}

// StartRADIUS runs a FreeRADIUS in a node with the configuration (radiusd.conf) in the folder, where its log goes too.
func StartRADIUS(ctx context.Context, n *Node, dir string) (*RADIUS, error) {
	if _, err := os.Stat(freeradiusPath); err != nil {
		return nil, fmt.Errorf("start FreeRADIUS in %s: %w; the tree of lab/vm has it", n.Name, err)
	}
	r := &RADIUS{node: n, dir: dir}
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	n.lab.onClose(r.Stop)
	return r, nil
}

// start must be called with mu held, or before anybody else knows r.
func (r *RADIUS) start(ctx context.Context) error {
	process, err := startProcess(ctx, r.node, r.dir, "freeradius", nil,
		freeradiusPath, "-f", "-P", "-n", "radiusd", "-d", r.dir)
	if err != nil {
		return err
	}
	r.process = process
	go r.keep(process)
	return nil
}

// keep starts it anew when it ended.
func (r *RADIUS) keep(process *Process) {
	<-process.Exited()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped && r.err == nil {
		r.err = r.start(context.Background())
	}
}

// Process is the one that runs now.
func (r *RADIUS) Process() *Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process
}

// Stop ends it for good.
func (r *RADIUS) Stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	return errors.Join(r.process.Stop(), r.err)
}

// StartGatewayRADIUS starts the gateway's FreeRADIUS, for which the daemon or radius.Set has written a configuration.
func (l *Lab) StartGatewayRADIUS(ctx context.Context) (*RADIUS, error) {
	return StartRADIUS(ctx, l.Gateway(), l.GatewayRADIUSDir())
}
