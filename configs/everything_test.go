package configs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"bulkhead/configs"
)

// everything loads the files in which every key stands.
func everything(t *testing.T) *configs.Config {
	t.Helper()
	setCredentials(t)
	c, err := configs.Load("testdata/everything")
	if err != nil {
		t.Fatalf("the files with every key do not load:\n%v", err)
	}
	return c
}

func setCredentials(t *testing.T) {
	t.Helper()
	ca, crl := authority(t)
	cert, key := certificate(t, false)
	t.Setenv("BULKHEAD_TEST_CA", ca)
	t.Setenv("BULKHEAD_TEST_CERTIFICATE", cert)
	t.Setenv("BULKHEAD_TEST_KEY", key)
	t.Setenv("BULKHEAD_TEST_CRL", crl)
	own, _ := authority(t)
	t.Setenv("BULKHEAD_TEST_TENANT_CA", own)
	t.Setenv("BULKHEAD_TEST_PSK", "from the environment")
}

// certificate makes a self-signed certificate and its key in PEM.
func certificate(t *testing.T, ca bool) (cert, key string) {
	t.Helper()
	parsed, k := selfSigned(t, ca)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return inPEM("CERTIFICATE", parsed.Raw), inPEM("PRIVATE KEY", pkcs8)
}

// authority makes an authority's certificate and a revocation list of its own in PEM.
func authority(t *testing.T) (ca, crl string) {
	t.Helper()
	cert, k := selfSigned(t, true)
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1)}, cert, k)
	if err != nil {
		t.Fatal(err)
	}
	return inPEM("CERTIFICATE", cert.Raw), inPEM("X509 CRL", der)
}

func selfSigned(t *testing.T, ca bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	return selfSignedWith(t, ca, []byte(rand.Text()))
}

// selfSignedWith gives the key an identifier.
func selfSignedWith(t *testing.T, ca bool, keyID []byte) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name := "gw.example"
	if ca {
		name = rand.Text() // no two authorities have the same
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"gw.example"},
		IsCA: ca, BasicConstraintsValid: true, SubjectKeyId: keyID, KeyUsage: x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, k
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestCertificatesAreCheckedAgainstTheirUse(t *testing.T) {
	ca, otherKey := certificate(t, true)
	leaf, key := certificate(t, false)
	for _, tt := range []struct{ name, ca, certificate, key, want string }{
		{"leaf as authority", leaf, leaf, key, "is not an authority's"},
		{"another key", ca, leaf, otherKey, "is not the private key"},
		{"no key", ca, leaf, "hunter2", "is not the private key"},
		{"key as certificate", ca, key, key, `holds a PEM block "PRIVATE KEY"`},
		{"broken certificate", ca, strings.Replace(leaf, "MI", "AA", 1), key, "does not hold an X.509 certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			setCredentials(t)
			t.Setenv("BULKHEAD_TEST_CA", tt.ca)
			t.Setenv("BULKHEAD_TEST_CERTIFICATE", tt.certificate)
			t.Setenv("BULKHEAD_TEST_KEY", tt.key)
			_, err := configs.Load("testdata/everything")
			var problems configs.Problems
			if !errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got the error %v, want one problem that %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}
