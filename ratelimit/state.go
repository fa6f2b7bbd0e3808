package ratelimit

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// prefix begins the names of the intermediate devices; the index of the link that each belongs to follows. A link that
// is made anew has another index, so that it never takes over what is left of its predecessor.
const prefix = "bhl"

func deviceName(index int) string { return prefix + strconv.Itoa(index) }

// port is a link and what of this package stands at it.
type port struct {
	name  string
	index int
	mtu   int
	tx    *shaped // nil: none
	rx    *device // nil: none
	// redirect is the index of the device that what arrives goes to; 0: none.
	redirect int
	// redirects tells that the link has a place for redirections.
	redirects bool
}

// device is an intermediate device (ifb).
type device struct {
	name   string
	index  int
	up     bool
	shaped *shaped // nil: none
}

// ingress is the handle of the place where filters for arriving packets are.
var ingress = netlink.MakeHandle(0xffff, 0)

// state is what stands in a compartment.
type state struct {
	ports map[string]*port
	// strays are devices whose link is gone.
	strays []string
}

// read reads what stands.
func read(h *netlink.Handle) (state, error) {
	links, err := dump(h.LinkList)
	if err != nil {
		return state{}, fmt.Errorf("list links: %w", err)
	}
	qdiscs, err := dump(func() ([]netlink.Qdisc, error) { return h.QdiscList(nil) })
	if err != nil {
		return state{}, fmt.Errorf("list queueing disciplines: %w", err)
	}
	s := collect(links, qdiscs)
	for _, p := range s.ports {
		if err := p.readFilters(h); err != nil {
			return state{}, fmt.Errorf("list the filters of link %s: %w", p.name, err)
		}
	}
	return s, nil
}

// readFilters reads where packets go.
func (p *port) readFilters(h *netlink.Handle) error {
	list := func(index int, parent uint32) ([]netlink.Filter, error) {
		link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
		return dump(func() ([]netlink.Filter, error) { return h.FilterList(link, parent) })
	}
	if p.redirects {
		filters, err := list(p.index, ingress)
		if err != nil {
			return err
		}
		p.redirect = redirectOf(filters)
	}
	schedulers := map[int]*shaped{p.index: p.tx}
	if p.rx != nil {
		schedulers[p.rx.index] = p.rx.shaped
	}
	for index, s := range schedulers {
		if s == nil || !s.scheduler {
			continue
		}
		filters, err := list(index, scheduler)
		if err != nil {
			return err
		}
		s.rules, s.otherRules = rulesOf(filters)
	}
	return nil
}

// collect makes sense of what the kernel lists.
func collect(links []netlink.Link, qdiscs []netlink.Qdisc) state {
	s := state{ports: make(map[string]*port)}
	byIndex := make(map[int]*port)
	devices := make(map[int]*device)
	for _, l := range links {
		a := l.Attrs()
		if isDevice(l) {
			devices[a.Index] = &device{name: a.Name, index: a.Index, up: a.Flags&net.FlagUp != 0}
			continue
		}
		p := &port{name: a.Name, index: a.Index, mtu: a.MTU}
		s.ports[p.name], byIndex[p.index] = p, p
	}
	for _, d := range devices {
		owner, _ := strconv.Atoi(strings.TrimPrefix(d.name, prefix))
		if p := byIndex[owner]; p != nil {
			p.rx = d
		} else {
			s.strays = append(s.strays, d.name)
		}
	}
	standing := make(map[int]*shaped)
	for _, q := range qdiscs {
		index := q.Attrs().LinkIndex
		b, ours := bucketOf(q)
		d, p := devices[index], byIndex[index]
		switch {
		case ours:
			standing[index] = &shaped{bucket: b}
			if d != nil {
				d.shaped = standing[index]
			} else if p != nil {
				p.tx = standing[index]
			}
		case q.Type() == "ingress" && p != nil:
			p.redirects = true
		}
	}
	for _, q := range qdiscs {
		above := standing[q.Attrs().LinkIndex]
		if above == nil {
			continue
		}
		isScheduler, isQueue := laneOf(q)
		if isScheduler {
			above.scheduler = true
		}
		if isQueue {
			above.queues++
		}
	}
	return s
}

func isDevice(l netlink.Link) bool {
	return l.Type() == "ifb" && strings.HasPrefix(l.Attrs().Name, prefix)
}

// redirectOf is where a link's filters redirect to.
func redirectOf(filters []netlink.Filter) int {
	for _, f := range filters {
		u, ok := f.(*netlink.U32)
		if !ok {
			continue
		}
		for _, a := range u.Actions {
			if m, ok := a.(*netlink.MirredAction); ok {
				return m.Ifindex
			}
		}
	}
	return 0
}
