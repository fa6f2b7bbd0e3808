package vpn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/strongswan/govici/vici"
)

const (
	// callTimeout bounds one command. govici ends the session after 5 s without an answer unless a deadline says other.
	callTimeout = 60 * time.Second
	// streamBuffer is how many streamed messages may wait. govici drops what finds no room.
	streamBuffer = 16384
)

// client sends commands to charon over one VICI session, one at a time.
//
// Streamed answers are subscribed to as events and collected here. govici's own CallStreaming picks at random between a
// waiting event and the waiting final answer, so that it may end early and tell less than charon said.
type client struct {
	mu      sync.Mutex
	session *vici.Session
	stream  chan vici.Event
	once    sync.Once
	gone    chan struct{} // closed when the session is of no use any more

	endingMu sync.Mutex
	ending   map[string]bool // IKE_SAs that charon was told to end, by id
}

// dial opens a session for commands.
func dial(socket string) (*client, error) {
	session, err := vici.NewSession(vici.WithSocketPath(socket))
	if err != nil {
		return nil, fmt.Errorf("connect to charon at %s: %w", socket, err)
	}
	c := &client{
		session: session, stream: make(chan vici.Event, streamBuffer), gone: make(chan struct{}), ending: map[string]bool{},
	}
	session.NotifyEvents(c.stream)
	if err := session.Subscribe("list-sa", "list-conn"); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe at charon: %w", err), session.Close())
	}
	return c, nil
}

// close ends the session, also for whoever waits for gone.
func (c *client) close() {
	c.once.Do(func() {
		close(c.gone)
		_ = c.session.Close()
	})
}

// ended tells whether the session is of no use any more.
func (c *client) ended() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// willEnd notes that charon is told to end an IKE_SA, so that its end is no failure.
func (c *client) willEnd(id string) {
	c.endingMu.Lock()
	defer c.endingMu.Unlock()
	c.ending[id] = true
}

// toldToEnd tells whether that was so, and forgets it.
func (c *client) toldToEnd(id string) bool {
	c.endingMu.Lock()
	defer c.endingMu.Unlock()
	told := c.ending[id]
	delete(c.ending, id)
	return told
}

// call sends a command that is answered by one message. A command that charon refuses leaves the session usable; any
// other error ends it.
func (c *client) call(ctx context.Context, command string, in *vici.Message) (*vici.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.send(ctx, command, in)
}

// list sends a command that streams its answer.
func (c *client) list(ctx context.Context, command string, in *vici.Message) ([]*vici.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := c.send(ctx, command, in)
		done <- err
	}()
	var messages []*vici.Message
	for {
		select {
		case ev, ok := <-c.stream:
			if !ok {
				c.close()
				return nil, errors.Join(fmt.Errorf("charon, %s: %w", command, errSessionEnded), <-done)
			}
			messages = append(messages, ev.Message)
		case err := <-done:
			// The answer comes after the stream, so whatever belongs to it is in the channel by now.
			for len(c.stream) > 0 {
				if ev, ok := <-c.stream; ok {
					messages = append(messages, ev.Message)
				}
			}
			return messages, err
		}
	}
}

var errSessionEnded = errors.New("the session ended")

// send must be called with mu held. The caller's cancellation counts before, not during a command: a command that was
// given up would leave its answer to the next one.
func (c *client) send(ctx context.Context, command string, in *vici.Message) (*vici.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	out, err := c.session.Call(ctx, command, in)
	if err != nil {
		if out == nil {
			c.close()
			return nil, fmt.Errorf("charon, %s: %w", command, err)
		}
		return out, &refusal{command: command, reason: text(out, "errmsg")}
	}
	return out, nil
}

// refusal is charon's own word on a command that it did not carry out.
type refusal struct{ command, reason string }

func (r *refusal) Error() string { return fmt.Sprintf("charon refused %s: %s", r.command, r.reason) }

// refused tells whether charon answered, as opposed to a session that broke.
func refused(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}
