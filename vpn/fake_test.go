package vpn

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strongswan/govici/vici"
)

// fakeCharon speaks VICI's wire format on a socket, remembers what was loaded, and lists SAs and raises events as it is
// told.
type fakeCharon struct {
	t      *testing.T
	socket string
	listen net.Listener

	mu       sync.Mutex
	commands []string // "load-conn Contoso/IfCe1", "terminate 7", ...
	conns    map[string]*vici.Message
	secrets  map[string]*vici.Message
	sas      map[string]*vici.Message // by uniqueid: the message of list-sa
	refuse   map[string]string        // command line -> errmsg
	eager    *vici.Message            // raised as child-updown as soon as that is subscribed to
	clients  map[net.Conn]map[string]bool
}

func newFake(t *testing.T) *fakeCharon {
	t.Helper()
	f := &fakeCharon{
		t: t, socket: filepath.Join(t.TempDir(), "vici"), conns: map[string]*vici.Message{},
		secrets: map[string]*vici.Message{}, sas: map[string]*vici.Message{}, refuse: map[string]string{},
	}
	t.Cleanup(f.stop)
	return f
}

func (f *fakeCharon) start() {
	f.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(f.t.Context(), "unix", f.socket)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.listen, f.clients = l, map[net.Conn]map[string]bool{}
	f.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.clients[conn] = map[string]bool{}
			f.mu.Unlock()
			go f.serve(conn)
		}
	}()
}

// stop ends it as kill -9 would: what was loaded is gone.
func (f *fakeCharon) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listen != nil {
		f.listen.Close()
	}
	for conn := range f.clients {
		conn.Close()
	}
	clear(f.conns)
	clear(f.secrets)
	clear(f.sas)
}

// Packet types of VICI.
const (
	cmdRequest, cmdResponse, eventRegister, eventConfirm, eventPacket = 0, 1, 3, 5, 7
)

func (f *fakeCharon) serve(conn net.Conn) {
	for {
		packet, err := readPacket(conn)
		if err != nil || len(packet) < 2 {
			return
		}
		name := string(packet[2 : 2+packet[1]])
		f.mu.Lock()
		switch packet[0] {
		case eventRegister:
			f.clients[conn][name] = true
			if f.eager != nil && name == "child-updown" {
				f.send(conn, eventPacket, name, f.eager)
			}
			f.send(conn, eventConfirm, "", nil)
		case cmdRequest:
			in, err := decodeMessage(packet[2+packet[1]:])
			if err != nil {
				f.t.Error(err)
			}
			f.send(conn, cmdResponse, "", f.command(conn, name, in))
		}
		f.mu.Unlock()
	}
}

// command carries out one command. It must be called with mu held.
func (f *fakeCharon) command(conn net.Conn, name string, in *vici.Message) *vici.Message {
	words := []string{name}
	for _, key := range []string{"id", "name", "ike-id", "child-id", "ike"} {
		if value := text(in, key); value != "" && name != "list-sas" {
			words = append(words, value)
		}
	}
	if name == "load-conn" {
		words = append(words, in.Keys()[0])
	}
	line := strings.Join(words, " ")
	if name != "version" && name != "list-sas" && name != "list-conns" && name != "get-shared" {
		f.commands = append(f.commands, line)
	}
	if reason := f.refuse[line]; reason != "" {
		return arguments("success", "no", "errmsg", reason)
	}
	out := newMessage()
	switch name {
	case "list-sas":
		for _, id := range sortedNumbers(f.sas) {
			if ike := text(in, "ike"); ike == "" || f.sas[id].Keys()[0] == ike {
				f.send(conn, eventPacket, "list-sa", f.sas[id])
			}
		}
	case "list-conns":
		for conn2, m := range f.conns {
			f.send(conn, eventPacket, "list-conn", newMessage().set(conn2, listed(section(m, conn2))).msg)
		}
	case "get-shared":
		var keys []string
		for key := range f.secrets {
			keys = append(keys, key)
		}
		out.set("keys", keys)
	case "load-conn":
		f.conns[in.Keys()[0]] = in
	case "load-shared":
		f.secrets[text(in, "id")] = in
	case "unload-conn":
		delete(f.conns, text(in, "name"))
	case "unload-shared":
		delete(f.secrets, text(in, "id"))
	case "terminate":
		sa, ok := f.sas[text(in, "ike-id")]
		if !ok {
			return arguments("success", "no", "errmsg", "no matching SAs to terminate found", "matches", "0")
		}
		delete(f.sas, text(in, "ike-id"))
		f.tell("ike-updown", sa)
	}
	return out.set("success", "yes").msg
}

// listed turns the argument of load-conn into what list-conns says of it.
func listed(m *vici.Message) *builder {
	return newMessage().set("local_addrs", texts(m, "local_addrs")).set("remote_addrs", texts(m, "remote_addrs")).
		set("local-1", newMessage().set("id", text(section(m, "local"), "id"))).
		set("remote-1", newMessage().set("id", text(section(m, "remote"), "id")))
}

// raise sends an event to whoever subscribed to it.
func (f *fakeCharon) raise(event string, m *vici.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell(event, m)
}

// tell is raise with mu held.
func (f *fakeCharon) tell(event string, m *vici.Message) {
	for conn, events := range f.clients {
		if events[event] {
			f.send(conn, eventPacket, event, m)
		}
	}
}

// did returns the commands since the last call.
func (f *fakeCharon) did() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := f.commands
	f.commands = nil
	return done
}

// establish makes an SA as charon would list it, without an event.
func (f *fakeCharon) establish(name, id string, i Interface) *vici.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sas[id] = saMessage(name, id, i).msg
	return f.sas[id]
}

func (f *fakeCharon) send(conn net.Conn, kind byte, name string, m *vici.Message) {
	packet := []byte{kind}
	if name != "" {
		packet = append(append(packet, byte(len(name))), name...)
	}
	if m != nil {
		packet = append(packet, encodeMessage(m)...)
	}
	_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(packet))), packet...))
}

// saMessage is an established IKE_SA with one CHILD_SA, shaped as charon 6.0.1 tells it.
func saMessage(name, id string, i Interface) *builder {
	ifID := strconv.FormatUint(uint64(i.IfID), 16)
	child := newMessage().set("name", i.Name).set("uniqueid", "1"+id).set("reqid", "1").set("state", childInstalled).
		set("mode", "TUNNEL").set("protocol", "ESP").set("spi-in", "c33b42d1").set("spi-out", "c32f40d1").
		set("encr-alg", "AES_GCM_16").set("encr-keysize", "256").set("bytes-in", "84").set("packets-in", "1").
		set("bytes-out", "168").set("packets-out", "2").set("rekey-time", "3448").set("life-time", "3956").
		set("install-time", "4").set("local-ts", anywhere).set("remote-ts", anywhere)
	return newMessage().set(name, newMessage().
		set("uniqueid", id).set("version", "2").set("state", ikeEstablished).
		set("local-host", i.LocalAddress.String()).set("local-port", "4500").set("local-id", i.LocalID).
		set("remote-host", i.PeerAddress.String()).set("remote-port", "4500").set("remote-id", i.RemoteID).
		set("initiator", "yes").set("initiator-spi", "00000000000000"+id).set("if-id-in", ifID).set("if-id-out", ifID).
		set("encr-alg", "AES_CBC").set("encr-keysize", "256").set("integ-alg", "HMAC_SHA2_256_128").
		set("prf-alg", "PRF_HMAC_SHA2_256").set("dh-group", "MODP_2048").set("established", "4").
		set("child-sas", newMessage().set(i.Name+"-1"+id, child)))
}

// The wire format: a type octet, then a name with one octet of length, then a value with two.
const (
	sectionStart, sectionEnd, keyValue, listStart, listItem, listEnd = 1, 2, 3, 4, 5, 6
)

func encodeMessage(m *vici.Message) []byte {
	var out []byte
	named := func(kind byte, name string) { out = append(append(out, kind, byte(len(name))), name...) }
	value := func(v string) { out = append(binary.BigEndian.AppendUint16(out, uint16(len(v))), v...) }
	for _, key := range m.Keys() {
		switch v := m.Get(key).(type) {
		case string:
			named(keyValue, key)
			value(v)
		case []string:
			named(listStart, key)
			for _, item := range v {
				out = append(out, listItem)
				value(item)
			}
			out = append(out, listEnd)
		case *vici.Message:
			named(sectionStart, key)
			out = append(append(out, encodeMessage(v)...), sectionEnd)
		}
	}
	return out
}

var errMalformed = errors.New("malformed message")

func decodeMessage(b []byte) (*vici.Message, error) {
	m, rest, err := decodeSection(b)
	if err == nil && len(rest) > 0 {
		err = errMalformed
	}
	return m, err
}

// decodeSection decodes up to the section's end, or the data's.
func decodeSection(b []byte) (*vici.Message, []byte, error) {
	m := newMessage()
	take := func(width int) string {
		if len(b) < width {
			m.err = errMalformed
			return ""
		}
		size := int(b[width-1])
		if width == 2 {
			size = int(binary.BigEndian.Uint16(b))
		}
		if len(b) < width+size {
			m.err = errMalformed
			return ""
		}
		v := string(b[width : width+size])
		b = b[width+size:]
		return v
	}
	for len(b) > 0 && m.err == nil {
		kind := b[0]
		b = b[1:]
		switch kind {
		case sectionEnd:
			return m.msg, b, nil
		case sectionStart:
			name := take(1)
			sub, rest, err := decodeSection(b)
			if err != nil {
				return m.msg, nil, err
			}
			b = rest
			m.set(name, sub)
		case keyValue:
			name := take(1)
			m.set(name, take(2))
		case listStart:
			name := take(1)
			items := []string{}
			for m.err == nil && len(b) > 0 && b[0] == listItem {
				b = b[1:]
				items = append(items, take(2))
			}
			if len(b) == 0 || b[0] != listEnd {
				return m.msg, nil, errMalformed
			}
			b = b[1:]
			m.set(name, items)
		default:
			return m.msg, nil, errMalformed
		}
	}
	return m.msg, b, m.err
}

func readPacket(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.BigEndian.Uint32(head))
	_, err := io.ReadFull(r, packet)
	return packet, err
}

func sortedNumbers(m map[string]*vici.Message) []string {
	var ids []string
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		if a < b {
			return -1
		}
		return 1
	})
	return ids
}

// soon waits for a condition and fails the test when it does not come true.
func soon(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatal(what, "did not happen")
		}
		<-time.After(5 * time.Millisecond)
	}
}
