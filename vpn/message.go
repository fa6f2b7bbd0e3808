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

// orders are what charon is told about one interface, in this order: what an earlier one of a kind leaves out is
// unloaded.
type orders struct {
	secrets []order // load-shared; of several for one identity, charon uses the one that was loaded last
	conns   []order // load-conn
}

// order is one message and the name that charon knows its object by.
type order struct {
	name string
	msg  *vici.Message
}

// add appends a message, unless building it failed.
func add(list []order, name string, b *builder) ([]order, error) {
	if b.err != nil {
		return list, b.err
	}
	return append(list, order{name, b.msg}), nil
}

// messages are the orders that carry out one interface.
func messages(name string, i complete) (orders, error) {
	switch i.Method {
	case Certificate:
		return certificateOrders(name, i)
	case EAP:
		return eapOrders(name, i)
	default:
		return pskOrders(name, i)
	}
}

// connBase is what the load-conn of every kind of authentication has in common. It never has `start_action = start`,
// which would make charon end SAs when a changed connection is loaded; dialling is the Manager's, or the trap policy's.
// The action is what the child does while there is no SA: trap or none.
func connBase(i complete, action string) *builder {
	ifID := strconv.FormatUint(uint64(i.IfID), 10)
	return newMessage().
		set("version", "2").
		set("local_addrs", []string{i.LocalAddress.String()}).
		set("remote_addrs", remoteAddrs(i)).
		set("proposals", i.IKEProposals).
		set("if_id_in", ifID).
		set("if_id_out", ifID).
		set("mobike", yesNo(!i.NoMOBIKE)).
		set("fragmentation", yesNo(!i.NoFragmentation)).
		set("encap", yesNo(i.ForceEncapsulation)).
		set("dpd_delay", seconds(i.DPD)).
		setTime("rekey_time", i.IKELifetime).
		set("keyingtries", "1").
		set("send_cert", "always").
		// A peer that claims to be new must not end the SAs of whoever has the same identities.
		set("unique", "never").
		set("children", newMessage().set(i.Name, childMessage(i, action)))
}

// Actions of a child.
const (
	trap = "trap" // a packet dials
	none = "none"
)

// trapWhere is the action of the connection by which an interface dials.
func trapWhere(i complete) string {
	if i.Initiate == Never || !i.peer().IsValid() {
		return none
	}
	return trap
}

func childMessage(i complete, action string) *builder {
	b := newMessage().
		set("mode", "tunnel").
		set("local_ts", anywhere).
		set("remote_ts", anywhere).
		set("esp_proposals", i.ESPProposals).
		set("replay_window", strconv.Itoa(replayWindow)).
		setTime("rekey_time", i.ESPLifetime).
		setTime("inactivity", i.Idle).
		set("start_action", action).
		set("close_action", action).
		set("dpd_action", action)
	if i.ESPLifetimeBytes > 0 {
		b.set("rekey_bytes", strconv.FormatUint(i.ESPLifetimeBytes, 10))
	}
	if i.HardwareOffload {
		b.set("hw_offload", "auto")
	}
	return b
}

// remoteAddrs is where the peer may be. The first is dialled. One that is known by a name only, or by none, may dial from
// anywhere: its certificate or its user says who it is, and a name may stand for another address by now.
func remoteAddrs(i complete) []string {
	switch {
	case i.PeerAddress.IsValid():
		return []string{i.PeerAddress.String()}
	case i.resolved.IsValid():
		return []string{i.resolved.String(), "%any"}
	}
	return []string{"%any"}
}

// setTime adds a duration, unless it is 0.
func (b *builder) setTime(key string, d time.Duration) *builder {
	if d > 0 {
		b.set(key, seconds(d))
	}
	return b
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
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
