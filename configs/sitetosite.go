package configs

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// SiteToSite is a tunnel interface (S2S interface) to a site.
type SiteToSite struct {
	// Its name in the compartment, at most 15 of A-Z a-z 0-9 . _ -.
	Name string `yaml:"name" rule:"required"`
	// Takes the tunnel down and lets neither end dial, until it is false or left out again.
	Disabled bool `yaml:"disabled"`
	// The tunnel's protocol.
	Protocol TunnelProtocol `yaml:"protocol" rule:"default=IKEv2"`
	// When the gateway dials: onDemand when there are subnets, else never; or always.
	Initiate Initiate `yaml:"initiate"`
	// Time without packets after which the tunnel is taken down; never when left out.
	IdleDisconnect time.Duration `yaml:"idleDisconnect" rule:"min=10s,max=168h"`
	// The site's address. With certificates or EAP it may be a host name, or left out where the site dials.
	Destination Destination `yaml:"destination"`
	// The gateway's address of the tunnel; the first external one of the destination's family when left out.
	SourceAddress netip.Addr `yaml:"sourceAddress" rule:"unicast"`
	// How both sides prove who they are.
	Authentication Authentication `yaml:"authentication" rule:"required"`
	// Prefixes behind the tunnel, whose packets dial it.
	Subnets []SitePrefix `yaml:"subnets"`
	// Prefixes behind the tunnel that are routed only while it is connected.
	PostConnectionSubnets []SitePrefix `yaml:"postConnectionSubnets"`
	// Rate limit of the tunnel.
	Bandwidth Bandwidth `yaml:"bandwidth"`
	// IKE policy of its own, for initiators and pre-shared keys; the gateway's for what is left out.
	IKE IKEPolicy `yaml:"ike"`
}

// allPrefixes are the prefixes behind the tunnel, those that are routed only while it is connected included.
func (s *SiteToSite) allPrefixes() []SitePrefix {
	return slices.Concat(s.Subnets, s.PostConnectionSubnets)
}

// TunnelProtocol is the protocol of a tunnel.
type TunnelProtocol string

// IKEv2 is IKE version 2 with ESP (RFC 7296, RFC 4303).
const IKEv2 TunnelProtocol = "IKEv2"

func (TunnelProtocol) values() []string { return []string{string(IKEv2)} }

// Initiate says when the gateway dials.
type Initiate string

// The gateway dials when a packet for the site's subnets comes, keeps the tunnel up, or leaves dialling to the site.
const (
	InitiateOnDemand Initiate = "onDemand"
	InitiateAlways   Initiate = "always"
	InitiateNever    Initiate = "never"
)

func (Initiate) values() []string {
	return []string{string(InitiateOnDemand), string(InitiateAlways), string(InitiateNever)}
}

// Authentication is how both sides of a tunnel prove who they are.
type Authentication struct {
	// PSK, Certificate or EAP.
	Method AuthMethod `yaml:"method" rule:"required"`
	// The pre-shared key.
	SharedSecret Secret `yaml:"sharedSecret"`
	// The pre-shared key that was there before: it is good too until the site has the new one.
	PreviousSharedSecret Secret `yaml:"previousSharedSecret"`
	// The gateway's IKE identity towards the site: its address when left out, with a certificate the certificate's subject.
	LocalIdentity string `yaml:"localIdentity"`
	// The site's IKE identity. With PSK it is the site's address when left out. Of a certificate it is the subject's common
	// name, a whole subject such as "O=Contoso, CN=NY", or, with its kind before it, an alternative name such as
	// fqdn:ny.contoso.example: with method Certificate the interface's name when left out; with EAP, where the gateway dials,
	// the destination as an alternative name.
	RemoteIdentity string `yaml:"remoteIdentity"`
	// The site's EAP user name when it dials; the interface's name when left out.
	UserName string `yaml:"userName"`
	// The password of the site's EAP user. Without, it is known upstream (radius), or the site has a certificate (EAP-TLS).
	Password Secret `yaml:"password"`
	// What the gateway says to a site that it dials with EAP.
	DialAs *DialAs `yaml:"dialAs"`
}

// DialAs is the gateway's EAP user at a site.
type DialAs struct {
	// The user name.
	UserName string `yaml:"userName" rule:"required"`
	// The password (EAP-MSCHAPv2). Without, the gateway shows its certificate (EAP-TLS).
	Password Secret `yaml:"password"`
}

// AuthMethod is a method of authentication.
type AuthMethod string

// A pre-shared key, X.509 certificates on both sides, or the Extensible Authentication Protocol for the site.
const (
	AuthPSK         AuthMethod = "PSK"
	AuthCertificate AuthMethod = "Certificate"
	AuthEAP         AuthMethod = "EAP"
)

func (AuthMethod) values() []string {
	return []string{string(AuthPSK), string(AuthCertificate), string(AuthEAP)}
}

// DefaultKbps is the rate limit in each direction where none is declared, in kbit/s.
const DefaultKbps = 5120

// Bandwidth is a rate limit in each direction, in units of 1000 bit/s.
type Bandwidth struct {
	// Towards the far end.
	TxKbps uint64 `yaml:"txKbps" rule:"min=8,max=100000000,default=5120"`
	// From the far end.
	RxKbps uint64 `yaml:"rxKbps" rule:"min=8,max=100000000,default=5120"`
	// Whether no limit holds; the rates are 0 then.
	Unlimited bool `yaml:"-"`
}

const unlimited = "unlimited"

func (b *Bandwidth) decode(d *decoder, n *node, p *path) {
	*b = Bandwidth{}
	switch {
	case n.kind == mappingNode:
		d.structure(n, p, reflect.ValueOf(b).Elem())
	case n.kind == textNode && n.text == unlimited:
		b.Unlimited = true
	default:
		d.doc.bad(p, "is %s, want {txKbps: NUMBER, rxKbps: NUMBER} or %s", describe(n), unlimited)
	}
}

func (Bandwidth) forms() []any { return []any{map[string]any{"const": unlimited}} }

// describe says what a node is, with its text where it is short enough to recognise.
func describe(n *node) string {
	if n.kind == textNode {
		return `"` + shorten(n.text) + `"`
	}
	return string(n.kind)
}

// ServerAddress is the address and port of a RADIUS server.
type ServerAddress struct {
	netip.AddrPort
}

func parseServerAddress(s string) (ServerAddress, error) {
	const radiusPort = 1812 // RFC 2865, 3
	if v, err := parseAddr(s, rules{unicast: true}); err == nil {
		return ServerAddress{netip.AddrPortFrom(v.(netip.Addr), radiusPort)}, nil
	}
	v, err := parseAddrPort(s, rules{})
	if err != nil {
		return ServerAddress{}, errors.New("is not a server's address; want ADDRESS or ADDRESS:PORT such as 192.0.2.1:1812")
	}
	return ServerAddress{v.(netip.AddrPort)}, nil
}
