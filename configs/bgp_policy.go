package configs

import "net/netip"

// BGPPolicy is a named list of statements, for what peers import and export. The first whose conditions all hold, and that
// has an action, decides.
type BGPPolicy struct {
	// A name for it, unique in the tenant: 1 to 63 of A-Z a-z 0-9 . _ -, starting with a letter or digit.
	Name string `yaml:"name" rule:"required"`
	// Its steps, in order.
	Statements []BGPStatement `yaml:"statements" rule:"required"`
}

// BGPStatement is one step of a policy.
type BGPStatement struct {
	// The conditions, all of which must hold; those that are left out hold always.
	Match BGPMatch `yaml:"match"`
	// Whether the route is taken; when left out, the next statement decides.
	Action BGPAction `yaml:"action"`
	// What is changed of the route.
	Set BGPSet `yaml:"set"`
}

// BGPMatch are conditions on a route.
type BGPMatch struct {
	// The route's prefix is one of these: the prefix itself, or with ge and le those inside it of such a length.
	Prefixes []PrefixRange `yaml:"prefixes"`
	// Regular expressions (RE2) over the path, as numbers with blanks between them; one must match. An underscore stands
	// for a blank or an end.
	ASPath []ASPathPattern `yaml:"asPath"`
	// How many systems the path may have.
	PathLengthAtMost uint32 `yaml:"pathLengthAtMost" rule:"min=1,max=255"`
	// One of these communities must be there (RFC 1997).
	Communities []Community `yaml:"communities"`
	// One of these large communities must be there (RFC 8092).
	LargeCommunities []LargeCommunity `yaml:"largeCommunities"`
	// The next hop is in one of these.
	NextHops []netip.Prefix `yaml:"nextHops"`
}

// BGPSet are changes of a route.
type BGPSet struct {
	// Preference over other paths inside the tenant's system, higher preferred; 100 without.
	LocalPreference *uint32 `yaml:"localPreference" rule:"min=1,max=4294967295"`
	// Metric (multi-exit discriminator) towards a neighbouring system, lower preferred.
	MED *uint32 `yaml:"med" rule:"min=0,max=4294967295"`
	// How often the tenant's own number is put before the path.
	Prepend uint8 `yaml:"prepend" rule:"min=1,max=32"`
	// Changes of the communities: of each kind one of add, remove and set.
	Communities BGPSetCommunities `yaml:"communities"`
	// The next hop in place of the route's own.
	NextHop netip.Addr `yaml:"nextHop" rule:"unicast"`
}

// BGPSetCommunities are changes of a route's communities.
type BGPSetCommunities struct {
	// Put beside those that are there.
	Add []AnyCommunity `yaml:"add"`
	// Taken away.
	Remove []AnyCommunity `yaml:"remove"`
	// Put in place of all of their kind.
	Set []AnyCommunity `yaml:"set"`
}

// isZero tells whether nothing is changed.
func (s BGPSet) isZero() bool {
	c := s.Communities
	return s.LocalPreference == nil && s.MED == nil && s.Prepend == 0 && !s.NextHop.IsValid() &&
		len(c.Add)+len(c.Remove)+len(c.Set) == 0
}

// BGPAction is what a statement of a policy decides.
type BGPAction string

// Take the route, or refuse it.
const (
	BGPAccept BGPAction = "accept"
	BGPReject BGPAction = "reject"
)

func (BGPAction) values() []string { return []string{string(BGPAccept), string(BGPReject)} }
