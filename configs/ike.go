package configs

import "time"

// IKEPolicy is what IKEv2 (RFC 7296) offers and accepts. An interface takes what it leaves out from its profile, then from
// the gateway; the gateway from its profile, then from the profile "default".
type IKEPolicy struct {
	// What a make of devices, or a cloud, ships with: values for keys that are left out here.
	Profile Profile `yaml:"profile"`
	// Proposals for IKE in strongSwan's words, best first, such as aes256gcm16-prfsha384-ecp384.
	Proposals []string `yaml:"proposals"`
	// Proposals for ESP in strongSwan's words, best first, such as aes256gcm16. Load adds perfectForwardSecrecy to them.
	ESPProposals []string `yaml:"espProposals"`
	// Takes algorithms in this policy's own proposals that are not safe any more (RFC 8221, RFC 8247), such as 3des.
	WeakAlgorithms WeakAlgorithms `yaml:"weakAlgorithms"`
	// A key exchange such as ecp384 for each replacement of the keys of ESP, added to espProposals that name none; or none.
	PerfectForwardSecrecy KeyExchange `yaml:"perfectForwardSecrecy"`
	// Silence after which the peer is asked for a sign of life.
	DeadPeerDetection time.Duration `yaml:"deadPeerDetection" rule:"min=1s,max=1h"`
	// Time after which the keys of IKE are replaced.
	IKELifetime time.Duration `yaml:"lifetime" rule:"min=1m,max=168h"`
	// Time after which the keys of ESP are replaced.
	ESPLifetime time.Duration `yaml:"espLifetime" rule:"min=1m,max=168h"`
	// Bytes after which the keys of ESP are replaced; no limit when left out.
	ESPLifetimeBytes uint64 `yaml:"espLifetimeBytes" rule:"min=1000000,max=1000000000000000"`
	// Whether the ends may change their addresses while connected (RFC 4555); true when left out.
	MOBIKE Switch `yaml:"mobike"`
	// Whether large IKE messages are sent in fragments (RFC 7383); true when left out.
	Fragmentation Switch `yaml:"fragmentation"`
	// Whether ESP is sent in UDP though no NAT is between the ends (RFC 3948), for networks that drop ESP.
	ForceEncapsulation Switch `yaml:"forceEncapsulation"`
	// Whether the NIC does ESP where it can.
	HardwareOffload Switch `yaml:"hardwareOffload"`
}

// Switch is true, false, or left to another policy.
type Switch int8

// A Switch that the file does not give, and what it can give. Load leaves no policy with one that is not given.
const (
	SwitchLeftOut Switch = iota
	SwitchOff
	SwitchOn
)

// On tells whether the switch is true.
func (s Switch) On() bool { return s == SwitchOn }

// String is true or false, or empty where the switch is left out.
func (s Switch) String() string { return [...]string{"", "false", "true"}[s] }

func (s *Switch) decode(d *decoder, n *node, p *path) {
	switch value, ok := d.boolean(n, p); {
	case ok && value:
		*s = SwitchOn
	case ok:
		*s = SwitchOff
	}
}

func (Switch) forms() []any { return []any{map[string]any{"type": "boolean"}} }

// WeakAlgorithms is the operator's word that weak algorithms are meant.
type WeakAlgorithms string

// WeakAllowed takes weak algorithms.
const WeakAllowed WeakAlgorithms = "allowed"

func (WeakAlgorithms) values() []string { return []string{string(WeakAllowed)} }

// KeyExchange is a key exchange in strongSwan's words, a Diffie-Hellman group, or NoKeyExchange.
type KeyExchange string

// NoKeyExchange is that no key exchange is to be.
const NoKeyExchange KeyExchange = "none"

// GatewayIKE is the gateway's IKE policy and its credentials.
type GatewayIKE struct {
	IKEPolicy `yaml:",inline"`
	// Authorities whose certificates sites and people may show.
	CertificateAuthorities []Certificate `yaml:"certificateAuthorities"`
	// The gateway's own certificate, with intermediate ones behind it.
	Certificate Certificate `yaml:"certificate"`
	// The key of the gateway's certificate, in PEM.
	PrivateKey Secret `yaml:"privateKey"`
	// Certificate revocation lists (CRLs) in PEM or DER, besides those that certificates say where to fetch.
	RevocationLists []RevocationList `yaml:"revocationLists"`
	// Whether a peer's certificate must be known not to be revoked.
	Revocation Revocation `yaml:"revocation" rule:"default=ifAvailable"`
}

// Revocation says whether a peer's certificate must be known not to be revoked, by a CRL or by OCSP (RFC 6960).
type Revocation string

// It must be known, it is asked where that can be, or it is not asked.
const (
	RevocationStrict      Revocation = "strict"
	RevocationIfAvailable Revocation = "ifAvailable"
	RevocationOff         Revocation = "off"
)

func (Revocation) values() []string {
	return []string{string(RevocationStrict), string(RevocationIfAvailable), string(RevocationOff)}
}
