package vpn

import (
	"crypto/x509"
	"slices"
	"strings"
	"time"
)

// What a CertificateStatus is of.
const (
	// UseGateway is the gateway's own certificate, or one between it and the root.
	UseGateway = "gateway"
	// UseAuthority vouches for peers.
	UseAuthority = "authority"
	// UseRevocationList is a list of what an authority revoked.
	UseRevocationList = "revocationList"
)

// CertificateStatus is a certificate or a revocation list in use, so that its end is seen coming.
type CertificateStatus struct {
	// Use is UseGateway, UseAuthority or UseRevocationList.
	Use string `json:"use"`
	// Subject of the certificate, or issuer of the list.
	Subject string `json:"subject"`
	// Tenants whose interfaces use the authority; empty for the gateway's own.
	Tenants []string `json:"tenants,omitempty"`
	// NotAfter is when it ends. A list's is when its successor was due; the zero time where it does not say.
	NotAfter time.Time `json:"notAfter,omitzero"`
}

// Certificates lists the certificates and revocation lists that are declared: the gateway's, then the authorities', then
// the lists, each kind by subject.
func (m *Manager) Certificates() []CertificateStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	var own, lists []CertificateStatus
	authorities := map[string]*CertificateStatus{}
	authority := func(der []byte) *CertificateStatus {
		c, err := parseAuthority(der)
		if err != nil {
			return &CertificateStatus{} // refused when it was declared
		}
		if authorities[string(der)] == nil {
			authorities[string(der)] = &CertificateStatus{Use: UseAuthority, Subject: c.Subject.String(), NotAfter: c.NotAfter}
		}
		return authorities[string(der)]
	}
	for _, der := range m.auth.credentials.Certificate {
		if c, err := x509.ParseCertificate(der); err == nil {
			own = append(own, CertificateStatus{Use: UseGateway, Subject: c.Subject.String(), NotAfter: c.NotAfter})
		}
	}
	for _, der := range m.auth.credentials.Authorities {
		authority(der)
	}
	for _, t := range m.tunnels {
		for _, der := range t.want.Authorities {
			if a := authority(der); t.declared && !slices.Contains(a.Tenants, t.tenant) {
				a.Tenants = append(a.Tenants, t.tenant)
				slices.Sort(a.Tenants)
			}
		}
	}
	for _, der := range m.auth.credentials.RevocationLists {
		if l, err := x509.ParseRevocationList(der); err == nil {
			lists = append(lists, CertificateStatus{Use: UseRevocationList, Subject: l.Issuer.String(), NotAfter: l.NextUpdate})
		}
	}
	var all []CertificateStatus
	for _, a := range authorities {
		all = append(all, *a)
	}
	for _, kind := range [][]CertificateStatus{all, lists} {
		slices.SortFunc(kind, func(a, b CertificateStatus) int { return strings.Compare(a.Subject, b.Subject) })
	}
	return slices.Concat(own, all, lists)
}
