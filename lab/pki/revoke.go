package pki

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Revoke takes certificates back: the next CRL has them, and Responder's files.
func (a *Authority) Revoke(certificates ...*Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range certificates {
		a.revoked = append(a.revoked, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
}

// CRL is the list of what was revoked, in DER, good for a day.
func (a *Authority) CRL() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lists++
	list := &x509.RevocationList{
		Number: big.NewInt(a.lists), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(24 * time.Hour),
		RevokedCertificateEntries: a.revoked,
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.Certificate.Certificate, a.key)
	if err != nil {
		return nil, fmt.Errorf("%s lists what it revoked: %w", a.Subject.CommonName, err)
	}
	return der, nil
}

// Responder writes what `openssl ocsp` answers from into a folder, which it makes, and returns the command's arguments,
// but for -port: the index of certificates issued and revoked (openssl-ca(1)), and the authority's certificate and key.
func (a *Authority) Responder(dir string) ([]string, error) {
	key, err := a.KeyPEM()
	if err != nil {
		return nil, err
	}
	index, certificate, private := filepath.Join(dir, "index"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("write the files of an OCSP responder: %w", err)
	}
	for path, text := range map[string]string{index: a.index(), certificate: a.PEM(), private: key} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("write the files of an OCSP responder: %w", err)
		}
	}
	return []string{"ocsp", "-index", index, "-CA", certificate, "-rsigner", certificate, "-rkey", private}, nil
}

// index has a line for each certificate: its status, when it ends, when it was revoked, serial number, file, subject.
func (a *Authority) index() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	const form = "060102150405Z"
	revoked := map[string]time.Time{}
	for _, r := range a.revoked {
		revoked[r.SerialNumber.String()] = r.RevocationTime
	}
	var text strings.Builder
	for _, c := range a.issued {
		status, when := "V", ""
		if at, ok := revoked[c.SerialNumber.String()]; ok {
			status, when = "R", at.UTC().Format(form)
		}
		fmt.Fprintf(&text, "%s\t%s\t%s\t%02X\tunknown\t/O=Fabrikam lab/CN=%s\n", status, c.NotAfter.UTC().Format(form), when,
			c.SerialNumber, c.Subject.CommonName)
	}
	return text.String()
}
