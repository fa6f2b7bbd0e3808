package ratelimit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// What waits for a bucket's tokens waits in one of three lanes, and the first that is not empty is served: BFD, other
// network control, data. An htb below the bucket keeps them. It only chooses: the rates of its classes are beyond any
// link's, and its tokens never run out. BFD is in its direct queue, which it serves before all classes and which counts
// packets; the others have classes, whose queues count octets as the bucket's own queue would.
var (
	scheduler    = netlink.MakeHandle(0xb5, 0)
	bfdLane      = scheduler
	controlLane  = lane{class: netlink.MakeHandle(0xb5, 1), handle: netlink.MakeHandle(0xb6, 0), priority: 0}
	dataLane     = lane{class: netlink.MakeHandle(0xb5, 2), handle: netlink.MakeHandle(0xb7, 0), priority: 1}
	classedLanes = []lane{controlLane, dataLane}
)

// lane is a class of the scheduler and its queue.
type lane struct {
	class, handle, priority uint32
}

const (
	// bfdQueue is the length of BFD's lane in packets: a few of each session.
	bfdQueue = 64
	// laneRate is 8.8 Tbit/s, in octets a second. The netlink library passes on the lower 32 bits for old kernels, where 0
	// is no rate.
	laneRate = 1<<40 | 1<<32 - 1
	// laneTokens are 64 ms of that rate, as ticks of 64 ns.
	laneTokens = 1_000_000
	// laneQuantum is what a class may send before others of its priority, of which there are none. Without it the kernel
	// warns about the one that it computes.
	laneQuantum = 60_000
)

// laneOf tells whether the qdisc is the scheduler below a bucket, or one of its queues.
func laneOf(q netlink.Qdisc) (isScheduler, isQueue bool) {
	a := q.Attrs()
	isQueue = q.Type() == "bfifo" && slices.ContainsFunc(classedLanes, func(l lane) bool {
		return a.Handle == l.handle && a.Parent == l.class
	})
	return q.Type() == "htb" && a.Handle == scheduler && a.Parent == belowBucket, isQueue
}

// belowBucket is the one class of the bucket.
var belowBucket = handle | 1

// addLanes puts what is missing of the lanes below a bucket, which limits meanwhile. The queue that a bucket without
// lanes had is lost.
func (a act) addLanes(b bucket, index int, have *shaped) error {
	if have == nil || !have.scheduler {
		length := uint32(bfdQueue)
		htb := netlink.NewHtb(netlink.QdiscAttrs{LinkIndex: index, Handle: scheduler, Parent: belowBucket})
		htb.Defcls, htb.DirectQlen = dataLane.class&0xffff, &length
		err := a.h.QdiscReplace(htb)
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("this kernel cannot put network control first (CONFIG_NET_SCH_HTB, module sch_htb): %w", err)
		}
		if err != nil {
			return fmt.Errorf("make lanes for network control: %w", err)
		}
	}
	// Data first: as long as its class is missing, data takes the lane of BFD.
	for _, l := range []lane{dataLane, controlLane} {
		err := a.h.ClassReplace(&netlink.HtbClass{
			ClassAttrs: netlink.ClassAttrs{LinkIndex: index, Handle: l.class, Parent: scheduler},
			Rate:       laneRate, Ceil: laneRate, Buffer: laneTokens, Cbuffer: laneTokens, Quantum: laneQuantum,
			Prio: l.priority,
		})
		if err != nil {
			return fmt.Errorf("make lanes for network control: %w", err)
		}
	}
	return a.boundLanes(b, index)
}

// boundLanes makes the queues of the lanes as long as the bucket says, or changes them with what is in them.
func (a act) boundLanes(b bucket, index int) error {
	messages := make([]mdnetlink.Message, len(classedLanes))
	for i, l := range classedLanes {
		messages[i] = l.queue(b, index)
	}
	return wrap("make the queues of lanes", a.raw.execute(messages))
}

// queue is the request for the lane's queue. The netlink library knows no bfifo.
func (l lane) queue(b bucket, index int) mdnetlink.Message {
	data := make([]byte, sizeofTcMsg)
	binary.NativeEndian.PutUint32(data[4:], uint32(index))
	binary.NativeEndian.PutUint32(data[8:], l.handle)
	binary.NativeEndian.PutUint32(data[12:], l.class)
	e := mdnetlink.NewAttributeEncoder()
	e.String(unix.TCA_KIND, "bfifo")
	e.Uint32(unix.TCA_OPTIONS, b.queue) // struct tc_fifo_qopt
	attributes, err := e.Encode()
	if err != nil {
		panic(err) // Both attributes are short.
	}
	return mdnetlink.Message{
		Header: mdnetlink.Header{
			Type:  unix.RTM_NEWQDISC,
			Flags: mdnetlink.Request | mdnetlink.Acknowledge | mdnetlink.Create | mdnetlink.Replace,
		},
		Data: append(data, attributes...),
	}
}

// sizeofTcMsg is the size of struct tcmsg.
const sizeofTcMsg = 20

// raw sends requests that the netlink library does not know. It connects with the first.
type raw struct {
	ns   *netns.Namespace
	conn *mdnetlink.Conn
}

func (r *raw) execute(messages []mdnetlink.Message) error {
	if r.conn == nil {
		conn, err := mdnetlink.Dial(unix.NETLINK_ROUTE, &mdnetlink.Config{NetNS: r.ns.Fd()})
		if err != nil {
			return err
		}
		r.conn = conn
	}
	var errs []error
	for _, m := range messages {
		_, err := r.conn.Execute(m)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (r *raw) close() {
	if r.conn != nil {
		_ = r.conn.Close()
	}
}
