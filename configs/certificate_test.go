package configs_test

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/configs"
)

// loadLists loads a gateway with an authority and the revocation lists in these files.
func loadLists(t *testing.T, authority, more string, files ...string) (*configs.Config, error) {
	t.Helper()
	setCredentials(t)
	dir := t.TempDir()
	list := ""
	for i, content := range files {
		name := string(rune('a'+i)) + ".crl"
		write(t, dir, name, content)
		list += "{file: " + name + "},"
	}
	write(t, dir, "ca.pem", authority)
	write(t, dir, "gateway.yaml", certified("    certificateAuthorities: [{file: ca.pem}]\n    revocationLists: ["+list+"]\n"+more, ""))
	return configs.Load(dir)
}

func TestRevocationListsAreReadInPEMAndInDERWhateverTheirLastByte(t *testing.T) {
	ca, k := selfSigned(t, true)
	// In DER the last byte is of the signature, and one in 256 ends as a line does.
	var der []byte
	for number := int64(1); len(der) == 0 || der[len(der)-1] != '\n'; number++ {
		var err error
		if der, err = x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(number)}, ca, k); err != nil {
			t.Fatal(err)
		}
	}
	inText := inPEM("X509 CRL", der)
	c, err := loadLists(t, inPEM("CERTIFICATE", ca.Raw), "    revocation: strict\n", string(der), inText, "\n"+inText+"\n")
	if err != nil {
		t.Fatal(err)
	}
	ike := c.Gateway.IKE
	if len(ike.RevocationLists) != 3 || ike.Revocation != configs.RevocationStrict {
		t.Fatalf("%d lists, revocation %s", len(ike.RevocationLists), ike.Revocation)
	}
	for i, l := range ike.RevocationLists {
		if string(l.Raw) != string(der) {
			t.Errorf("list %d is not what was written", i)
		}
	}
	if c, err = loadLists(t, inPEM("CERTIFICATE", ca.Raw), ""); err != nil || c.Gateway.IKE.Revocation != configs.RevocationIfAvailable {
		t.Errorf("without a word about revocation: %v, %v", c, err)
	}
}

func TestRevocationListsThatAreNoneAreRefused(t *testing.T) {
	ca, k := selfSigned(t, true)
	other, _ := authority(t)
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1)}, ca, k)
	if err != nil {
		t.Fatal(err)
	}
	forged := append([]byte(nil), der...)
	forged[len(forged)-1] ^= 1
	own, list := inPEM("CERTIFICATE", ca.Raw), inPEM("X509 CRL", der)
	for _, tt := range []struct{ name, ca, more, list, want string }{
		{"of an authority between", other, "", list, ""},
		{"another's signature", own, "", string(forged), "is not signed by the authority"},
		{"certificate", own, "", own, "PEM without a block X509 CRL"},
		{"two in one", own, "", list + list, "more than one revocation list"},
		{"text", own, "", "none", "does not hold a certificate revocation list"},
		{"broken PEM", own, "", strings.Replace(list, "MI", "!!", 1), "PEM without a block X509 CRL"},
		{"broken DER in PEM", own, "", inPEM("X509 CRL", der[:40]), "does not hold a certificate revocation list"},
		{"not asked", own, "    revocation: off\n", list, "are not asked with revocation: off"},
		{"word", own, "    revocation: maybe\n", list, "is none of strict, ifAvailable, off"},
	} {
		_, err := loadLists(t, tt.ca, tt.more, tt.list)
		wantOne(t, tt.name, err, tt.want)
	}
}

func TestAuthoritiesStandOnce(t *testing.T) {
	ca, _ := authority(t)
	next, _ := authority(t)
	_, err := loadLists(t, ca+next, "")
	wantOne(t, "two in one file", err, "")
	_, err = loadLists(t, ca+next+ca, "")
	wantOne(t, "the same twice", err, "stands in Gateway/GW spec.ike.certificateAuthorities[0]")
	leaf, _ := certificate(t, false)
	_, err = loadLists(t, ca+leaf, "")
	wantOne(t, "a leaf behind an authority", err, "is not an authority's")

	// The same authority may vouch for the sites of several tenants, and for the gateway's.
	_, err = loadText(t, certified(providersAuthority, ""), tenantOf("A", 1, "  certificateAuthorities: [{env: BULKHEAD_TEST_CA}]\n"),
		tenantOf("B", 2, "  certificateAuthorities: [{env: BULKHEAD_TEST_CA}]\n"))
	wantOne(t, "shared", err, "")
	_, err = loadText(t, certified("", ""), tenantOf("A", 1, "  certificateAuthorities: [{env: BULKHEAD_TEST_CERTIFICATE}]\n"))
	wantOne(t, "a tenant's leaf", err, "Tenant/A spec.certificateAuthorities[0]: the certificate")
}

func TestTwoTenantsAuthoritiesHaveNoKeyIdentifierInCommon(t *testing.T) {
	ca, _ := selfSigned(t, true)
	other, _ := selfSignedWith(t, true, ca.SubjectKeyId)
	dir := t.TempDir()
	write(t, dir, "a.pem", inPEM("CERTIFICATE", ca.Raw))
	write(t, dir, "b.pem", inPEM("CERTIFICATE", other.Raw))
	authorities := func(files string) string { return "  certificateAuthorities: [" + files + "]\n" }
	a, b := "{file: "+filepath.Join(dir, "a.pem")+"}", "{file: "+filepath.Join(dir, "b.pem")+"}"
	_, err := loadText(t, certified("", ""), tenantOf("A", 1, authorities(a)), tenantOf("B", 2, authorities(b)))
	wantOne(t, "two tenants", err, "has the key identifier of another one's key, by Tenant/A spec.certificateAuthorities[0]")
	_, err = loadText(t, certified("", ""), tenantOf("A", 1, authorities(a+", "+b)), tenantOf("B", 2, authorities(a)))
	wantOne(t, "one tenant's own", err, "")
}

func TestSecretsOfFilesEndBeforeTheLineEnd(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.key", "abc\r\n")
	write(t, dir, "empty.key", "\n")
	site := func(file string) string {
		return tenantOf("A", 1, "", "name: IfE1\ndestination: 59.10.10.10\nauthentication: {method: PSK, sharedSecret: {file: "+
			filepath.Join(dir, file)+"}}")
	}
	c, err := loadText(t, certified("", ""), site("a.key"))
	if err != nil || string(c.Tenants[0].SiteToSite[0].Authentication.SharedSecret.Reveal()) != "abc" {
		t.Errorf("the secret of a file with a line end: %v", err)
	}
	_, err = loadText(t, certified("", ""), site("empty.key"))
	wantOne(t, "nothing but a line end", err, "holds nothing")
}
