package configs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Change is a statement of a policy file: one object that is declared anew or in another's place, or that is not to be
// there any more. It is what changes the policy at run time, one by one ([Config.Change]).
type Change struct {
	// Remove takes the object away. Of the object only what identifies it counts: a record's customer address, or VSID and
	// MAC address of one of type L2Only; VSID, prefix and next hop of a customer route; a provider route's destination and
	// next hop; a provider address without its length; a BGP peer's name. An interface that is not disabled any more dials,
	// or is dialled, as the YAML has it; a BGP peer that is neither started nor stopped any more goes by its peeringMode.
	Remove bool

	// One of these is set. Provider routes and addresses are of the gateway, the others of a tenant.
	Record            *LookupRecord
	CustomerRoute     *CustomerRoute
	DisabledInterface *DisabledInterface
	BGPPeer           *SwitchedPeer
	ProviderRoute     *ProviderRoute
	ProviderAddress   *ProviderAddress
}

// DisabledInterface is that an S2S interface is taken down and not dialled by either end. [SiteToSite.Disabled] tells what
// comes of it and of the YAML.
type DisabledInterface struct {
	Name string
}

// SwitchedPeer is that the operator started or stopped a BGP peer's session, which holds until the operator says otherwise.
// [BGPPeer.Stopped] tells what comes of it and of the YAML.
type SwitchedPeer struct {
	Name    string
	Started bool
}

// empty tells whether the change names no object.
func (c Change) empty() bool {
	return c == Change{Remove: c.Remove}
}

// misplaced says whose the object is.
func (c Change) misplaced() error {
	if c.ofGateway() {
		return errors.New("is the gateway's, not a tenant's")
	}
	return errors.New("is a tenant's, not the gateway's")
}

// ofGateway tells whether the change is one of the gateway's objects.
func (c Change) ofGateway() bool { return c.ProviderRoute != nil || c.ProviderAddress != nil }

// Words that statements begin with.
const (
	wordRecord          = "lookup-record"
	wordCustomerRoute   = "customer-route"
	wordProviderRoute   = "provider-route"
	wordProviderAddress = "provider-address"
	wordInterface       = "interface"
	wordDisabled        = "disabled"
	wordPeer            = "bgp-peer"
	wordStarted         = "started"
	wordStopped         = "stopped"
	wordRemove          = "no"
	wordL2Only          = "l2only"
	wordOnLink          = "on-link"
)

// defaultMetric is the metric of a customer route that names none.
const defaultMetric = 100

// String is the statement, in the form that [ParseChange] takes.
func (c Change) String() string {
	var b strings.Builder
	if c.Remove {
		b.WriteString(wordRemove + " ")
	}
	b.WriteString(c.subject())
	if c.Remove {
		return b.String()
	}
	switch {
	case c.Record != nil:
		r := c.Record
		if r.Type != RecordL2Only {
			fmt.Fprintf(&b, " vsid %d mac %s", r.VSID, r.MACAddress)
		}
		b.WriteString(" pa " + r.ProviderAddress.String())
		if r.Type != RecordStatic && r.Type != RecordL2Only {
			b.WriteString(" type " + r.Type.String())
		}
		if r.Rule != RuleEncap {
			b.WriteString(" rule " + r.Rule.String())
		}
	case c.CustomerRoute != nil:
		if m := c.CustomerRoute.Metric; m != 0 && m != defaultMetric {
			fmt.Fprintf(&b, " metric %d", m)
		}
	case c.BGPPeer != nil:
		b.WriteString(" " + c.BGPPeer.state())
	case c.ProviderAddress != nil:
		if c.ProviderAddress.VLAN != 0 {
			fmt.Fprintf(&b, " vlan %d", c.ProviderAddress.VLAN)
		}
		for i, v := range c.ProviderAddress.VSIDs {
			b.WriteString(map[bool]string{true: " vsids ", false: ","}[i == 0] + strconv.Itoa(int(v)))
		}
	}
	return b.String()
}

// subject is what identifies the object of the change.
func (c Change) subject() string {
	switch {
	case c.Record != nil && c.Record.Type == RecordL2Only:
		return fmt.Sprintf("%s %s vsid %d mac %s", wordRecord, wordL2Only, c.Record.VSID, c.Record.MACAddress)
	case c.Record != nil:
		return wordRecord + " " + c.Record.CustomerAddress.String()
	case c.CustomerRoute != nil:
		hop := wordOnLink
		if r := c.CustomerRoute; !r.OnLink() {
			hop = r.NextHop.String()
		}
		return fmt.Sprintf("%s %s vsid %d next-hop %s", wordCustomerRoute, c.CustomerRoute.Prefix, c.CustomerRoute.VSID, hop)
	case c.DisabledInterface != nil:
		return fmt.Sprintf("%s %s %s", wordInterface, c.DisabledInterface.Name, wordDisabled)
	case c.BGPPeer != nil:
		return wordPeer + " " + c.BGPPeer.Name
	case c.ProviderRoute != nil:
		return fmt.Sprintf("%s %s next-hop %s", wordProviderRoute, c.ProviderRoute.Destination, c.ProviderRoute.NextHop)
	case c.ProviderAddress != nil:
		return wordProviderAddress + " " + c.ProviderAddress.Address.String()
	}
	return "nothing"
}

// ParseChange parses one statement of a policy file, such as
//
//	lookup-record 10.0.0.10 vsid 5001 mac 60:00:60:00:01:01 pa 192.168.0.22
//	no lookup-record 10.0.0.10
//
// docs/policy.md has them all. It says what is wrong with the statement alone; [Config.Change] holds it against what is
// declared.
func ParseChange(s string) (Change, error) {
	if strings.ContainsAny(s, "\n\x00") {
		return Change{}, errors.New("a statement is one line; give several one by one")
	}
	c, err := parseStatement(s)
	if err == nil && c == (Change{}) {
		err = errors.New("holds no statement")
	}
	if err != nil {
		return Change{}, fmt.Errorf("%q: %w", shorten(s), err)
	}
	return c, nil
}
