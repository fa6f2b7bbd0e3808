//go:build vm

package lab_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"bulkhead/internal/testenv"
	"bulkhead/lab"
)

// FRR in New York and BIRD in San Francisco, over the line between them, watched by BFD and signed.
func TestFRRAndBIRDInTheSitesTellEachOtherTheirNetworksAndTheKernel(t *testing.T) {
	l := newLab(t)
	ny, sfo := l.Site("NY-Woodgrove"), l.Site("SFO-Woodgrove")
	if err := l.Connect(ny, sfo); err != nil {
		t.Fatal(err)
	}
	ends := []netip.Addr{addr("10.3.0.1"), addr("10.3.0.2")}
	towards := func(i int, asn uint32) lab.Neighbour {
		return lab.Neighbour{
			Local: ends[i], Address: ends[1-i], ASN: asn, Hold: 9 * time.Second, BFD: 200 * time.Millisecond, Password: "s3cret",
			SecurityHops: 1,
		}
	}
	ours := lab.BGP{
		ASN: 65413, Identifier: addr("10.1.0.1"), Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")},
		Neighbours: []lab.Neighbour{towards(0, 65414)},
	}
	theirs := lab.BGP{
		ASN: 65414, Identifier: addr("10.2.0.1"), Networks: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24")},
		Neighbours: []lab.Neighbour{towards(1, 65413)},
	}
	frr, err := lab.StartFRR(t.Context(), ny.Router, t.TempDir(), ours)
	if err != nil {
		t.Fatal(err)
	}
	bird, err := lab.StartBird(t.Context(), sfo.Router, t.TempDir(), theirs)
	if err != nil {
		t.Fatal(err)
	}
	speakers := []lab.Speaker{frr, bird}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("FRR:\n%s\nBIRD:\n%s", frr.Log(), bird.Log())
		}
	})
	established := func() error {
		for i, s := range speakers {
			if session, err := s.Session(t.Context(), ends[1-i]); err != nil || !session.Established {
				return errors.Join(err, fmt.Errorf("%d: %+v", i, session))
			}
		}
		return nil
	}
	learned := func() error {
		for i, want := range []string{"65414", "65413"} {
			prefix := netip.MustParsePrefix([]string{"10.2.0.0/24", "10.1.0.0/24"}[i])
			if best, err := speakers[i].Best(t.Context()); err != nil || best[prefix] != want {
				return errors.Join(err, fmt.Errorf("%d has %v", i, best))
			}
		}
		return nil
	}
	eventually(t, established)
	eventually(t, learned)
	eventually(t, func() error {
		_, err := ny.Host.Ping(t.Context(), addr("10.2.0.5"))
		return err
	})
	before, err := bird.Session(t.Context(), ends[0])
	if err != nil {
		t.Fatal(err)
	}

	theirs.Networks = append(theirs.Networks, netip.MustParsePrefix("10.22.0.0/24"))
	if err := bird.Load(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if best, err := frr.Best(t.Context()); err != nil || len(best) != 2 {
			return errors.Join(err, fmt.Errorf("FRR has %v", best))
		}
		return nil
	})
	if after, err := bird.Session(t.Context(), ends[0]); err != nil || after.Since != before.Since {
		t.Errorf("another network made another session: %+v, then %+v, %v", before, after, err)
	}

	ours.Neighbours[0].Password = "another"
	if err := frr.Load(t.Context(), ours); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if session, err := bird.Session(t.Context(), ends[0]); err != nil || session.Established {
			return errors.Join(err, fmt.Errorf("a session with two passwords: %+v", session))
		}
		return nil
	})
	ours.Neighbours[0].Password = "s3cret"
	if err := frr.Load(t.Context(), ours); err != nil {
		t.Fatal(err)
	}
	eventually(t, established)
}

// eventually tries until it succeeds, and tells what was wrong last.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	var last error
	defer func() {
		if t.Failed() {
			t.Logf("at last: %v", last)
		}
	}()
	testenv.Eventually(t, "what is tried succeeds", func() bool {
		last = try()
		return last == nil
	})
}
