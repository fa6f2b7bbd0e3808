// Package pki makes the certificates of the lab: authorities, what they issue, and what they take back. Keys are ECDSA
// P-256, which costs an emulated CPU little.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// Authority is a certificate authority.
type Authority struct {
	*Certificate

	mu      sync.Mutex
	serial  int64
	issued  []*Certificate
	revoked []x509.RevocationListEntry
	lists   int64
}

// Certificate is a certificate with its key.
type Certificate struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// Request says what a certificate is to hold.
type Request struct {
	// CommonName of the subject.
	CommonName string
	// Names are the alternative names: addresses, and host names otherwise.
	Names []string
	// Expired makes a certificate that ended an hour ago. Lifetime is how long any other one is good; a day where 0.
	Expired  bool
	Lifetime time.Duration
	// CRL and OCSP are URLs where the certificate says that its revocation can be looked up.
	CRL, OCSP string
	// Authority makes an intermediate authority of it, with KeyID for its key's identifier where it is given: it may be
	// another one's.
	Authority bool
	KeyID     []byte
}

// NewAuthority makes an authority that signed itself.
func NewAuthority(commonName string) (*Authority, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"Fabrikam lab"}, CommonName: commonName},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(7 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	c, err := sign(template, nil)
	if err != nil {
		return nil, fmt.Errorf("make the authority %q: %w", commonName, err)
	}
	return &Authority{Certificate: c, serial: 1}, nil
}

// Issue signs a certificate.
func (a *Authority) Issue(r Request) (*Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{Organization: []string{"Fabrikam lab"}, CommonName: r.CommonName},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	switch {
	case r.Expired:
		template.NotAfter = time.Now().Add(-time.Hour)
	case r.Lifetime > 0:
		template.NotAfter = time.Now().Add(r.Lifetime)
	}
	if r.Authority {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		template.SubjectKeyId = r.KeyID
	}
	for _, name := range r.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if r.CRL != "" {
		template.CRLDistributionPoints = []string{r.CRL}
	}
	if r.OCSP != "" {
		template.OCSPServer = []string{r.OCSP}
	}
	c, err := sign(template, a.Certificate)
	if err != nil {
		return nil, fmt.Errorf("%s issues a certificate to %q: %w", a.Subject.CommonName, r.CommonName, err)
	}
	a.issued = append(a.issued, c)
	return c, nil
}

// sign makes a key and a certificate for it, signed by an authority, or by itself where there is none.
func sign(template *x509.Certificate, by *Certificate) (*Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if by == nil {
		by = &Certificate{Certificate: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Certificate, key.Public(), by.key)
	if err != nil {
		return nil, err
	}
	made, err := x509.ParseCertificate(der)
	return &Certificate{Certificate: made, key: key}, err
}

// Intermediate is the authority that a certificate of Request.Authority is.
func (c *Certificate) Intermediate() *Authority { return &Authority{Certificate: c, serial: 1} }

// PEM is the certificate.
func (c *Certificate) PEM() string { return encode("CERTIFICATE", c.Raw) }

// KeyPEM is the private key, in PKCS #8.
func (c *Certificate) KeyPEM() (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return "", fmt.Errorf("the key of %q: %w", c.Subject.CommonName, err)
	}
	return encode("PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
