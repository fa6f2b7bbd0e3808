package fib

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// reading is what the kernel has.
type reading struct {
	links   map[int]link
	local   []netip.Addr
	objects map[uint32]*object
	lists   map[routeList][]foundRoute
	// own are our routes, refusing those that are unreachable; strays are BGP's with other metrics than ours.
	own      map[key]ownRoutes
	refusing map[key]bool
	strays   []step
}

// ownRoutes are our routes to one prefix: the objects that they go by, by class. wrong: one has another source address than
// it should.
type ownRoutes struct {
	have  [2]uint32
	wrong bool
}

// read reads everything and takes it up.
func (t *Table) read() error {
	r, err := t.readAll()
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.takeUp(r)
	t.mu.Unlock()
	return nil
}

func (t *Table) readAll() (*reading, error) {
	// The kernel tells of a link that goes down before its routes have gone. A change, which fails, waits until it has.
	var w writer
	w.removeNexthop(t.conn.next(), firstObject-1)
	if _, err := t.conn.write(w.buf); err != nil {
		return nil, err
	}
	r := &reading{}
	return r, errors.Join(t.readLinks(r), t.readObjects(r), t.readRoutes(r, t.currentSources()))
}

func (t *Table) currentSources() [2]netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sources
}

func (t *Table) readLinks(r *reading) error {
	err := t.conn.dump(
		func(w *writer, seq uint32) { w.dump(seq, unix.RTM_GETLINK, unix.SizeofIfInfomsg) },
		func() { r.links = map[int]link{} },
		func(m message) {
			if l, ok := parseLink(m.body); ok {
				r.links[l.index] = l
			}
		})
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	err = t.conn.dump(
		func(w *writer, seq uint32) { w.dump(seq, unix.RTM_GETADDR, unix.SizeofIfAddrmsg) },
		func() { r.local = nil },
		func(m message) {
			if a := parseAddress(m.body); a.IsValid() {
				r.local = append(r.local, a)
			}
		})
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	return nil
}

func (t *Table) readObjects(r *reading) error {
	err := t.conn.dump(
		func(w *writer, seq uint32) { w.dump(seq, unix.RTM_GETNEXTHOP, unix.SizeofNhmsg) },
		func() { r.objects = map[uint32]*object{} },
		func(m message) {
			if o, ok := parseObject(m.body); ok && isOurs(o.id) {
				r.objects[o.id] = &object{way: o.way, group: o.group, members: o.members}
			}
		})
	if err != nil {
		return fmt.Errorf("list nexthop objects: %w", err)
	}
	return nil
}

func (t *Table) readRoutes(r *reading, sources [2]netip.Addr) error {
	err := t.conn.dump(
		func(w *writer, seq uint32) { w.dumpRoutes(seq, routeList{}) },
		func() {
			r.lists, r.own = map[routeList][]foundRoute{}, map[key]ownRoutes{}
			r.refusing, r.strays = map[key]bool{}, nil
		},
		func(m message) {
			switch found, ok := parseRoute(m.body); {
			case !ok || found.table != unix.RT_TABLE_MAIN:
			case found.protocol == unix.RTPROT_BGP:
				r.addOwn(found, sources)
			default:
				l := routeList{af(found.prefix.Addr()), found.protocol}
				r.lists[l] = append(r.lists[l], found.foundRoute)
			}
		})
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	return nil
}

func (r *reading) addOwn(found kernelRoute, sources [2]netip.Addr) {
	k := keyOf(found.prefix)
	var c class
	switch {
	case found.metric == MetricWithdrawn && found.kind == unix.RTN_UNREACHABLE:
		r.refusing[k] = true
		return
	case found.metric == MetricExternal:
		c = external
	case found.metric == MetricInternal:
		c = internal
	default:
		r.strays = append(r.strays, step{key: k, action: sweep, metric: found.metric})
		return
	}
	own := r.own[k]
	own.have[c] = foreign
	if isOurs(found.object) {
		own.have[c] = found.object
	}
	own.wrong = own.wrong || found.source != sources[family(found.prefix.Addr())]
	r.own[k] = own
}

// readList reads a part of the table that is not BGP's.
func (t *Table) readList(l routeList) (routes []foundRoute, err error) {
	err = t.conn.dump(
		func(w *writer, seq uint32) { w.dumpRoutes(seq, l) },
		func() { routes = nil },
		func(m message) {
			if found, ok := parseRoute(m.body); ok && found.table == unix.RT_TABLE_MAIN && found.protocol == l.protocol {
				routes = append(routes, found.foundRoute)
			}
		})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}
