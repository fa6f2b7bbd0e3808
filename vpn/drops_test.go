package vpn

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulkhead/internal/drops"
)

func TestIPsecCountersBecomeReasons(t *testing.T) {
	got, err := parseDrops(strings.NewReader("XfrmInError \t0\nXfrmInNoPols            \t3\nXfrmOutNoStates \t12\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []drops.Drop{
		{Where: "ipsec", Reason: "in-error"},
		{Where: "ipsec", Reason: "in-no-pols", Packets: 3},
		{Where: "ipsec", Reason: "out-no-states", Packets: 12},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestIPsecCountersThatCannotBeReadAreAnError(t *testing.T) {
	for _, text := range []string{"XfrmInError", "XfrmInError many", "a b c"} {
		if got, err := parseDrops(strings.NewReader(text)); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}
