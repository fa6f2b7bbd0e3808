package ratelimit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// step is one change to a link.
type step struct {
	do     change
	link   string
	index  int
	bucket bucket
	device string
	have   *shaped // the bucket that stands already, and changes; nil: none
}

// change is a kind of step.
type change string

const (
	shape     change = "shape"      // give the link's sending the bucket
	addDevice change = "add device" // make the device
	shapeRx   change = "shape rx"   // give the device the bucket
	raise     change = "raise"      // bring the device up
	redirect  change = "redirect"   // send what arrives to the device
	release   change = "release"    // let go of what the link sends
	releaseRx change = "release rx" // let go of what the link receives, and of the device
	sweep     change = "sweep"      // remove a device without a link
)

// plan is what makes the state the wanted one: first what is new or changes, then what goes.
func plan(have state, want []Limit) ([]step, error) {
	var add, remove []step
	var errs []error
	limited := make(map[string]bool)
	for _, l := range want {
		p := have.ports[l.Link]
		switch {
		case limited[l.Link]:
			errs = append(errs, fmt.Errorf("limit of link %s: it is declared twice", l.Link))
			continue
		case p == nil:
			errs = append(errs, fmt.Errorf("limit of link %s: there is no such link in the compartment", l.Link))
			continue
		}
		limited[l.Link] = true
		a, r := p.planTx(l.TxKbps)
		add, remove = append(add, a...), append(remove, r...)
		a, r = p.planRx(l.RxKbps)
		add, remove = append(add, a...), append(remove, r...)
	}
	for name, p := range have.ports {
		if limited[name] {
			continue
		}
		_, r := p.planTx(0)
		remove = append(remove, r...)
		_, r = p.planRx(0)
		remove = append(remove, r...)
	}
	for _, name := range have.strays {
		remove = append(remove, step{do: sweep, link: name, device: name})
	}
	slices.SortStableFunc(remove, func(a, b step) int { return cmp.Compare(a.link, b.link) })
	return append(add, remove...), errors.Join(errs...)
}

func (p *port) planTx(kbps uint64) (add, remove []step) {
	s := step{link: p.name, index: p.index, have: p.tx}
	if kbps == 0 {
		if p.tx == nil {
			return nil, nil
		}
		s.do = release
		return nil, []step{s}
	}
	s.do, s.bucket = shape, bucketFor(kbps, p.mtu)
	if p.tx.is(s.bucket) {
		return nil, nil
	}
	return []step{s}, nil
}

func (p *port) planRx(kbps uint64) (add, remove []step) {
	s := step{link: p.name, index: p.index, device: deviceName(p.index)}
	if kbps == 0 {
		if p.rx == nil && !p.redirects {
			return nil, nil
		}
		s.do = releaseRx
		if p.rx != nil {
			s.have = p.rx.shaped
		}
		return nil, []step{s}
	}
	d := device{}
	next := func(c change) { s.do = c; add = append(add, s) }
	if p.rx == nil {
		next(addDevice)
	} else {
		d = *p.rx
	}
	s.bucket, s.have = bucketFor(kbps, p.mtu), d.shaped
	if !d.shaped.is(s.bucket) {
		next(shapeRx)
	}
	if !d.up {
		next(raise)
	}
	if p.redirect == 0 || p.redirect != d.index {
		next(redirect)
	}
	return add, nil
}
