// Package wire is what a daemon and a speaker agree on: HTTP/1.1 with JSON on the speaker's socket.
package wire

// Protocol is the version of all of this. A daemon replaces a speaker that speaks another one, so that [Status] and [Stop]
// must stay what they are for ever.
const Protocol = 1

// Ready is what a speaker writes to its standard output before it closes that, once its socket is open. What it writes
// instead tells why it cannot be.
const Ready = "ready\n"

// Requests by path.
const (
	// Status is asked by GET and answered with a bgp.Status.
	Status = "/status"
	// Stop takes a [StopRequest] by POST and answers when sessions and routes are done with; then the process ends.
	Stop = "/stop"
	// Config takes a bgp.Config by PUT.
	Config = "/config"
	// Tunnels takes a [TunnelsRequest] by PUT.
	Tunnels = "/tunnels"
	// Peers is asked by GET and answered with a list of bgp.PeerState.
	Peers = "/peers"
	// Routes and Advertised take a bgp.RouteQuery by POST and answer with a stream of bgp.Route, which [Broken] ends where it
	// is not the whole list.
	Routes     = "/routes"
	Advertised = "/advertised"
	// Reset takes a [ResetRequest] by POST.
	Reset = "/reset"
)

// Broken is the trailer (RFC 9110, 6.5) that says why a stream ends too early.
const Broken = "Bulkhead-Broken"

// StopRequest ends the speaker.
type StopRequest struct {
	// Graceful: another one follows at once, for which peers and the kernel keep the routes where that was agreed on.
	Graceful bool
}

// TunnelsRequest tells of the tunnels' states.
type TunnelsRequest struct {
	// Down are the links whose tunnel is not connected.
	Down []string
}

// ResetRequest ends a session, or exchanges its routes anew.
type ResetRequest struct {
	Peer string
	// Soft: the session stays.
	Soft bool
}
