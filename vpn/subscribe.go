package vpn

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/strongswan/govici/vici"
)

// subscribe opens a session for events alone, so that they do not wait behind the answers to commands. After each look
// at what has come it pauses. The channel is closed when the session ends.
func subscribe(socket string, pause time.Duration, events ...string) (*vici.Session, <-chan vici.Event, error) {
	var held *holdingConn
	session, err := vici.NewSession(vici.WithSocketPath(socket), vici.WithDialContext(
		func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			held = &holdingConn{Conn: conn}
			held.in = bufio.NewReaderSize(&pausingReader{from: conn, pause: pause, on: &held.release}, readAt)
			return held, err
		}))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to charon at %s: %w", socket, err)
	}
	ch := make(chan vici.Event, streamBuffer)
	session.NotifyEvents(ch)
	if err := session.Subscribe(events...); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("subscribe to charon's events: %w", err), session.Close())
	}
	held.release.Store(true)
	// The answer to any command makes the reader come back for what was held.
	if _, err := session.Call(context.Background(), "version", nil); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("ask charon for its version: %w", err), session.Close())
	}
	return session, ch, nil
}

// holdingConn keeps events back until the session is subscribed to all that it wants. govici holds its lock while it
// waits for the answer to a subscription, and its reader needs that lock to pass on an event: one event that arrives
// between two subscriptions, and nothing moves any more.
//
// It also passes over the lines of charon's log that nobody reads anything from, before they cost more than a look: they
// are most of what comes.
type holdingConn struct {
	net.Conn
	in      *bufio.Reader
	release atomic.Bool
	held    [][]byte // whole packets
	rest    []byte   // of the packet that is being read
}

const (
	viciLength   = 4       // octets of length before each packet
	viciEvent    = 7       // packet type of an event
	viciKeyValue = 3       // element type of a key, behind an octet of its length, and a value, behind two
	viciMost     = 1 << 20 // charon's packets end at 512 kB
)

// Read is called by govici's one reader only.
func (c *holdingConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.release.Load() && len(c.held) > 0 {
			c.rest, c.held = c.held[0], c.held[1:]
			break
		}
		packet, err := c.packet()
		if err != nil {
			return 0, err
		}
		if idleTalk(packet[viciLength:]) {
			continue
		}
		if packet[viciLength] == viciEvent && (!c.release.Load() || len(c.held) > 0) {
			c.held = append(c.held, packet)
			continue
		}
		c.rest = packet
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// packet reads one packet, its length included.
func (c *holdingConn) packet() ([]byte, error) {
	head := make([]byte, viciLength)
	if _, err := io.ReadFull(c.in, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head)
	if size == 0 || size > viciMost {
		return nil, fmt.Errorf("charon sent a packet of %d octets", size)
	}
	packet := make([]byte, viciLength+size)
	copy(packet, head)
	_, err := io.ReadFull(c.in, packet[viciLength:])
	return packet, err
}

// pausingReader lets what comes pile up for a while after it was read, so that it is read at one go, and longer when much
// came: that each line of charon's log wakes somebody up, here and in charon, costs more than all else that is done
// about it.
type pausingReader struct {
	from  io.Reader
	pause time.Duration // at least
	on    *atomic.Bool
	next  time.Time
	came  int // octets since the last pause
}

const (
	// muchCame is what makes a pause ten times as long.
	muchCame = 8 << 10
	readAt   = 1 << 16 // one go
)

func (r *pausingReader) Read(p []byte) (int, error) {
	if wait := time.Until(r.next); wait > 0 {
		<-time.After(wait)
	}
	n, err := r.from.Read(p)
	r.came += n
	if !r.on.Load() || n == len(p) {
		return n, err
	}
	pause := r.pause
	if r.came > muchCame {
		pause *= 10
	}
	r.next, r.came = time.Now().Add(pause), 0
	return n, err
}

var (
	logEvent = append([]byte{viciEvent, byte(len("log"))}, "log"...)
	msgKey   = append([]byte{viciKeyValue, byte(len("msg"))}, "msg"...)
)

// idleTalk tells whether the packet is an event of charon's log whose line tells nothing. What has another shape than
// charon's is left to be read in full.
func idleTalk(packet []byte) bool {
	if !bytes.HasPrefix(packet, logEvent) {
		return false
	}
	_, value, ok := bytes.Cut(packet, msgKey)
	if !ok || len(value) < 2 {
		return false
	}
	size := int(binary.BigEndian.Uint16(value))
	return len(value) >= 2+size && !telling(string(value[2:2+size]))
}
