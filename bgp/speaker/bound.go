package speaker

import (
	"fmt"
	"net/netip"
	"runtime"
	"runtime/metrics"
	"time"

	"bulkhead/bgp"

	"golang.org/x/sys/unix"
)

// Peers choose how much comes with a prefix, and how fast they take what they asked for. GoBGP keeps all of it, so that a
// bound on prefixes is none on memory. This is one, of several times what prefixes come to in practice.
const (
	leastBound = 128 << 20 // bytes
	// For each prefix that a peer may tell, and that is told, and besides for each peer that it is told to.
	boundPrefix = 4 << 10
	boundTold   = 256
	unlimited   = 1 << 18 // prefixes of a peer without a limit
	// blameShare is the part of the memory that a peer must have sent to be to blame for it.
	blameShare = 256
	// excessTime is how long a peer is kept out at least, and excessPause how long to wait for what that frees.
	excessTime  = time.Minute
	excessPause = 2 * time.Second
)

// excess ends sessions while more memory is in use than is good.
type excess struct {
	// taken is what peers had taken of what we sent them, in bytes, at the look before.
	taken map[netip.Addr]uint64
	until time.Time
}

// burden is what the kernel knows of a session that makes us keep much.
type burden struct {
	received, taken uint64 // bytes
	waiting         bool   // there is more to take
}

// bound is how many bytes may be in use.
func bound(config *bgp.Config) uint64 {
	prefixes := uint64(len(config.Networks))
	for _, peer := range config.Peers {
		limit := uint64(peer.MaximumPrefixes)
		if limit == 0 {
			limit = unlimited
		}
		prefixes += limit * uint64(len(families(peer)))
	}
	return leastBound + prefixes*(boundPrefix+boundTold*uint64(len(config.Peers)))
}

// inUse is how many bytes of memory were no garbage when it was last collected.
func inUse() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// lookAtExcess keeps those peers out that take nothing of what is kept for them, if there is too much in use; and if there
// are none, the one that sent most.
func (s *Speaker) lookAtExcess(e *excess, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config == nil || now.Before(e.until) {
		return
	}
	burdens, err := s.burdens()
	before := e.taken
	e.taken = map[netip.Addr]uint64{}
	for address, b := range burdens {
		e.taken[address] = b.taken
	}
	most := bound(s.config)
	if inUse() <= most {
		return
	}
	runtime.GC()
	used := inUse()
	switch {
	case used <= most:
		return
	case err != nil:
		s.log.Error("too much memory is in use, and no peer can be kept out for it", "bytes", used, "error", err)
		return
	}
	e.until = now.Add(excessPause)
	var blamed *session
	var sent uint64
	idle := false
	for address, b := range burdens {
		one := s.sessions[address]
		if taken, known := before[address]; known && b.waiting && taken == b.taken {
			idle = true
			s.act(one, s.excessive(one, "takes nothing of what it asked for", used))
		}
		if blamed == nil || b.received > sent {
			blamed, sent = one, b.received
		}
	}
	switch {
	case idle:
	case blamed != nil && sent >= used/blameShare:
		s.act(blamed, s.excessive(blamed, "sent most", used))
	default:
		s.log.Warn("much memory is in use, and no peer that has a session is to blame", "bytes", used, "bound", most)
	}
}

// excessive keeps a peer out for what it did. The caller holds s.mu.
func (s *Speaker) excessive(one *session, did string, used uint64) error {
	why := fmt.Sprintf("%d MB of memory are in use, and this peer %s", used>>20, did)
	return s.keepOut(one, why, max(one.peer.RestartAfter, excessTime))
}

// burdens are those of the established sessions. The caller holds s.mu.
func (s *Speaker) burdens() (map[netip.Addr]burden, error) {
	all := map[netip.Addr]burden{}
	err := eachConnection(func(fd int, _, remote netip.Addr, _ uint64) {
		one, ok := s.sessions[remote]
		if !ok || !one.established() {
			return
		}
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return // it ended meanwhile
		}
		all[remote] = burden{received: info.Bytes_received, taken: info.Bytes_acked, waiting: info.Unacked > 0 || info.Notsent_bytes > 0}
	})
	return all, err
}
