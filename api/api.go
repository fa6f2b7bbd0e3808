// Package api serves the daemon's control socket and is its client: HTTP with JSON on a unix socket that only root may
// open. What the operator's commands do goes through it.
package api

import "bulkhead/configs"

// SocketName is the control socket's name in the daemon's runtime folder.
const SocketName = "bulkhead.sock"

const (
	applyPath  = "/v1/apply"
	policyPath = "/v1/policy/"
	showPath   = "/v1/show/"
)

// ApplyRequest asks the daemon to take up a folder as the whole desired state.
type ApplyRequest struct {
	// Config is the folder's absolute path, on the daemon's machine.
	Config string `json:"config"`
}

// ApplyAnswer says what became of an ApplyRequest.
type ApplyAnswer struct {
	// Tenants is the number of tenants declared.
	Tenants int `json:"tenants"`
	// Pending lists what is declared but not carried out yet.
	Pending []string `json:"pending,omitempty"`
	// Warnings tell what is allowed and better avoided.
	Warnings []string `json:"warnings,omitempty"`
	// Notes are things that the operator should know.
	Notes []string `json:"notes,omitempty"`
	// Problems are why the declaration was refused; nothing was changed then.
	Problems configs.Problems `json:"problems,omitempty"`
	// Refused is why nothing was changed although the files may be right: the folder cannot be read, or the machine lacks
	// what the declaration builds on.
	Refused string `json:"refused,omitempty"`
	// Error is what of a valid declaration could not be brought about; the daemon goes on trying.
	Error string `json:"error,omitempty"`
}
