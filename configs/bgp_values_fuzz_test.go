package configs

import (
	"regexp"
	"strings"
	"testing"
)

// FuzzBGPValues holds the values of policies to what the speaker can take: communities in numbers, and patterns that compile
// with what stands for the underscore, so that nothing is refused after Load.
func FuzzBGPValues(f *testing.F) {
	for _, s := range []string{
		"65413:100", "no-export", "65413:1:100", "4294967295:0:0", "65536:1", "01:1", "^65413_", "_65413_", "^$", "(_65413)+$", "[0-9]{1,5}",
		`\d+`, "65413", "(((", "_{1000}", "a_b",
	} {
		f.Add(s)
	}
	decimal := regexp.MustCompile(`^(0|[1-9][0-9]{0,9})(:(0|[1-9][0-9]{0,9})){1,2}$`)
	f.Fuzz(func(t *testing.T, s string) {
		check := func(what, got string, err error) {
			switch {
			case err != nil && (strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 1000):
				t.Errorf("%s %q: the error is %q", what, s, err)
			case err == nil && !decimal.MatchString(got):
				t.Errorf("%s %q gave %q", what, s, got)
			}
		}
		c, err := parseCommunity(s)
		check("community", string(c), err)
		l, err := parseLargeCommunity(s)
		check("large community", string(l), err)
		a, err := parseAnyCommunity(s)
		check("community of any kind", string(a), err)
		p, err := parseASPathPattern(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 1000 {
				t.Errorf("pattern %q: the error is %q", s, err)
			}
			return
		}
		regexp.MustCompile(strings.ReplaceAll(string(p), "_", "(^|[,{}() ]|$)"))
	})
}
