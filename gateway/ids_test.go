package gateway

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestAllocateKeepsWhatTheKernelHasAndGivesOutTheLowestFree(t *testing.T) {
	wanted := map[string][]string{"A": {"if1", "if2"}, "B": {"if1"}, "C": {"if9"}}
	for name, test := range map[string]struct{ existing, want ifIDs }{
		"nothing exists": {
			want: ifIDs{"A": {"if1": 1, "if2": 2}, "B": {"if1": 3}, "C": {"if9": 4}},
		},
		"existing ones stay": {
			existing: ifIDs{"B": {"if1": 1}, "A": {"if2": 7}},
			want:     ifIDs{"A": {"if1": 2, "if2": 7}, "B": {"if1": 1}, "C": {"if9": 3}},
		},
		"one that is about to go is not given to another meanwhile": {
			existing: ifIDs{"Gone": {"if1": 1}, "A": {"old": 2}},
			want:     ifIDs{"A": {"if1": 3, "if2": 4}, "B": {"if1": 5}, "C": {"if9": 6}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := allocate([]string{"A", "B", "C"}, func(n string) []string { return wanted[n] }, test.existing)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			again := allocate([]string{"A", "B", "C"}, func(n string) []string { return wanted[n] }, got)
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("a second allocation differs: %s", diff)
			}
		})
	}
}

func TestDerivedNamesFitLinuxAndDifferByRoutingDomain(t *testing.T) {
	a := uuid.MustParse("12345678-1000-2000-3000-123456780001")
	b := uuid.MustParse("12345678-1000-2000-3000-123456780002")
	if internalPeer(16777214) != "bhi16777214" {
		t.Errorf("internalPeer: %s", internalPeer(16777214))
	}
	if len(externalPeer(a)) > 15 || externalPeer(a) == externalPeer(b) {
		t.Errorf("externalPeer: %s, %s", externalPeer(a), externalPeer(b))
	}
	if mac := externalMAC(a); mac[0]&3 != 2 || mac.String() == externalMAC(b).String() {
		t.Errorf("externalMAC: %s, %s", mac, externalMAC(b))
	}
}
