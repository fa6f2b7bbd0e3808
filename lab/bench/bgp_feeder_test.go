package bench_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"bulkhead/bgp"
)

// Types of BGP messages (RFC 4271, 4.1).
const (
	bgpOpen, bgpUpdate, bgpNotification, bgpKeepalive = 1, 2, 3, 4

	bgpHeader = 19
)

// perUpdate is how many prefixes have their path attributes in common, and come in one UPDATE. In the Internet's table it
// is five to ten.
const perUpdate = 8

// feeder is a site's router that says what it was prepared to say, as fast as it is listened to.
type feeder struct {
	conn net.Conn
	// table are the UPDATEs of all its routes.
	table []byte

	mu  sync.Mutex
	err error // guarded by mu: why the session ended
}

// dialBGP brings up a session from a peer's place to the compartment's speaker, which may still be starting.
func (w *bgpWorld) dialBGP(t testing.TB, peer bgp.Peer) *feeder {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		var conn net.Conn
		if conn, err = w.connect(peer); err != nil {
			continue
		}
		if err = openBGP(conn, peer); err == nil {
			f := &feeder{conn: conn}
			go f.listen()
			t.Cleanup(f.close)
			return f
		}
		conn.Close()
	}
	t.Fatalf("no session of %v in 30 s: %v", peer.Address, err)
	return nil
}

func (w *bgpWorld) connect(peer bgp.Peer) (conn net.Conn, err error) {
	err = w.sites.Do(func() error {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(peer.Address, 0)), Timeout: time.Second}
		conn, err = d.Dial("tcp", netip.AddrPortFrom(peer.LocalAddress, 179).String())
		return err
	})
	return conn, err
}

// openBGP says what both sides say before a session is established (RFC 4271, 8).
func openBGP(conn net.Conn, peer bgp.Peer) error {
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	// IPv4 unicast (RFC 4760) and numbers of four bytes (RFC 6793).
	capabilities := binary.BigEndian.AppendUint32([]byte{1, 4, 0, 1, 0, 1, 65, 4}, peer.ASN)
	open := []byte{4, 0, 0, 0, 180}
	binary.BigEndian.PutUint16(open[1:], uint16(peer.ASN))
	open = append(open, peer.Address.AsSlice()...)
	open = append(open, byte(len(capabilities)+2), 2, byte(len(capabilities)))
	if _, err := conn.Write(message(bgpOpen, append(open, capabilities...))); err != nil {
		return err
	}
	for {
		kind, body, err := readBGP(conn)
		switch {
		case err != nil:
			return err
		case kind == bgpNotification:
			return fmt.Errorf("refused: notification % x", body)
		case kind == bgpOpen:
			if _, err := conn.Write(message(bgpKeepalive, nil)); err != nil {
				return err
			}
		case kind == bgpKeepalive:
			return conn.SetDeadline(time.Time{})
		}
	}
}

// listen drops what the speaker says, and answers each KEEPALIVE by one.
func (f *feeder) listen() {
	for {
		kind, body, err := readBGP(f.conn)
		switch {
		case err != nil:
		case kind == bgpNotification:
			err = fmt.Errorf("notification % x", body)
		case kind == bgpKeepalive:
			_, err = f.conn.Write(message(bgpKeepalive, nil))
		}
		if err != nil {
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
			return
		}
	}
}

// ended tells why the session ended; nil: it has not.
func (f *feeder) ended() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *feeder) close() { f.conn.Close() }

// say sends prepared messages.
func (f *feeder) say(messages []byte) error {
	if _, err := f.conn.Write(messages); err != nil {
		return errors.Join(err, f.ended())
	}
	return nil
}

func readBGP(conn net.Conn) (kind byte, body []byte, err error) {
	var header [bgpHeader]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, int(binary.BigEndian.Uint16(header[16:]))-bgpHeader)
	_, err = io.ReadFull(conn, body)
	return header[18], body, err
}

// message puts a header before a body.
func message(kind byte, body []byte) []byte {
	m := make([]byte, bgpHeader, bgpHeader+len(body))
	for i := range 16 {
		m[i] = 0xff
	}
	binary.BigEndian.PutUint16(m[16:], uint16(bgpHeader+len(body)))
	m[18] = kind
	return append(m, body...)
}

// announcements are the UPDATEs of routes first to first+count, each with an AS path and a MED of its own, and the end of
// the table (RFC 4724).
func announcements(peer bgp.Peer, first, count int) []byte {
	var all []byte
	for i := first; i < first+count; i += perUpdate {
		path := []uint32{peer.ASN, uint32(100_000 + i), 200_000, 300_000}[:2+i/perUpdate%3]
		attributes := []byte{0x40, 1, 1, 0, 0x40, 2, byte(2 + 4*len(path)), 2, byte(len(path))}
		for _, asn := range path {
			attributes = binary.BigEndian.AppendUint32(attributes, asn)
		}
		attributes = append(append(attributes, 0x40, 3, 4), peer.Address.AsSlice()...)
		attributes = binary.BigEndian.AppendUint32(append(attributes, 0x80, 4, 4), uint32(i))
		body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attributes)))
		all = append(all, message(bgpUpdate, appendPrefixes(append(body, attributes...), i, min(perUpdate, first+count-i)))...)
	}
	return append(all, message(bgpUpdate, make([]byte, 4))...)
}

// withdrawals are the UPDATEs that take the routes back.
func withdrawals(first, count int) []byte {
	var all []byte
	for i := first; i < first+count; i += perUpdate {
		prefixes := appendPrefixes(nil, i, min(perUpdate, first+count-i))
		body := append(binary.BigEndian.AppendUint16(nil, uint16(len(prefixes))), prefixes...)
		all = append(all, message(bgpUpdate, append(body, 0, 0))...)
	}
	return all
}

func appendPrefixes(to []byte, first, count int) []byte {
	for i := range count {
		ip := routeTo(first + i).Addr().As4()
		to = append(append(to, 24), ip[:3]...)
	}
	return to
}

// Routes are numbered: route n leads to the n-th /24 from here on.
const routesFrom = 20 << 24

func routeTo(n int) netip.Prefix {
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], uint32(routesFrom+n<<8))
	return netip.PrefixFrom(netip.AddrFrom4(ip), 24)
}

// routeNumber is the opposite of routeTo; -1: it is no such route.
func routeNumber(ip [4]byte, bits int) int {
	n := int(binary.BigEndian.Uint32(ip[:])) - routesFrom
	if n < 0 || bits != 24 {
		return -1
	}
	return n >> 8
}
