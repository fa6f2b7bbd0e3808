// Package scenario is the main job, step by step, in the Fabrikam lab: what the demo shows and the end-to-end tests hold.
package scenario

import "context"

// Part is a group of steps about one thing.
type Part struct {
	Title string
	Steps []Step
}

// Step is one claim about the gateway, with the way to find out whether it is true.
type Step struct {
	// Claim is what should be so, in an operator's words.
	Claim string
	// Check finds out. It returns what was really seen, a line each; the error says why the claim is false.
	Check func(ctx context.Context, w *World) (seen []string, err error)
}

// Parts are all parts in order. Later ones build on what earlier ones brought up.
func Parts() []Part {
	return []Part{nvgre(), tunnels(), internet(), refused(), routes(), standIn(), certificates(), limited(), calm(), show()}
}
