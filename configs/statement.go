package configs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// form is what a kind of statement looks like.
type form struct {
	usage   string
	options []string // words that a value follows, in any order
}

// The forms, by the words that they begin with. What is removed is named by less.
var (
	recordForm = form{"lookup-record CA vsid N mac MAC pa PA [type Static|GatewayWildcard] [rule encap|rewrite]",
		[]string{"vsid", "mac", "pa", "type", "rule"}}
	l2OnlyForm                = form{"lookup-record l2only vsid N mac MAC pa PA", []string{"vsid", "mac", "pa"}}
	customerRouteForm         = form{"customer-route PREFIX vsid N next-hop CA|on-link [metric N]", []string{"vsid", "next-hop", "metric"}}
	providerRouteForm         = form{"provider-route PREFIX next-hop ADDRESS", []string{"next-hop"}}
	providerAddressForm       = form{"provider-address ADDRESS/LENGTH [vlan N] [vsids N,N...]", []string{"vlan", "vsids"}}
	disabledForm              = form{"interface NAME disabled", nil}
	removeDisabledForm        = form{"no interface NAME disabled", nil}
	peerForm                  = form{"bgp-peer NAME started|stopped", nil}
	removePeerForm            = form{"no bgp-peer NAME", nil}
	removeRecordForm          = form{"no lookup-record CA", nil}
	removeL2OnlyForm          = form{"no lookup-record l2only vsid N mac MAC", []string{"vsid", "mac"}}
	removeCustomerRouteForm   = form{"no customer-route PREFIX vsid N next-hop CA|on-link", []string{"vsid", "next-hop"}}
	removeProviderRouteForm   = form{"no provider-route PREFIX next-hop ADDRESS", []string{"next-hop"}}
	removeProviderAddressForm = form{"no provider-address ADDRESS/LENGTH", nil}
)

// maxWords is how many words the longest form has.
const maxWords = 16

// statement is a line that is being parsed. It stops at the first mistake.
type statement struct {
	words [maxWords]string
	n     int
	form  form
	value [5]string // of form.options
	err   error
}

// parseStatement parses a line. A line without a statement, a comment at most, gives the zero Change.
func parseStatement(line string) (c Change, err error) {
	s := statement{}
	s.split(line)
	words := s.words[:s.n]
	if s.err != nil || len(words) == 0 {
		return Change{}, s.err
	}
	if words[0] == wordRemove {
		c.Remove = true
		words = words[1:]
	}
	if len(words) == 0 {
		return Change{}, errors.New(`says "no" to nothing; want the object behind it`)
	}
	subject := ""
	if len(words) > 1 {
		subject = words[1]
	}
	of := func(put, remove form) {
		if c.Remove {
			put = remove
		}
		s.options(put, words[1:])
	}
	switch words[0] {
	case wordRecord:
		if subject == wordL2Only {
			of(l2OnlyForm, removeL2OnlyForm)
			c.Record = s.l2Only(c.Remove)
		} else {
			of(recordForm, removeRecordForm)
			c.Record = s.record(subject, c.Remove)
		}
	case wordCustomerRoute:
		of(customerRouteForm, removeCustomerRouteForm)
		c.CustomerRoute = s.customerRoute(subject)
	case wordInterface:
		s.form = disabledForm
		if c.Remove {
			s.form = removeDisabledForm
		}
		c.DisabledInterface = s.disabledInterface(words[1:])
	case wordPeer:
		s.form = peerForm
		if c.Remove {
			s.form = removePeerForm
		}
		c.BGPPeer = s.switchedPeer(words[1:], c.Remove)
	case wordProviderRoute:
		of(providerRouteForm, removeProviderRouteForm)
		c.ProviderRoute = &ProviderRoute{Destination: s.prefix(subject), NextHop: s.address(s.need("next-hop"))}
	case wordProviderAddress:
		of(providerAddressForm, removeProviderAddressForm)
		c.ProviderAddress = s.providerAddress(subject)
	default:
		return Change{}, unknownWord(words[0], "statement", []string{
			wordRecord, wordCustomerRoute, wordInterface, wordPeer, wordProviderRoute, wordProviderAddress, wordRemove})
	}
	if s.err != nil {
		return Change{}, s.err
	}
	return c, nil
}

// split cuts a line, up to its comment, into words.
func (s *statement) split(line string) {
	if i := strings.IndexByte(line, '#'); i >= 0 {
		line = line[:i]
	}
	start := -1
	for i := 0; i <= len(line); i++ {
		if i < len(line) && line[i] != ' ' && line[i] != '\t' && line[i] != '\r' {
			if start < 0 {
				start = i
			}
			continue
		}
		if start < 0 {
			continue
		}
		if s.n == maxWords {
			s.fail("has too many words")
			return
		}
		s.words[s.n] = line[start:i]
		s.n++
		start = -1
	}
}

func (s *statement) fail(format string, args ...any) {
	if s.err != nil {
		return
	}
	if len(s.form.usage) > 0 {
		format += "; want " + s.form.usage
	}
	s.err = fmt.Errorf(format, args...)
}

func unknownWord(word, what string, known []string) error {
	if near := nearest(word, known); near != "" {
		return fmt.Errorf("unknown %s %q; did you mean %q?", what, shorten(word), near)
	}
	return fmt.Errorf("unknown %s %q; known here: %s", what, shorten(word), orNone(known))
}

// options takes the words behind the subject.
func (s *statement) options(f form, words []string) {
	s.form = f
	if len(words) == 0 {
		s.fail("names no object")
		return
	}
	for words = words[1:]; len(words) > 0 && s.err == nil; words = words[2:] {
		i := slices.Index(f.options, words[0])
		switch {
		case i < 0 && len(f.options) == 0:
			s.fail("has %q behind its end", shorten(words[0]))
			return
		case i < 0:
			s.err = unknownWord(words[0], "word", f.options)
			return
		case len(words) == 1:
			s.fail("has no value for %s", words[0])
			return
		case s.value[i] != "":
			s.fail("has %s twice", words[0])
			return
		}
		s.value[i] = words[1]
	}
}

// option is the value of an option; empty if it is not there.
func (s *statement) option(name string) string {
	for i, o := range s.form.options {
		if o == name {
			return s.value[i]
		}
	}
	return ""
}

// need is the value of an option that must be there.
func (s *statement) need(name string) string {
	v := s.option(name)
	if v == "" {
		s.fail("lacks %s", name)
	}
	return v
}

// bad notes what is wrong with a value, in words that continue the value.
func (s *statement) bad(value string, err error) {
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("%q %w", shorten(value), err)
	}
}

func (s *statement) address(text string) netip.Addr {
	if s.err != nil {
		return netip.Addr{}
	}
	a, err := addressOf(text, true)
	s.bad(text, err)
	return a
}

func (s *statement) prefix(text string) netip.Prefix {
	if s.err != nil {
		return netip.Prefix{}
	}
	p, err := prefixOf(text, false)
	s.bad(text, err)
	return p
}

func (s *statement) mac() net.HardwareAddr {
	text := s.need("mac")
	if s.err != nil {
		return nil
	}
	mac, err := macOf(text)
	s.bad(text, err)
	return mac
}

// number parses plain digits, as the decoder of YAML does.
func (s *statement) number(text string, least, most uint32) uint32 {
	if s.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || text[0] == '0' && len(text) > 1 || uint32(n) < least || uint32(n) > most {
		s.bad(text, fmt.Errorf("is not a number from %d to %d in plain digits", least, most))
	}
	return uint32(n)
}

// VSIDs of tenants (RFC 7637, 3.2).
const (
	minVSID = 4096
	maxVSID = 16777214
)

func (s *statement) vsid() uint32 { return s.number(s.need("vsid"), minVSID, maxVSID) }
