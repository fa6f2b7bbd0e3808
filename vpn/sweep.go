package vpn

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// sweepDelay lets rekeying and simultaneous dialling come to rest before duplicates are looked for.
	sweepDelay = 3 * time.Second
	// sweepPause is between two sweeps of one tunnel: a peer that makes a new SA for each one that is removed must not
	// keep both ends busy.
	sweepPause = 30 * time.Second
	// sameMoment is how far apart in age two SAs are, at most, when both ends dialled at once.
	sameMoment = 10 * time.Second
	// settled is longer than dead peer detection takes to end an SA that the peer knows no more. Until then, of two SAs
	// of the same moment, one from each end, nobody can say whether both ends dialled at once, or the peer was restarted
	// just after we dialled it. Having both costs nothing.
	settled = 3 * time.Minute
)

// dueSweeps picks the tunnels to look at, with what is declared of them, and notes that they were.
func (m *Manager) dueSweeps(now time.Time) map[string]Interface {
	m.mu.Lock()
	defer m.mu.Unlock()
	due := map[string]Interface{}
	for name, t := range m.tunnels {
		if _, loaded := m.usable[name]; !t.declared || !loaded || t.sweepAt.IsZero() ||
			now.Before(t.sweepAt) || now.Sub(t.sweptAt) < sweepPause {
			continue
		}
		t.sweepAt, t.sweptAt = time.Time{}, now
		due[name] = t.want
	}
	return due
}

// sweep ends the SAs of one connection that came up under an earlier declaration, and duplicates. charon itself must
// not (`unique = never`), as it would go by identities alone, whatever the tenant.
func (m *Manager) sweep(ctx context.Context, c *client, name string, want Interface) error {
	sas, err := listSAs(ctx, c, name)
	if err != nil {
		return err
	}
	var errs []error
	fitting := slices.DeleteFunc(sas[name], func(sa ikeSA) bool {
		if sa.state != ikeEstablished || sa.fits(want) {
			return false
		}
		errs = append(errs, terminate(ctx, c, "ike-id", sa.id, true))
		return true
	})
	ikes, children, wait := duplicates(fitting)
	if wait > 0 {
		m.lookAgain(name, wait)
	}
	for _, id := range ikes {
		errs = append(errs, terminate(ctx, c, "ike-id", id, true))
	}
	for _, id := range children {
		errs = append(errs, terminate(ctx, c, "child-id", id, true))
	}
	return errors.Join(errs...)
}

// lookAgain has the sweep come back.
func (m *Manager) lookAgain(name string, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.tunnels[name]; t != nil {
		t.sweepAt = time.Now().Add(wait)
	}
}

// duplicates finds the SAs of one interface that another one replaces: of IKE_SAs that carry traffic, and of installed
// CHILD_SAs in one IKE_SA, only the newest stays. SAs on their way in or out, as in rekeying, are left alone. Of two
// that both ends made at once, both ends must keep the same one: that goes by SPI, but not before wait, where it is
// not 0.
func duplicates(sas []ikeSA) (ikes, children []string, wait time.Duration) {
	var keep *ikeSA
	var established []*ikeSA
	for n := range sas {
		sa := &sas[n]
		if sa.state != ikeEstablished {
			continue
		}
		established = append(established, sa)
		if sa.carries() && (keep == nil || sa.replaces(keep)) {
			keep = sa
		}
	}
	if keep == nil {
		return nil, nil, 0
	}
	for _, sa := range established {
		switch {
		case sa == keep, !sa.carries() && sa.established <= sameMoment:
		case sa.carries() && sa.crosses(keep) && min(sa.established, keep.established) < settled:
			wait = settled - min(sa.established, keep.established)
		default:
			ikes = append(ikes, sa.id)
		}
	}
	return ikes, duplicateChildren(keep.children), wait
}

// carries tells whether traffic passes through the SA.
func (sa ikeSA) carries() bool {
	for _, c := range sa.children {
		if c.up() {
			return true
		}
	}
	return false
}

// crosses tells whether the two may come from both ends having dialled at once.
func (sa ikeSA) crosses(o *ikeSA) bool {
	return sa.initiator != o.initiator && (sa.established-o.established).Abs() <= sameMoment
}

// replaces tells which of two IKE_SAs is to stay.
func (sa ikeSA) replaces(o *ikeSA) bool {
	switch {
	case sa.crosses(o):
		return sa.initiatorSPI < o.initiatorSPI
	case sa.established != o.established:
		return sa.established < o.established
	}
	// charon counts up, so that of two of the same second the longer or greater number is the newer one.
	return len(sa.id) > len(o.id) || len(sa.id) == len(o.id) && sa.id > o.id
}

func duplicateChildren(all []childSA) []string {
	var keep *childSA
	var ids []string
	for n := range all {
		c := &all[n]
		if c.state != childInstalled {
			continue
		}
		switch {
		case keep == nil:
			keep = c
		case newer(c.installed, keep.installed, min(c.spiIn, c.spiOut), min(keep.spiIn, keep.spiOut)):
			ids = append(ids, keep.id)
			keep = c
		default:
			ids = append(ids, c.id)
		}
	}
	return ids
}

// newer compares two CHILD_SAs by age, and by their numbers where both ends may have made one at once.
func newer(age, otherAge time.Duration, spi, otherSPI string) bool {
	if (age - otherAge).Abs() > sameMoment {
		return age < otherAge
	}
	return spi < otherSPI
}
