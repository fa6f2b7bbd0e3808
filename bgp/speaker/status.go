package speaker

import (
	"bufio"
	"context"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/fib"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// Status tells of the speaker as a whole.
func (s *Speaker) Status() bgp.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stats fib.Stats
	if s.table != nil {
		stats = s.table.Stats()
	}
	return bgp.Status{
		Version: s.options.Version, PID: os.Getpid(), Since: s.since, Configured: s.server != nil,
		Restarting: s.restart != nil, IPv4Routes: stats.IPv4, IPv6Routes: stats.IPv6, Withdrawn: stats.Withdrawn,
		PrivateBytes: privateBytes(),
	}
}

// privateBytes is the process's memory that it shares with nobody (proc_pid_smaps(5)); 0: the kernel does not tell.
func privateBytes() uint64 {
	file, err := os.Open("/proc/self/smaps_rollup")
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }()
	var total uint64
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && strings.HasPrefix(fields[0], "Private_") {
			kilobytes, _ := strconv.ParseUint(fields[1], 10, 64)
			total += kilobytes << 10
		}
	}
	return total
}

// Peers tells of all peers, in the order of the declaration.
func (s *Speaker) Peers(ctx context.Context) ([]bgp.PeerState, error) {
	s.mu.Lock()
	running, config := s.server, s.config
	revision, again := s.countTold()
	s.mu.Unlock()
	if config == nil {
		return nil, nil
	}
	seen := map[string]*api.Peer{}
	if running != nil {
		request := &api.ListPeerRequest{EnableAdvertised: again}
		if err := running.ListPeer(ctx, request, func(p *api.Peer) { seen[p.GetConf().GetNeighborAddress()] = p }); err != nil {
			return nil, err
		}
		if err := s.count(ctx, seen); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if again {
		s.takeTold(revision, seen)
	}
	states := make([]bgp.PeerState, 0, len(s.config.Peers))
	for _, peer := range s.config.Peers {
		one, ok := s.sessions[peer.Address]
		if !ok {
			continue // its address is another peer's as well
		}
		states = append(states, s.peerState(one, seen[peer.Address.String()]))
	}
	return states, nil
}

// peerState puts together what is known of a peer: by us, and by GoBGP where that has it. The caller holds s.mu.
func (s *Speaker) peerState(one *session, seen *api.Peer) bgp.PeerState {
	known := s.journal.read(one.peer.Address)
	state := bgp.PeerState{
		Name: one.peer.Name, Address: one.peer.Address, LocalAddress: one.peer.LocalAddress, ASN: one.peer.ASN,
		State: one.stateName(), Since: one.since, Flaps: one.flaps, LastError: one.lastError, LastErrorAt: one.lastErrorAt,
		Interface: strings.Join(s.table.Resolve(one.peer.Address), ","), MD5: one.signature(),
		Refused: map[string]uint64{},
	}
	if !one.established() {
		if known.noticeAt.After(state.LastErrorAt) {
			state.LastError, state.LastErrorAt = known.notice, known.noticeAt
		}
		if state.Interface == "" && !one.peer.Stopped && state.LastError == "" {
			state.LastError = one.peer.Address.String() + " is reachable by no route but BGP's"
		}
	}
	if seen == nil || !one.there {
		for _, family := range families(one.peer) {
			state.Families = append(state.Families, bgp.FamilyState{Name: familyName(family), Limit: one.peer.MaximumPrefixes})
		}
		return state
	}
	state.Received = messagesOf(seen.GetState().GetMessages().GetReceived())
	state.Received.WithdrawnUpdates = known.malformed
	state.Sent = messagesOf(seen.GetState().GetMessages().GetSent())
	if one.peer.BFD != nil {
		state.BFD = bfdName(seen.GetState().GetBfdState().GetSessionState())
	}
	for _, family := range seen.GetAfiSafis() {
		counts := family.GetState()
		name := familyFrom(counts.GetFamily())
		state.Families = append(state.Families, bgp.FamilyState{
			Name: familyName(name), Received: counts.GetReceived(), Accepted: one.counts.accepted[name],
			Advertised: s.told.counts[one.peer.Address.String()][name], Limit: one.peer.MaximumPrefixes,
		})
	}
	if !one.established() {
		return state
	}
	for why, number := range one.counts.refused {
		state.Refused[why] = number
	}
	if id, err := netip.ParseAddr(seen.GetState().GetRouterId()); err == nil {
		state.PeerIdentifier = id
	}
	timers := seen.GetTimers().GetState()
	state.HoldTime = time.Duration(timers.GetNegotiatedHoldTime()) * time.Second
	state.KeepaliveInterval = time.Duration(timers.GetKeepaliveInterval()) * time.Second
	state.Capabilities = shared(seen.GetState().GetLocalCap(), seen.GetState().GetRemoteCap())
	return state
}

// signature tells what is with the session's password.
func (one *session) signature() string {
	switch {
	case one.peer.Password == "":
		return ""
	case one.md5 != "":
		return one.md5
	case !one.there:
		return "no session"
	}
	return "on"
}

func familyName(family gobgp.Family) string {
	if family == gobgp.RF_IPv6_UC {
		return "ipv6"
	}
	return "ipv4"
}

func bfdName(state api.BfdSessionState) string {
	switch state {
	case api.BfdSessionState_BFD_SESSION_STATE_UP:
		return "up"
	case api.BfdSessionState_BFD_SESSION_STATE_INIT:
		return "init"
	}
	return "down"
}

func messagesOf(m *api.Message) bgp.Messages {
	return bgp.Messages{
		Total: m.GetTotal(), Open: m.GetOpen(), Update: m.GetUpdate(), Notification: m.GetNotification(),
		Keepalive: m.GetKeepalive(), Refresh: m.GetRefresh(), Discarded: m.GetDiscarded(),
	}
}

// capabilityNames are what operators know capabilities by.
var capabilityNames = map[gobgp.BGPCapabilityCode]string{
	gobgp.BGP_CAP_ROUTE_REFRESH:          "route-refresh",
	gobgp.BGP_CAP_FOUR_OCTET_AS_NUMBER:   "4-octet-as",
	gobgp.BGP_CAP_GRACEFUL_RESTART:       "graceful-restart",
	gobgp.BGP_CAP_EXTENDED_NEXTHOP:       "extended-next-hop",
	gobgp.BGP_CAP_EXTENDED_MESSAGE:       "extended-message",
	gobgp.BGP_CAP_FQDN:                   "host-name",
	gobgp.BGP_CAP_ENHANCED_ROUTE_REFRESH: "enhanced-route-refresh",
}

// shared are the names of the capabilities that both have.
func shared(local, remote []*api.Capability) []string {
	mine, _ := apiutil.UnmarshalCapabilities(local)
	theirs, _ := apiutil.UnmarshalCapabilities(remote)
	var names []string
	for _, m := range mine {
		for _, t := range theirs {
			if m.Code() != t.Code() {
				continue
			}
			name, ok := capabilityNames[m.Code()]
			if m, multi := m.(*gobgp.CapMultiProtocol); multi {
				t, same := t.(*gobgp.CapMultiProtocol)
				if !same || m.CapValue != t.CapValue {
					continue
				}
				name, ok = m.CapValue.String(), true
			}
			if ok {
				names = append(names, name)
			}
			break
		}
	}
	return names
}
