package vpn

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/strongswan/govici/vici"
)

// anywhere are the traffic selectors of both ends: what goes through a tunnel is decided by the compartment's routes.
var anywhere = []string{"0.0.0.0/0", "::/0"}

// builder collects the fields of a VICI message and the first error.
type builder struct {
	msg *vici.Message
	err error
}

func newMessage() *builder { return &builder{msg: vici.NewMessage()} }

// set adds a field: a string, a list of strings or a section.
func (b *builder) set(key string, value any) *builder {
	if section, ok := value.(*builder); ok {
		b.err = errors.Join(b.err, section.err)
		value = section.msg
	}
	if err := b.msg.Set(key, value); err != nil {
		b.err = errors.Join(b.err, fmt.Errorf("VICI field %s: %w", key, err))
	}
	return b
}

// connMessage is the argument of load-conn. It never has `start_action = start`, which would make charon end SAs when a
// changed connection is loaded; dialling is the Manager's, or the trap policy's.
func connMessage(name string, i Interface) (*vici.Message, error) {
	ifID := strconv.FormatUint(uint64(i.IfID), 10)
	action := "trap"
	if i.Initiate == Never {
		action = "none"
	}
	child := newMessage().
		set("mode", "tunnel").
		set("local_ts", anywhere).
		set("remote_ts", anywhere).
		set("esp_proposals", i.ESPProposals).
		set("replay_window", strconv.Itoa(replayWindow)).
		set("start_action", action).
		set("close_action", action).
		set("dpd_action", action)
	conn := newMessage().
		set("version", "2").
		set("local_addrs", []string{i.LocalAddress.String()}).
		set("remote_addrs", []string{i.PeerAddress.String()}).
		set("proposals", i.IKEProposals).
		set("if_id_in", ifID).
		set("if_id_out", ifID).
		set("mobike", "yes").
		set("dpd_delay", seconds(i.DPD)).
		set("keyingtries", "1").
		// A peer that claims to be new must not end the SAs of whoever has the same identities.
		set("unique", "never").
		set("local", newMessage().set("auth", "psk").set("id", i.LocalID)).
		set("remote", newMessage().set("auth", "psk").set("id", i.RemoteID)).
		set("children", newMessage().set(i.Name, child))
	whole := newMessage().set(name, conn)
	return whole.msg, whole.err
}

// secretMessage is the argument of load-shared. The peer's identity is the only owner, see the package's comment.
func secretMessage(name string, i Interface) (*vici.Message, error) {
	b := newMessage().
		set("id", name).
		set("type", "IKE").
		set("data", string(i.PSK)).
		set("owners", []string{i.RemoteID})
	return b.msg, b.err
}

// arguments builds a flat message of keys and values in turn.
func arguments(pairs ...string) *vici.Message {
	b := newMessage()
	for n := 0; n+1 < len(pairs); n += 2 {
		b.set(pairs[n], pairs[n+1])
	}
	return b.msg
}

// seconds rounds up to what charon can count.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10) + "s"
}

// text, texts and section read one field each of a message; what is absent, or of another kind, is empty.
func text(m *vici.Message, key string) string {
	s, _ := m.Get(key).(string)
	return s
}

func texts(m *vici.Message, key string) []string {
	s, _ := m.Get(key).([]string)
	return s
}

func section(m *vici.Message, key string) *vici.Message {
	if s, ok := m.Get(key).(*vici.Message); ok && s != nil {
		return s
	}
	return vici.NewMessage()
}

func number(m *vici.Message, key string) uint64 {
	n, _ := strconv.ParseUint(text(m, key), 10, 64)
	return n
}

// duration reads a number of seconds, which is negative where the moment has passed.
func duration(m *vici.Message, key string) time.Duration {
	const most = int64(1<<63-1) / int64(time.Second)
	n, _ := strconv.ParseInt(text(m, key), 10, 64)
	return time.Duration(min(max(n, -most), most)) * time.Second
}

func hexID(m *vici.Message, key string) uint32 {
	n, _ := strconv.ParseUint(text(m, key), 16, 32)
	return uint32(n)
}

func addrPort(m *vici.Message, host, port string) netip.AddrPort {
	addr, err := netip.ParseAddr(text(m, host))
	if err != nil {
		return netip.AddrPort{}
	}
	p, _ := strconv.ParseUint(text(m, port), 10, 16)
	return netip.AddrPortFrom(addr, uint16(p))
}

// firstSection is the one section that charon names after the connection or the child, and that name.
func firstSection(m *vici.Message) (name string, s *vici.Message, ok bool) {
	for _, key := range m.Keys() {
		if s, ok := m.Get(key).(*vici.Message); ok && s != nil {
			return key, s, true
		}
	}
	return "", nil, false
}
