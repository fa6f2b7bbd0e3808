package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"bulkhead/lab/pki"
)

func authority(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority("Fabrikam CA")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *pki.Authority, r pki.Request) *pki.Certificate {
	t.Helper()
	c, err := a.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verify holds a certificate against roots, with the intermediate ones given.
func verify(c *pki.Certificate, root *pki.Authority, through ...*pki.Certificate) error {
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	o.Roots.AddCert(root.Certificate.Certificate)
	for _, i := range through {
		o.Intermediates.AddCert(i.Certificate)
	}
	_, err := c.Verify(o)
	return err
}

func TestCertificatesVerifyAgainstTheirAuthorityAndNoOther(t *testing.T) {
	ca, other := authority(t), authority(t)
	c := issue(t, ca, pki.Request{CommonName: "ContosoNY", Names: []string{"ny.contoso.example", "59.10.10.10"}})
	if err := verify(c, ca); err != nil {
		t.Error(err)
	}
	if err := verify(c, other); err == nil {
		t.Error("an authority of the same name vouches for it")
	}
	if len(c.DNSNames) != 1 || len(c.IPAddresses) != 1 {
		t.Errorf("names %v %v, want one of each kind", c.DNSNames, c.IPAddresses)
	}
	key, err := c.KeyPEM()
	if err == nil {
		_, err = tls.X509KeyPair([]byte(c.PEM()), []byte(key))
	}
	if err != nil {
		t.Error(err)
	}
}

func TestCertificatesOfAnIntermediateAuthorityNeedItsOwn(t *testing.T) {
	ca := authority(t)
	middle := issue(t, ca, pki.Request{CommonName: "Fabrikam sites", Authority: true})
	c := issue(t, middle.Intermediate(), pki.Request{CommonName: "ContosoNY"})
	if err := verify(c, ca, middle); err != nil {
		t.Error(err)
	}
	if err := verify(c, ca); err == nil {
		t.Error("verified without the intermediate certificate")
	}
}

func TestExpiredCertificatesHaveEndedAndShortOnesEndSoon(t *testing.T) {
	ca := authority(t)
	if c := issue(t, ca, pki.Request{CommonName: "late", Expired: true}); !c.NotAfter.Before(time.Now()) {
		t.Errorf("ends %v", c.NotAfter)
	}
	c := issue(t, ca, pki.Request{CommonName: "short", Lifetime: time.Hour})
	if !c.NotAfter.After(time.Now()) || c.NotAfter.After(time.Now().Add(2*time.Hour)) {
		t.Errorf("ends %v", c.NotAfter)
	}
}

func TestRevokedCertificatesAreInTheListAndInTheIndexOfTheResponder(t *testing.T) {
	ca := authority(t)
	good := issue(t, ca, pki.Request{CommonName: "good", CRL: "http://pki/crl", OCSP: "http://pki/ocsp"})
	bad := issue(t, ca, pki.Request{CommonName: "bad"})
	ca.Revoke(bad)
	der, err := ca.CRL()
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err == nil {
		err = list.CheckSignatureFrom(ca.Certificate.Certificate)
	}
	if err != nil {
		t.Fatal(err)
	}
	entries := list.RevokedCertificateEntries
	if len(entries) != 1 || entries[0].SerialNumber.Cmp(bad.SerialNumber) != 0 {
		t.Errorf("the list has %v, want the serial number %v", entries, bad.SerialNumber)
	}
	arguments, err := ca.Responder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(arguments[2])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(index)), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "V\t") || !strings.HasPrefix(lines[1], "R\t") {
		t.Errorf("index:\n%s", index)
	}
	if len(good.CRLDistributionPoints) != 1 || len(good.OCSPServer) != 1 {
		t.Error("the certificate does not say where its revocation can be looked up")
	}
}
