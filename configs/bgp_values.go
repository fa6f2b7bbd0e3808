package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// PrefixRange are the prefixes inside Prefix whose length is from Min to Max.
type PrefixRange struct {
	Prefix   netip.Prefix
	Min, Max int
}

// ParsePrefixRange parses "PREFIX", which is that prefix alone, or "PREFIX [ge LENGTH] [le LENGTH]", which are those inside
// it that have at least, or at most, these lengths, such as "10.0.0.0/8 ge 16 le 24".
func ParsePrefixRange(s string) (PrefixRange, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return PrefixRange{}, errors.New("is not PREFIX [ge LENGTH] [le LENGTH]; want it such as 10.0.0.0/8 ge 16 le 24")
	}
	p, err := prefixOf(words[0], false)
	if err != nil {
		return PrefixRange{}, fmt.Errorf("is not PREFIX [ge LENGTH] [le LENGTH]: %q %w", words[0], err)
	}
	r := PrefixRange{Prefix: p, Min: p.Bits(), Max: p.Bits()}
	least, most, err := lengths(words[1:])
	if err != nil {
		return PrefixRange{}, err
	}
	if least >= 0 {
		r.Min, r.Max = least, p.Addr().BitLen()
	}
	if most >= 0 {
		r.Max = most
	}
	if r.Min < p.Bits() || r.Max > p.Addr().BitLen() || r.Max < r.Min {
		return PrefixRange{}, fmt.Errorf("has no lengths from %d to %d in order; want it such as %s ge %d le %d", p.Bits(),
			p.Addr().BitLen(), p, p.Bits(), p.Addr().BitLen())
	}
	return r, nil
}

// lengths parses what follows the prefix; -1 for what is not given.
func lengths(words []string) (least, most int, err error) {
	least, most = -1, -1
	for ; len(words) > 0; words = words[2:] {
		of := map[string]*int{"ge": &least, "le": &most}[words[0]]
		if of == nil || len(words) < 2 || *of >= 0 {
			return 0, 0, errors.New("has other words behind the prefix than ge LENGTH and le LENGTH; want it such as " +
				"10.0.0.0/8 ge 16 le 24")
		}
		n, err := parsePort(words[1])
		if err != nil || n > 128 {
			return 0, 0, fmt.Errorf("has the length %q; want plain digits, such as %s 24", shorten(words[1]), words[0])
		}
		*of = int(n)
	}
	return least, most, nil
}

// String is the range as it is declared.
func (r PrefixRange) String() string {
	s := r.Prefix.String()
	if r.Min == r.Prefix.Bits() && r.Max == r.Min {
		return s
	}
	if r.Min != r.Prefix.Bits() || r.Max == r.Prefix.Addr().BitLen() {
		s += fmt.Sprintf(" ge %d", r.Min)
	}
	if r.Max != r.Prefix.Addr().BitLen() {
		s += fmt.Sprintf(" le %d", r.Max)
	}
	return s
}

// ASPathPattern is a regular expression over an AS path, in which "_" stands for a blank or an end.
type ASPathPattern string

// maxPattern bounds a pattern, in bytes: it is held against every route.
const maxPattern = 256

func parseASPathPattern(s string) (ASPathPattern, error) {
	if len(s) > maxPattern {
		return "", fmt.Errorf("is longer than %d bytes; want several patterns", maxPattern)
	}
	if strings.Trim(s, digits) == "" {
		return "", fmt.Errorf("is in longer numbers too; want _%s_ for that system", s)
	}
	if strings.Trim(s, digits+" _^$.*+?()[]{}|\\-,d") != "" {
		return "", errors.New("has characters that no AS path has; want numbers and regular expression signs such as ^65413_")
	}
	if _, err := regexp.Compile(strings.ReplaceAll(s, "_", `(^|[,{}() ]|$)`)); err != nil {
		var syntaxError *syntax.Error
		if errors.As(err, &syntaxError) {
			err = errors.New(string(syntaxError.Code)) // its text would show what stands for the underscore
		}
		return "", fmt.Errorf("is not a regular expression (RE2): %w", err)
	}
	return ASPathPattern(s), nil
}

// Community is a community (RFC 1997) as two numbers of 2 bytes, such as 65413:100. Names of well-known ones have become
// their numbers.
type Community string

// LargeCommunity is a large community (RFC 8092) as three numbers of 4 bytes, such as 65413:1:100.
type LargeCommunity string

// AnyCommunity is a community of either kind.
type AnyCommunity string

// wellKnown are names of communities that every router knows (IANA, BGP Well-known Communities).
var wellKnown = map[string]Community{
	"graceful-shutdown":   "65535:0",     // RFC 8326
	"blackhole":           "65535:666",   // RFC 7999
	"no-export":           "65535:65281", // RFC 1997
	"no-advertise":        "65535:65282", // RFC 1997
	"no-export-subconfed": "65535:65283", // RFC 1997
	"no-peer":             "65535:65284", // RFC 3765
}

func parseCommunity(s string) (Community, error) {
	if c, ok := wellKnown[s]; ok {
		return c, nil
	}
	if !numbers(s, 2, 16) {
		return "", errors.New("is not a community; want two numbers up to 65535 such as 65413:100, or one of blackhole, " +
			"graceful-shutdown, no-advertise, no-export, no-export-subconfed, no-peer")
	}
	return Community(s), nil
}

func parseLargeCommunity(s string) (LargeCommunity, error) {
	if !numbers(s, 3, 32) {
		return "", errors.New("is not a large community; want three numbers up to 4294967295 such as 65413:1:100")
	}
	return LargeCommunity(s), nil
}

func parseAnyCommunity(s string) (AnyCommunity, error) {
	if c, err := parseLargeCommunity(s); err == nil {
		return AnyCommunity(c), nil
	}
	c, err := parseCommunity(s)
	if err != nil {
		err = fmt.Errorf("%w, or a large one such as 65413:1:100", err)
	}
	return AnyCommunity(c), err
}

// numbers tells whether a text is this many numbers of this many bits, in plain digits, with colons between them.
func numbers(s string, count, bits int) bool {
	parts := strings.Split(s, ":")
	for _, p := range parts {
		if n, err := strconv.ParseUint(p, 10, bits); err != nil || strconv.FormatUint(n, 10) != p {
			return false
		}
	}
	return len(parts) == count
}
