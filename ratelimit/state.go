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
	tx    *bucket // nil: none
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
	bucket *bucket // nil: none
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
		if !p.redirects {
			continue
		}
		link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: p.index}}
		filters, err := dump(func() ([]netlink.Filter, error) { return h.FilterList(link, ingress) })
		if err != nil {
			return state{}, fmt.Errorf("list the filters of link %s: %w", p.name, err)
		}
		p.redirect = redirectOf(filters)
	}
	return s, nil
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
	for _, q := range qdiscs {
		index := q.Attrs().LinkIndex
		b, ours := bucketOf(q)
		switch {
		case ours && devices[index] != nil:
			devices[index].bucket = &b
		case ours && byIndex[index] != nil:
			byIndex[index].tx = &b
		case q.Type() == "ingress" && byIndex[index] != nil:
			byIndex[index].redirects = true
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
