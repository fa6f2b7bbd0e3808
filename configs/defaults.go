package configs

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net"

	"github.com/google/uuid"
)

func (g *Gateway) setDefaults() {
	g.IKE.inherit(profiles[g.IKE.Profile])
	g.IKE.inherit(profiles[ProfileDefault])
}

// inherit takes from another policy what this one leaves out, but for the profile's name and the word that weak algorithms
// are meant, which are of the keys beside them.
func (p *IKEPolicy) inherit(from IKEPolicy) {
	if len(p.Proposals) == 0 {
		p.Proposals = from.Proposals
	}
	if len(p.ESPProposals) == 0 {
		p.ESPProposals = from.ESPProposals
	}
	p.PerfectForwardSecrecy = cmp.Or(p.PerfectForwardSecrecy, from.PerfectForwardSecrecy)
	p.DeadPeerDetection = cmp.Or(p.DeadPeerDetection, from.DeadPeerDetection)
	p.IKELifetime = cmp.Or(p.IKELifetime, from.IKELifetime)
	p.ESPLifetime = cmp.Or(p.ESPLifetime, from.ESPLifetime)
	p.ESPLifetimeBytes = cmp.Or(p.ESPLifetimeBytes, from.ESPLifetimeBytes)
	p.MOBIKE = cmp.Or(p.MOBIKE, from.MOBIKE)
	p.Fragmentation = cmp.Or(p.Fragmentation, from.Fragmentation)
	p.ForceEncapsulation = cmp.Or(p.ForceEncapsulation, from.ForceEncapsulation)
	p.HardwareOffload = cmp.Or(p.HardwareOffload, from.HardwareOffload)
}

// settle adds the key exchange of perfect forward secrecy to the proposals for ESP that name none. It comes last: those who
// inherit the proposals may have another.
func (p *IKEPolicy) settle() {
	group := string(p.PerfectForwardSecrecy)
	if group == "" || p.PerfectForwardSecrecy == NoKeyExchange {
		return
	}
	proposals := make([]string, len(p.ESPProposals))
	for i, s := range p.ESPProposals {
		if words, err := proposalWords(s); err == nil && len(words[keyExchange]) == 0 {
			s += "-" + group
		}
		proposals[i] = s
	}
	p.ESPProposals = proposals
}

// setDefaults fills in what other keys of the tenant and of its gateway give. The gateway may be nil.
func (t *Tenant) setDefaults(g *Gateway) {
	for i := range t.InternalInterfaces {
		if in := &t.InternalInterfaces[i]; in.MACAddress == nil && in.VSID != 0 {
			in.MACAddress = DeriveMAC(t.RoutingDomainID, in.VSID)
		}
	}
	if t.ExternalRouter != nil && t.ExternalRouter.MACAddress == nil {
		t.ExternalRouter.MACAddress = DeriveMAC(t.RoutingDomainID, 0)
	}
	for i := range t.SiteToSite {
		t.SiteToSite[i].setDefaults(g)
	}
	if t.BGP != nil {
		t.BGP.setDefaults()
	}
}

func (s *SiteToSite) setDefaults(g *Gateway) {
	if s.Initiate == "" {
		s.Initiate = InitiateNever
		if len(s.Subnets) > 0 && !s.Destination.IsZero() {
			s.Initiate = InitiateOnDemand
		}
	}
	a := &s.Authentication
	if a.RemoteIdentity == "" {
		switch a.Method {
		case AuthPSK:
			a.RemoteIdentity = s.Destination.String()
		case AuthCertificate:
			a.RemoteIdentity = s.Name
		case AuthEAP:
			if a.RemoteIdentity = s.Destination.String(); s.Destination.Host != "" {
				a.RemoteIdentity = "fqdn:" + s.Destination.Host // as of the server that a browser asks (RFC 9525)
			}
		}
	}
	if a.UserName == "" && a.Method == AuthEAP {
		a.UserName = s.Name
	}
	if g == nil {
		return
	}
	s.IKE.inherit(profiles[s.IKE.Profile])
	s.IKE.inherit(g.IKE.IKEPolicy)
	for _, own := range g.OwnAddresses() {
		fits := own.IsValid() && (!s.Destination.Address.IsValid() || s.Destination.Address.Is4() == own.Is4())
		if !s.SourceAddress.IsValid() && fits {
			s.SourceAddress = own
		}
	}
}

// DeriveMAC makes the MAC address of an internal interface that declares none, or with VSID 0 that of the external
// router: locally administered, unicast, and the same on every gateway that serves the routing domain.
func DeriveMAC(rdid uuid.UUID, vsid uint32) net.HardwareAddr {
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(rdid[:], vsid))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}
