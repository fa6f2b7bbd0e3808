package speaker

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"golang.org/x/time/rate"
)

// journal keeps what GoBGP tells by its log alone. It has a lock of its own: GoBGP logs while it holds its locks, and
// whoever holds the speaker's waits for those.
type journal struct {
	mu    sync.Mutex
	peers map[netip.Addr]*entry
}

// entry is what is known of one peer.
type entry struct {
	// malformed counts updates that were treated as withdrawals, discarded those that attributes were dropped of (RFC 7606).
	malformed, discarded uint64
	// notice is the last notification that was sent or came, at its time.
	notice   string
	noticeAt time.Time
	// silent: the hold timer ran out. dead: BFD says so.
	silent, dead bool
}

func newJournal() *journal { return &journal{peers: map[netip.Addr]*entry{}} }

func (j *journal) note(address netip.Addr, f func(*entry)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.peers[address]
	if !ok {
		e = &entry{}
		j.peers[address] = e
	}
	f(e)
}

// read is what is known of a peer.
func (j *journal) read(address netip.Addr) entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e, ok := j.peers[address]; ok {
		return *e
	}
	return entry{}
}

// over takes note that a session is over, and tells what was known of its end.
func (j *journal) over(address netip.Addr) entry {
	var was entry
	j.note(address, func(e *entry) {
		was = *e
		e.silent, e.dead = false, false
	})
	return was
}

func (j *journal) forget(address netip.Addr) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.peers, address)
}

// translator is GoBGP's log handler. What means something to an operator goes to the journal, warnings go on to our log,
// a few a second, since peers choose how many there are.
type translator struct {
	speaker *Speaker
	key     netip.Addr
	limits  *limits
}

// Bounds of GoBGP's messages: so many are told apart, and so many bytes of a text are logged.
const (
	mostMessages = 32
	longestText  = 200
)

// limits bound how often each message is logged.
type limits struct {
	mu  sync.Mutex
	by  map[string]*rate.Limiter
	out map[string]int
}

func newTranslator(s *Speaker) *translator {
	return &translator{speaker: s, limits: &limits{by: map[string]*rate.Limiter{}, out: map[string]int{}}}
}

// Enabled implements slog.Handler.
func (t *translator) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

// WithAttrs implements slog.Handler.
func (t *translator) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *t
	for _, a := range attrs {
		with.peer(a)
	}
	return &with
}

// WithGroup implements slog.Handler. GoBGP has no groups.
func (t *translator) WithGroup(string) slog.Handler { return t }

func (t *translator) peer(a slog.Attr) {
	if a.Key == "Key" || a.Key == "Peer" {
		if address, err := netip.ParseAddr(a.Value.String()); err == nil {
			t.key = address
		}
	}
}

// Handle implements slog.Handler.
func (t *translator) Handle(_ context.Context, r slog.Record) error {
	one := *t
	var code, subcode int64 = -1, -1
	r.Attrs(func(a slog.Attr) bool {
		one.peer(a)
		switch a.Key {
		case "Code":
			code = a.Value.Int64()
		case "Subcode":
			subcode = a.Value.Int64()
		}
		return true
	})
	journal := t.speaker.journal
	switch r.Message {
	case "sent notification", "received notification":
		if code < 0 || !one.key.IsValid() || r.Message == "sent notification" && ownDoing(code, subcode) {
			return nil
		}
		text := gobgp.NewNotificationErrorCode(uint8(code), uint8(subcode)).String()
		journal.note(one.key, func(e *entry) { e.notice, e.noticeAt = r.Message+": "+text, r.Time })
		return nil
	case "the received Update message was treated as withdraw":
		journal.note(one.key, func(e *entry) { e.malformed++ })
	case "Some attributes were discarded":
		journal.note(one.key, func(e *entry) { e.discarded++ })
	case "hold timer expired":
		journal.note(one.key, func(e *entry) { e.silent = true })
		return nil
	case "Expired", "Remote peer signaled BFD down":
		journal.note(one.key, func(e *entry) { e.dead = true })
		t.speaker.rouse()
		return nil
	}
	if r.Level >= slog.LevelWarn {
		one.pass(r)
	}
	return nil
}

// ownDoing says that a notification tells a peer of what we ourselves did, for a reason that is known, and no reason itself.
func ownDoing(code, subcode int64) bool {
	return code == gobgp.BGP_ERROR_CEASE && (subcode == gobgp.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN ||
		subcode == gobgp.BGP_ERROR_SUB_PEER_DECONFIGURED || subcode == gobgp.BGP_ERROR_SUB_ADMINISTRATIVE_RESET)
}

// pass logs a warning of GoBGP's, if there were not many like it.
func (t *translator) pass(r slog.Record) {
	t.limits.mu.Lock()
	kind := r.Message
	if _, ok := t.limits.by[kind]; !ok {
		if len(t.limits.by) >= mostMessages {
			kind = "" // some have in them what a peer chose
		}
		if _, ok := t.limits.by[kind]; !ok {
			t.limits.by[kind] = rate.NewLimiter(rate.Every(10*time.Second), 3)
		}
	}
	if !t.limits.by[kind].AllowN(r.Time, 1) {
		t.limits.out[kind]++
		t.limits.mu.Unlock()
		return
	}
	left := t.limits.out[kind]
	delete(t.limits.out, kind)
	t.limits.mu.Unlock()
	args := []any{"said", short(r.Message)}
	if t.key.IsValid() {
		args = append(args, "address", t.key)
	}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "Error", "Err", "State", "Family", "Reason":
			args = append(args, a.Key, short(fmt.Sprint(a.Value)))
		}
		return true
	})
	if left > 0 {
		args = append(args, "others like it", left)
	}
	t.speaker.log.Warn("GoBGP", args...)
}

// short is the beginning of a text that a peer may have made long.
func short(text string) string {
	if len(text) <= longestText {
		return text
	}
	return strings.ToValidUTF8(text[:longestText], "") + " ..."
}
