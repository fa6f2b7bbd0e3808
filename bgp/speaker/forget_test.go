package speaker

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

// Law 1: what left by NAT before a prefix was learned is forgotten, if not at once then later.
func TestTranslationsToLearnedPrefixesAreForgottenAlsoWhenThatFailsAtFirst(t *testing.T) {
	sites := compartment(t, ny)
	told := make(chan []netip.Prefix, 10)
	failures := 1
	s, err := New(Options{Tenant: "Woodgrove", Forget: func(_ context.Context, prefixes []netip.Prefix) error {
		told <- prefixes
		if failures--; failures >= 0 {
			return errors.New("the table changes all the time")
		}
		return nil
	}})
	must(t, err)
	defer func() { must(t, s.Close(context.Background(), false)) }()
	must(t, s.Set(t.Context(), configOf(sites...)))
	sites[0].tells(sites[0].connect(), "203.0.113.0/24")
	want := parsed([]string{"203.0.113.0/24"})
	for range 2 {
		if got := <-told; !slices.Equal(got, want) {
			t.Errorf("told to forget %v, want %v", got, want)
		}
	}
}
