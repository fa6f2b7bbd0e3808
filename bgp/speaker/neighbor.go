package speaker

import (
	"time"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/api"
)

// ownLoops switches GoBGP's check for our own number in paths off: our policies have one (see loops).
const ownLoops = 255

// internetworkControl is the mark of routing's own packets (CS6, RFC 4594, 3.1): a full tunnel must not end sessions.
const internetworkControl = 0xc0

// neighbor is peer as GoBGP is to have it. restarting: we start again and peers keep our routes meanwhile.
func neighbor(want *bgp.Config, peer bgp.Peer, restarting bool) *api.Peer {
	n := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: peer.Address.String(),
			PeerAsn:         peer.ASN,
			LocalAsn:        want.ASN,
			AuthPassword:    string(peer.Password),
			AllowOwnAsn:     ownLoops,
			// Whether the password is in force is looked at before the session may start.
			AdminDown: peer.Password != "",
		},
		Transport: &api.Transport{LocalAddress: peer.LocalAddress.String(), PassiveMode: peer.Passive,
			IpTos: internetworkControl},
		Timers: &api.Timers{Config: &api.TimersConfig{
			ConnectRetry:      wholeSeconds(peer.ConnectRetry),
			HoldTime:          wholeSeconds(peer.HoldTime),
			KeepaliveInterval: wholeSeconds(peer.KeepaliveInterval),
			// 0 would be 30.
			IdleHoldTimeAfterReset: 1,
		}},
	}
	switch {
	case peer.SecurityHops > 0:
		n.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: 256 - uint32(peer.SecurityHops)}
	case peer.ASN != want.ASN && peer.Hops > 0:
		n.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(peer.Hops)}
	}
	if peer.ReflectorClient {
		cluster := want.Identifier
		if want.ClusterID.IsValid() {
			cluster = want.ClusterID
		}
		n.RouteReflector = &api.RouteReflector{RouteReflectorClient: true, RouteReflectorClusterId: cluster.String()}
	}
	if want.RestartTime > 0 {
		n.GracefulRestart = &api.GracefulRestart{
			Enabled:         true,
			RestartTime:     uint32(wholeSeconds(want.RestartTime)),
			DeferralTime:    uint32(wholeSeconds(want.RestartTime)),
			LocalRestarting: restarting,
		}
	}
	if peer.BFD != nil {
		n.Bfd = &api.BfdPeerConfig{
			Enabled:                  true,
			DesiredMinimumTxInterval: uint32(peer.BFD.Transmit.Microseconds()),
			RequiredMinimumReceive:   uint32(peer.BFD.Receive.Microseconds()),
			DetectionMultiplier:      uint32(peer.BFD.Multiplier),
		}
	}
	for _, is4 := range []bool{true, false} {
		if carries(peer, is4) {
			n.AfiSafis = append(n.AfiSafis, &api.AfiSafi{
				Config:            &api.AfiSafiConfig{Family: familyOf(is4), Enabled: true},
				MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: want.RestartTime > 0}},
			})
		}
	}
	return n
}

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) uint64 { return uint64((d + time.Second - 1) / time.Second) }

// change is what has to be done about a peer that is declared otherwise.
type change int

const (
	// nothing but the policies, which are of their own.
	nothing change = iota
	// inPlace changes what the session need not end for.
	inPlace
	// anew ends the session, for what is agreed on when it starts is another.
	anew
)

// changed says what to do about a peer that was had under one configuration and is wanted under another.
func changed(had *bgp.Config, was bgp.Peer, want *bgp.Config, is bgp.Peer) change {
	if (had.RestartTime > 0) != (want.RestartTime > 0) || had.RestartTime != want.RestartTime ||
		is.ReflectorClient && had.ClusterID != want.ClusterID {
		return anew
	}
	if was.LocalAddress != is.LocalAddress || was.ASN != is.ASN || was.Passive != is.Passive ||
		was.Stopped != is.Stopped || was.IPv4 != is.IPv4 || was.IPv6 != is.IPv6 || was.Password != is.Password ||
		was.Hops != is.Hops || was.SecurityHops != is.SecurityHops || was.ReflectorClient != is.ReflectorClient {
		return anew
	}
	sameBFD := was.BFD == is.BFD || was.BFD != nil && is.BFD != nil && *was.BFD == *is.BFD
	if was.HoldTime != is.HoldTime || was.KeepaliveInterval != is.KeepaliveInterval ||
		was.ConnectRetry != is.ConnectRetry || !sameBFD {
		return inPlace
	}
	return nothing
}
