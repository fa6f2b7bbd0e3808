package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/strongswan/govici/vici"
)

// SA is an established CHILD_SA as its owner knows it.
type SA struct {
	SPIIn, SPIOut     string // hexadecimal, as on the wire
	BytesIn, BytesOut string
	RemoteHost        string
}

// section is a part of a vici message: values are strings, lists of strings and sections.
type section map[string]any

func (s section) message() (*vici.Message, error) {
	m := vici.NewMessage()
	for key, value := range s {
		if sub, ok := value.(section); ok {
			message, err := sub.message()
			if err != nil {
				return nil, err
			}
			value = message
		}
		if err := m.Set(key, value); err != nil {
			return nil, fmt.Errorf("vici message: %w", err)
		}
	}
	return m, nil
}

// Up dials the gateway, where no tunnel stands, and waits until one does, at most until the context ends (30 s without a
// deadline). The error holds charon's own words.
func (s *Site) Up(ctx context.Context) error {
	return s.vici(ctx, func(ctx context.Context, session *vici.Session) error {
		deadline, _ := ctx.Deadline()
		patience := strconv.FormatInt(time.Until(deadline).Milliseconds(), 10)
		err := s.call(ctx, session, "initiate", section{"child": siteTunnel, "ike": siteTunnel, "timeout": patience})
		if sas, listErr := s.list(ctx, session); listErr == nil && len(sas) > 0 {
			return nil // charon makes no second one, and calls that a failure
		}
		if err != nil {
			return fmt.Errorf("dial the gateway: %w; the end of charon's log:\n%s", err, s.Charon.LogTail(12))
		}
		return s.awaitTunnel(ctx, session, true)
	})
}

// Down takes the site's tunnels down, telling the gateway.
func (s *Site) Down(ctx context.Context) error {
	return s.vici(ctx, func(ctx context.Context, session *vici.Session) error {
		err := s.call(ctx, session, "terminate", section{"ike": siteTunnel, "timeout": "10000"})
		return errors.Join(err, s.awaitTunnel(ctx, session, false))
	})
}

// awaitTunnel waits until charon lists an established tunnel, or none: it answers commands a little before that.
func (s *Site) awaitTunnel(ctx context.Context, session *vici.Session, want bool) error {
	for {
		sas, err := s.list(ctx, session)
		if err != nil || len(sas) > 0 == want {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d tunnels are established: %w", len(sas), ctx.Err())
		}
		wait(ctx, 20*time.Millisecond)
	}
}

// SAs are the site's established tunnels.
func (s *Site) SAs(ctx context.Context) ([]SA, error) {
	var sas []SA
	err := s.vici(ctx, func(ctx context.Context, session *vici.Session) error {
		var err error
		sas, err = s.list(ctx, session)
		return err
	})
	return sas, err
}

// list asks charon for its SAs. The answer comes as events, which are collected here: govici v0.8.0's CallStreaming
// chooses at random between an event and the end of the answer when both have come, and then loses the event.
func (s *Site) list(ctx context.Context, session *vici.Session) ([]SA, error) {
	events := make(chan vici.Event, 64)
	session.NotifyEvents(events)
	defer session.StopEvents(events)
	if err := session.Subscribe("list-sa"); err != nil {
		return nil, fmt.Errorf("list SAs: %w", err)
	}
	if err := s.call(ctx, session, "list-sas", nil); err != nil {
		return nil, err
	}
	var sas []SA
	for {
		select {
		case event, ok := <-events:
			if !ok {
				return nil, errors.New("list SAs: charon ended the session")
			}
			sas = append(sas, childSAs(event.Message)...)
		default:
			return sas, nil
		}
	}
}

// childSAs reads the established children of a list-sa event.
func childSAs(event *vici.Message) []SA {
	var sas []SA
	for _, name := range event.Keys() {
		ike, ok := event.Get(name).(*vici.Message)
		if !ok {
			continue
		}
		children, ok := ike.Get("child-sas").(*vici.Message)
		if !ok {
			continue
		}
		for _, key := range children.Keys() {
			child, ok := children.Get(key).(*vici.Message)
			if !ok || text(child, "state") != "INSTALLED" {
				continue
			}
			sas = append(sas, SA{
				SPIIn: text(child, "spi-in"), SPIOut: text(child, "spi-out"), RemoteHost: text(ike, "remote-host"),
				BytesIn: text(child, "bytes-in"), BytesOut: text(child, "bytes-out"),
			})
		}
	}
	return sas
}

func text(m *vici.Message, key string) string {
	value, _ := m.Get(key).(string)
	return value
}

func (s *Site) call(ctx context.Context, session *vici.Session, command string, what section) error {
	message, err := what.message()
	if err != nil {
		return err
	}
	if _, err := session.Call(ctx, command, message); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

// viciTimeout bounds a conversation with charon where the caller does not.
const viciTimeout = 30 * time.Second

// vici runs do with a session of the site's charon, and a context that has a deadline.
func (s *Site) vici(ctx context.Context, do func(context.Context, *vici.Session) error) error {
	if s.Charon == nil {
		return fmt.Errorf("site %s: charon was not started", s.Name)
	}
	if _, ok := ctx.Deadline(); !ok {
		bounded, cancel := context.WithTimeout(ctx, viciTimeout)
		defer cancel()
		ctx = bounded
	}
	session, err := vici.NewSession(vici.WithSocketPath(s.Charon.Socket))
	if err != nil {
		return fmt.Errorf("site %s: %w", s.Name, err)
	}
	defer func() { _ = session.Close() }()
	if err := do(ctx, session); err != nil {
		return fmt.Errorf("site %s: %w", s.Name, err)
	}
	return nil
}
