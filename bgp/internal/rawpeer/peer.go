// Package rawpeer is a router's end of a BGP session for tests. It says exactly what it is told to say, however wrong, and
// keeps what it hears.
package rawpeer

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// Peer is one TCP connection to a speaker. Its methods may be called at the same time.
type Peer struct {
	options Options
	conn    *net.TCPConn

	write sync.Mutex

	mu    sync.Mutex
	heard []*bgp.BGPMessage
	ended chan struct{} // closed when nothing can be read any more
	cause error
}

func newPeer(options Options, conn *net.TCPConn) *Peer {
	return &Peer{options: options, conn: conn, ended: make(chan struct{})}
}

// Close ends the connection without a word, as a router does that loses its power.
func (p *Peer) Close() { _ = p.conn.Close() }

// Abort ends the connection by a reset.
func (p *Peer) Abort() {
	_ = p.conn.SetLinger(0)
	_ = p.conn.Close()
}

// Send writes b as it is.
func (p *Peer) Send(b []byte) error {
	p.write.Lock()
	defer p.write.Unlock()
	_, err := p.conn.Write(b)
	return err
}

// Establish exchanges OPEN and KEEPALIVE. Thereafter the peer sends KEEPALIVE every second and, unless it is deaf, keeps
// what it hears.
func (p *Peer) Establish() error {
	_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if err := p.Send(p.options.Open()); err != nil {
		return fmt.Errorf("send OPEN: %w", err)
	}
	for _, kind := range []uint8{bgp.BGP_MSG_OPEN, bgp.BGP_MSG_KEEPALIVE} {
		m, err := p.read()
		if err != nil {
			return fmt.Errorf("await message of type %d: %w", kind, err)
		}
		if m.Header.Type != kind {
			return fmt.Errorf("await message of type %d: got %w", kind, unexpected(m))
		}
		if kind == bgp.BGP_MSG_OPEN {
			if err := p.Send(Keepalive()); err != nil {
				return fmt.Errorf("send KEEPALIVE: %w", err)
			}
		}
	}
	_ = p.conn.SetReadDeadline(time.Time{})
	if !p.options.Deaf {
		p.Listen()
	}
	go p.keepalive()
	return nil
}

// Greeted tells whether the speaker says something of itself before it ends the connection: it begins with its OPEN where
// it means to keep it. What it said is not kept.
func (p *Peer) Greeted() bool {
	_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := p.read()
	_ = p.conn.SetReadDeadline(time.Time{})
	return err == nil
}

// Listen reads what comes from now on, until the connection ends.
func (p *Peer) Listen() {
	go func() {
		defer close(p.ended)
		for {
			m, err := p.read()
			p.mu.Lock()
			if err != nil {
				p.cause = err
				p.mu.Unlock()
				return
			}
			p.heard = append(p.heard, m)
			p.mu.Unlock()
		}
	}()
}

// Ended is closed when the speaker has ended the connection.
func (p *Peer) Ended() <-chan struct{} { return p.ended }

// Heard is all that the speaker has said since the session was established.
func (p *Peer) Heard() []*bgp.BGPMessage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*bgp.BGPMessage(nil), p.heard...)
}

// Notification is how the speaker ended the session; nil: it sent none.
func (p *Peer) Notification() *bgp.BGPNotification {
	for _, m := range p.Heard() {
		if n, ok := m.Body.(*bgp.BGPNotification); ok {
			return n
		}
	}
	return nil
}

// keepalive says every second that the peer is there.
func (p *Peer) keepalive() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range tick.C {
		if p.Send(Keepalive()) != nil {
			return
		}
	}
}

// read takes one message from the connection.
func (p *Peer) read() (*bgp.BGPMessage, error) {
	header := make([]byte, bgp.BGP_HEADER_LENGTH)
	if err := readFull(p.conn, header); err != nil {
		return nil, err
	}
	h := &bgp.BGPHeader{}
	if err := h.DecodeFromBytes(header); err != nil {
		return nil, err
	}
	body := make([]byte, int(h.Len)-bgp.BGP_HEADER_LENGTH)
	if err := readFull(p.conn, body); err != nil {
		return nil, err
	}
	return bgp.ParseBGPBody(h, body)
}

// unexpected describes a message that came instead of another.
func unexpected(m *bgp.BGPMessage) error {
	if n, ok := m.Body.(*bgp.BGPNotification); ok {
		return &NotificationError{Code: n.ErrorCode, Subcode: n.ErrorSubcode}
	}
	return fmt.Errorf("message of type %d", m.Header.Type)
}

// NotificationError is a NOTIFICATION that came instead of what was awaited (RFC 4271, 4.5).
type NotificationError struct {
	Code, Subcode uint8
}

// Error names both codes.
func (e *NotificationError) Error() string {
	return fmt.Sprintf("notification %d/%d", e.Code, e.Subcode)
}

// NotifiedOf tells whether err is a notification of that code and subcode.
func NotifiedOf(err error, code, subcode uint8) bool {
	var n *NotificationError
	return errors.As(err, &n) && n.Code == code && n.Subcode == subcode
}
