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
)

// dueSweeps picks the tunnels to look at, with what is declared of them, and notes that they were.
func (m *Manager) dueSweeps(now time.Time) map[string]Interface {
	m.mu.Lock()
	defer m.mu.Unlock()
	due := map[string]Interface{}
	for name, t := range m.tunnels {
		if !t.declared || !m.usable[name] || t.sweepAt.IsZero() || now.Before(t.sweepAt) || now.Sub(t.sweptAt) < sweepPause {
			continue
		}
		t.sweepAt, t.sweptAt = time.Time{}, now
		due[name] = t.want
	}
	return due
}

// sweep ends the SAs of one connection that came up under an earlier declaration, and duplicates. charon itself must not (`unique = never`), as it would go by
// identities alone, whatever the tenant.
func sweep(ctx context.Context, c *client, name string, want Interface) error {
	sas, err := listSAs(ctx, c, name)
	if err != nil {
		return err
	}
	var errs []error
	fitting := slices.DeleteFunc(sas[name], func(sa ikeSA) bool {
		if sa.state != ikeEstablished || sa.fits(want) {
			return false
		}
		errs = append(errs, terminate(ctx, c, "ike-id", sa.id))
		return true
	})
	ikes, children := duplicates(fitting)
	for _, id := range ikes {
		errs = append(errs, terminate(ctx, c, "ike-id", id))
	}
	for _, id := range children {
		errs = append(errs, terminate(ctx, c, "child-id", id))
	}
	return errors.Join(errs...)
}

// duplicates finds the SAs of one interface that another one replaces: of IKE_SAs that carry traffic, and of installed
// CHILD_SAs in one IKE_SA, only the newest stays. SAs on their way in or out, as in rekeying, are left alone. Of two made
// in the same moment, which is what happens when both ends dial, both ends must keep the same one: that goes by SPI.
func duplicates(sas []ikeSA) (ikes, children []string) {
	var keep *ikeSA
	var established []*ikeSA
	for n := range sas {
		sa := &sas[n]
		if sa.state != ikeEstablished {
			continue
		}
		established = append(established, sa)
		if !sa.carries() {
			continue
		}
		if keep == nil || newer(sa.established, keep.established, sa.initiatorSPI, keep.initiatorSPI) {
			keep = sa
		}
	}
	if keep == nil {
		return nil, nil
	}
	for _, sa := range established {
		if sa != keep && (sa.carries() || sa.established > sameMoment) {
			ikes = append(ikes, sa.id)
		}
	}
	return ikes, duplicateChildren(keep.children)
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

// newer compares two SAs by age, and by their numbers where they are of the same moment.
func newer(age, otherAge time.Duration, spi, otherSPI string) bool {
	if diff := age - otherAge; diff > sameMoment || diff < -sameMoment {
		return age < otherAge
	}
	return spi < otherSPI
}
