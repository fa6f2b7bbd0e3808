package dn_test

import (
	"testing"

	"bulkhead/internal/dn"
)

func TestAllSpellingsOfAPartAreOne(t *testing.T) {
	for spelling, want := range map[string]string{
		"cn=ny": "cn=ny", " cn = ny ": "cn=ny", "cn==ny": "cn=ny", "cn ny": "cn=ny", "cn": "cn=",
		"emailaddress=a@b": "e=a@b", "email=a@b": "e=a@b", "employeenumber=7": "en=7",
	} {
		if got := dn.Part(spelling); got != want {
			t.Errorf("%q is %q, want %q", spelling, got, want)
		}
	}
}
