// Package vpn keeps the site-to-site tunnels of every tenant in one charon, driven through its VICI socket.
//
// All tenants share charon, and what keeps them apart is this: a tunnel's SAs carry the if_id of its own xfrm
// interface, and its connection accepts one peer only, whom no other connection accepts. A peer with a certificate is
// vouched for by the interface's own authorities: charon trusts all that any connection names, and it is the connection
// that says which of them count. A pre-shared key is owned by the peer's identity alone, and the connection accepts that
// peer's address only. The key must not be owned by the gateway's own identity as well: that one is the same for
// every tunnel, and charon tries each key that is owned by *either* end of a negotiation, so every tenant's key would
// open every tenant's tunnel.
//
// charon is a service of its own: it is neither started nor stopped here. [Manager.Run] waits for its socket, loads
// what is declared, and does so again whenever charon came back. SAs belong to charon and outlive the Manager; a new
// Manager adopts them.
//
// What was up when charon ended is remembered by the Manager and dialled again when charon is back. When both ended, as
// in an upgrade of both or a reboot, nobody remembers: only an interface that is [Always] up is dialled at once, one
// [OnDemand] comes up with the first packet of either end, and one with [Never] waits for its peer.
package vpn
