package compartments

import (
	"context"
	"errors"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// linkEventBuffer holds the kernel's link events until they are read, in bytes: setting up some hundred tenants makes
// thousands.
const linkEventBuffer = 4 << 20

// NICEvent tells that a NIC went, or came (back).
type NICEvent struct {
	// Name of the NIC; empty where any may have changed unseen, as before events were followed.
	Name string
	// Present is false for a NIC that went; Up tells whether it is administratively up.
	Present, Up bool
}

// nicState is what matters of a NIC: an interface that was made anew has another index, and one that was down has lost
// its routes.
type nicState struct {
	index int
	up    bool
}

// FollowNICs calls event when a NIC of the Default compartment for which ours says true goes, appears anew or comes up
// again, until ctx or the kernel's subscription ends; the error is of the latter. The first call, with an empty event,
// is made as soon as nothing can be missed any more. Neither function may wait: events that nobody reads are lost.
func (m *Manager) FollowNICs(ctx context.Context, ours func(name string) bool, event func(NICEvent)) error {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	defer func() {
		close(done)
		for range updates { // the sender would wait for ever
			continue
		}
	}()
	failed := make(chan error, 1)
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
		ReceiveBufferSize: linkEventBuffer, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
	})
	if err != nil {
		close(updates) // nobody else does
		return err
	}
	event(NICEvent{})
	seen := map[string]nicState{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case update, ok := <-updates:
			if !ok {
				return errors.Join(errors.New("the kernel ended the subscription"), first(failed))
			}
			if name := update.Attrs().Name; ours(name) {
				note(seen, name, update, event)
			}
		}
	}
}

// first is an error that waits, or nil.
func first(errs <-chan error) error {
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// note takes up a link event of one of our NICs and passes on what is news.
func note(seen map[string]nicState, name string, update netlink.LinkUpdate, event func(NICEvent)) {
	if update.Header.Type == unix.RTM_DELLINK {
		delete(seen, name)
		event(NICEvent{Name: name})
		return
	}
	before, known := seen[name]
	now := nicState{index: update.Attrs().Index, up: update.Attrs().Flags&net.FlagUp != 0}
	seen[name] = now
	if !known || before.index != now.index || now.up && !before.up {
		event(NICEvent{Name: name, Present: true, Up: now.up})
	}
}
