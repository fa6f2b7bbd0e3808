package configs

import (
	"errors"
	"net/netip"
	"strings"
)

func (s *statement) record(subject string, remove bool) *LookupRecord {
	r := &LookupRecord{CustomerAddress: s.address(subject)}
	if remove {
		return r
	}
	r.VSID, r.MACAddress, r.ProviderAddress = s.vsid(), s.mac(), s.address(s.need("pa"))
	if text := s.option("type"); text != "" && s.err == nil {
		i, ok := recordTypes.find(text)
		r.Type = RecordType(i)
		switch {
		case text == "Dynamic":
			s.err = errors.New(dynamicIsLearned)
		case r.Type == RecordL2Only && ok:
			s.form = l2OnlyForm
			s.fail("a record of type L2Only has no customer address")
		case !ok:
			s.fail("%q is none of %s", shorten(text), recordTypes)
		}
	}
	if text := s.option("rule"); text != "" && s.err == nil {
		i, ok := recordRules.find(text)
		if r.Rule = RecordRule(i); !ok {
			s.fail("%q is none of %s", shorten(text), recordRules)
		}
	}
	return r
}

func (s *statement) l2Only(remove bool) *LookupRecord {
	r := &LookupRecord{Type: RecordL2Only, VSID: s.vsid(), MACAddress: s.mac()}
	if !remove {
		r.ProviderAddress = s.address(s.need("pa"))
	}
	return r
}

func (s *statement) customerRoute(subject string) *CustomerRoute {
	r := &CustomerRoute{Prefix: s.prefix(subject), VSID: s.vsid(), Metric: defaultMetric}
	switch hop := s.need("next-hop"); {
	case s.err != nil:
	case hop == wordOnLink && r.Prefix.Addr().Is4():
		r.NextHop = netip.IPv4Unspecified()
	case hop == wordOnLink:
		r.NextHop = netip.IPv6Unspecified()
	default:
		r.NextHop = s.address(hop)
	}
	if m := s.option("metric"); m != "" {
		r.Metric = s.number(m, 1, 9999)
	}
	return r
}

func (s *statement) disabledInterface(words []string) *DisabledInterface {
	d := &DisabledInterface{}
	switch {
	case len(words) == 0:
		s.fail("names no object")
	case len(words) == 1:
		s.fail("does not say what the interface is")
	case len(words) > 2:
		s.fail("has %q behind its end", shorten(words[2]))
	case words[1] != wordDisabled:
		s.err = unknownWord(words[1], "word", []string{wordDisabled})
	default:
		d.Name, s.err = words[0], checkName(words[0], maxInterfaceName)
	}
	return d
}

func (s *statement) switchedPeer(words []string, remove bool) *SwitchedPeer {
	p := &SwitchedPeer{}
	most := 2
	if remove {
		most = 1
	}
	switch {
	case len(words) == 0:
		s.fail("names no object")
	case len(words) > most:
		s.fail("has %q behind its end", shorten(words[most]))
	case len(words) < most:
		s.fail("does not say what the peer is")
	case !remove && words[1] != wordStarted && words[1] != wordStopped:
		s.err = unknownWord(words[1], "word", []string{wordStarted, wordStopped})
	default:
		p.Name, p.Started = words[0], !remove && words[1] == wordStarted
		s.err = checkName(words[0], maxPeerName)
	}
	return p
}

func (s *statement) providerAddress(subject string) *ProviderAddress {
	a := &ProviderAddress{}
	if s.err != nil {
		return a
	}
	var err error
	a.Address, err = prefixOf(subject, true)
	s.bad(subject, err)
	if v := s.option("vlan"); v != "" {
		a.VLAN = int(s.number(v, 0, 4094))
	}
	if list := s.option("vsids"); list != "" {
		for v := range strings.SplitSeq(list, ",") {
			a.VSIDs = append(a.VSIDs, s.number(v, minVSID, maxVSID))
		}
	}
	return a
}
