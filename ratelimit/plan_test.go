package ratelimit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

func todo(steps []step) (short []string) {
	for _, s := range steps {
		short = append(short, s.link+" "+string(s.do))
	}
	return short
}

func wholeBucket(b bucket) *shaped {
	return &shaped{bucket: b, scheduler: true, queues: len(classedLanes), rules: true}
}

func TestPlanDoesWhatIsMissingAndNothingElse(t *testing.T) {
	slow, other := bucketFor(1024, mtu), bucketFor(5120, mtu)
	whole := func(b bucket) *port {
		return &port{
			name: "IfCe1", index: 7, mtu: mtu, tx: wholeBucket(b), redirect: 8, redirects: true,
			rx: &device{name: "bhl7", index: 8, up: true, shaped: wholeBucket(b)},
		}
	}
	changed := func(change func(p *port)) *port {
		p := whole(slow)
		change(p)
		return p
	}
	both := Limit{Link: "IfCe1", TxKbps: 1024, RxKbps: 1024}
	for _, c := range []struct {
		name string
		have *port
		want []Limit
		todo []string
	}{
		{name: "first", have: &port{name: "IfCe1", index: 7, mtu: mtu}, want: []Limit{both}, todo: []string{
			"IfCe1 shape", "IfCe1 add device", "IfCe1 shape rx", "IfCe1 raise", "IfCe1 redirect"}},
		{name: "again", have: whole(slow), want: []Limit{both}},
		{name: "another rate", have: whole(other), want: []Limit{both}, todo: []string{"IfCe1 shape", "IfCe1 shape rx"}},
		{name: "another MTU", have: changed(func(p *port) { p.mtu = 9000 }), want: []Limit{both},
			todo: []string{"IfCe1 shape", "IfCe1 shape rx"}},
		{name: "a version before put no network control first", have: changed(func(p *port) {
			p.tx, p.rx.shaped = &shaped{bucket: slow}, &shaped{bucket: slow}
		}), want: []Limit{both}, todo: []string{"IfCe1 shape", "IfCe1 shape rx"}},
		{name: "a lane is missing", have: changed(func(p *port) { p.tx.queues-- }), want: []Limit{both},
			todo: []string{"IfCe1 shape"}},
		{name: "rules are missing", have: changed(func(p *port) { p.rx.shaped.rules = false }), want: []Limit{both},
			todo: []string{"IfCe1 shape rx"}},
		{name: "the device is down", have: changed(func(p *port) { p.rx.up = false }), want: []Limit{both},
			todo: []string{"IfCe1 raise"}},
		{name: "redirected to a device that is gone", have: changed(func(p *port) { p.redirect = 5 }), want: []Limit{both},
			todo: []string{"IfCe1 redirect"}},
		{name: "unlimited one way", have: whole(slow), want: []Limit{{Link: "IfCe1", TxKbps: 1024}},
			todo: []string{"IfCe1 release rx"}},
		{name: "declared no more", have: whole(slow), todo: []string{"IfCe1 release", "IfCe1 release rx"}},
		{name: "never limited", have: &port{name: "IfCe1", index: 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			steps, err := plan(state{ports: map[string]*port{"IfCe1": c.have}}, c.want)
			must(t, err)
			if diff := cmp.Diff(c.todo, todo(steps)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsNewComesBeforeWhatGoes(t *testing.T) {
	b := bucketFor(1024, mtu)
	steps, err := plan(state{
		ports:  map[string]*port{"IfCe1": {name: "IfCe1", index: 7, tx: wholeBucket(b)}, "IfCe2": {name: "IfCe2", index: 9, mtu: mtu}},
		strays: []string{"bhl3"},
	}, []Limit{{Link: "IfCe2", TxKbps: 1}})
	must(t, err)
	if diff := cmp.Diff([]string{"IfCe2 shape", "IfCe1 release", "bhl3 sweep"}, todo(steps)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// Another's queueing disciplines and devices are left alone.
func TestOnlyWhatThisPackageMadeIsItsOwn(t *testing.T) {
	attrs := func(name string, index int) netlink.LinkAttrs { return netlink.LinkAttrs{Name: name, Index: index} }
	theirs := bucketFor(1024, mtu).qdisc(1)
	theirs.Handle = netlink.MakeHandle(1, 0)
	s := collect([]netlink.Link{
		&netlink.Veth{LinkAttrs: attrs("bhl2", 1)}, &netlink.Ifb{LinkAttrs: attrs("ifb0", 2)},
		&netlink.Ifb{LinkAttrs: attrs("bhl1", 3)},
	}, []netlink.Qdisc{theirs, bucketFor(1024, mtu).qdisc(3)})
	if p := s.ports["bhl2"]; p.tx != nil || p.rx == nil || p.rx.index != 3 || p.rx.shaped == nil {
		t.Errorf("the link: %+v", p)
	}
	if s.ports["ifb0"] == nil || len(s.strays) > 0 {
		t.Errorf("another's device is taken for one of this package: %+v", s)
	}
}
