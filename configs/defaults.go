package configs

import (
	"crypto/sha256"
	"encoding/binary"
	"net"
	"time"

	"github.com/google/uuid"
)

// What a gateway offers where its file does not say.
const defaultDPD = 10 * time.Second

var (
	defaultIKEProposals = []string{"aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"}
	defaultESPProposals = []string{"aes256gcm16", "aes128gcm16", "aes256-sha256"}
)

func (g *Gateway) setDefaults() {
	g.IKE.inherit(IKEPolicy{
		Proposals: defaultIKEProposals, ESPProposals: defaultESPProposals, DeadPeerDetection: defaultDPD,
	})
}

// inherit takes from another policy what this one leaves out.
func (p *IKEPolicy) inherit(from IKEPolicy) {
	if len(p.Proposals) == 0 {
		p.Proposals = from.Proposals
	}
	if len(p.ESPProposals) == 0 {
		p.ESPProposals = from.ESPProposals
	}
	if p.DeadPeerDetection == 0 {
		p.DeadPeerDetection = from.DeadPeerDetection
	}
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
		}
	}
	if a.UserName == "" && a.Method == AuthEAP {
		a.UserName = s.Name
	}
	if g == nil {
		return
	}
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
