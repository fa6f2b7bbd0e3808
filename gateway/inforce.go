package gateway

import "errors"

// inForce is the plan in force.
func (g *Gateway) inForce() (*Plan, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.ctx.Err() != nil:
		return nil, errClosed
	case g.plan == nil:
		return nil, errors.New("the daemon has not taken up a declaration yet")
	}
	return g.plan, nil
}
