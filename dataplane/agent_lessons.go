package dataplane

import "time"

// lessons is what the doors and the agent tell each other. Dataplane.mu must be held, but for wake.
type lessons struct {
	learner *learner            // nil while no agent runs
	subnets map[uint32][]Subnet // by tenant, since it was set
	wake    chan struct{}       // has one element if the agent is to look what changed
}

func newLessons() lessons {
	return lessons{subnets: make(map[uint32][]Subnet), wake: make(chan struct{}, 1)}
}

// notify makes the agent look at what changed.
func (s *lessons) notify() {
	select {
	case s.wake <- struct{}{}:
	default: // it is going to
	}
}

// taught tells the agent which virtual subnets a tenant has.
func (s *lessons) taught(tenant uint32, subnets []Subnet) {
	s.subnets[tenant] = subnets
	s.notify()
}

// forget tells the agent that a tenant is gone.
func (s *lessons) forget(tenant uint32) {
	delete(s.subnets, tenant)
	if s.learner != nil {
		s.learner.forget(tenant)
	}
	s.notify()
}

// revised tells the agent that an L2Only record changed or went.
func (s *lessons) revised(tenant uint32, k doorsVsidMac) {
	if s.learner != nil {
		s.learner.revise(time.Now(), tenant, vsidMAC{vsid: k.Vsid, mac: k.Mac})
		s.notify()
	}
}

// keepLearned tells which of a tenant's records stay although they are not declared: those that were learned of
// machines that have an L2Only record. Where that record names another provider address than before, they follow it.
func (d *Dataplane) keepLearned(id uint32) func(doorsRecord) bool {
	return func(r doorsRecord) bool {
		_, vouched := d.l2only.have[id][doorsVsidMac{Vsid: r.Vsid >> 8, Mac: r.Mac}]
		return vouched && RecordType(r.Vsid&uint32(doorsRecordFlagsRECORD_TYPE)) == Dynamic
	}
}
