package vpn

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the name of a key at charon
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// Revocation says what becomes of a peer whose certificate may have been revoked.
type Revocation string

// What becomes of a peer whose certificate may have been revoked. One that was revoked for certain is refused always.
const (
	// RevocationStrict refuses a peer unless a list or a responder says that its certificate is good.
	RevocationStrict Revocation = "strict"
	// RevocationIfAvailable refuses nobody because lists and responders are missing or out of reach.
	RevocationIfAvailable Revocation = "ifAvailable"
	// RevocationOff asks nobody.
	RevocationOff Revocation = "off"
)

// Credentials are what the gateway proves itself with to every tenant's peers, and what it knows about theirs.
type Credentials struct {
	// Certificate is the gateway's (DER), followed by those of the intermediate authorities that its peers may not have.
	Certificate [][]byte
	// PrivateKey belongs to the first certificate: PEM, RSA or ECDSA or Ed25519, not encrypted.
	PrivateKey Secret
	// Authorities are the gateway's certificate authorities (DER). They vouch for those interfaces only that have them in
	// Interface.Authorities; here they are for their expiry, and for what EAP needs.
	Authorities [][]byte
	// RevocationLists are CRLs (DER) of any authority. One counts until a newer one of the same authority is set.
	RevocationLists [][]byte
	// Revocation is RevocationIfAvailable where empty.
	Revocation Revocation
}

// identity is what the gateway proves itself with. It is compared by pointer: the same Credentials give the same one.
type identity struct {
	leaf        *x509.Certificate
	chain       [][]byte // the intermediates
	key         []byte   // in PEM that charon reads whatever the kind
	keyID       string   // of the key at charon
	revocation  Revocation
	fingerprint string // of all of the above
}

// parse checks the Credentials. Without a certificate the identity has no leaf.
func (c Credentials) parse() (*identity, error) {
	id := &identity{revocation: c.Revocation}
	if id.revocation == "" {
		id.revocation = RevocationIfAvailable
	}
	var errs []error
	switch id.revocation {
	case RevocationStrict, RevocationIfAvailable, RevocationOff:
	default:
		errs = append(errs, fmt.Errorf("revocation %q: it must be %s, %s or %s",
			c.Revocation, RevocationStrict, RevocationIfAvailable, RevocationOff))
	}
	for _, der := range c.Authorities {
		if _, err := parseAuthority(der); err != nil {
			errs = append(errs, err)
		}
	}
	for n, der := range c.RevocationLists {
		if _, err := x509.ParseRevocationList(der); err != nil {
			errs = append(errs, fmt.Errorf("revocation list %d: %w", n+1, err))
		}
	}
	switch {
	case len(c.Certificate) > 0:
		errs = append(errs, id.takeCertificate(c))
	case len(c.PrivateKey) > 0:
		errs = append(errs, errors.New("there is a private key without a certificate"))
	}
	sum := sha256.New()
	for _, part := range slices.Concat(c.Certificate, [][]byte{c.PrivateKey, []byte(id.revocation)}) {
		fmt.Fprintf(sum, "%d:", len(part))
		sum.Write(part)
	}
	id.fingerprint = hex.EncodeToString(sum.Sum(nil))
	return id, errors.Join(errs...)
}

// takeCertificate takes the gateway's certificate and key.
func (id *identity) takeCertificate(c Credentials) error {
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return fmt.Errorf("the gateway's certificate: %w", err)
	}
	for n, der := range c.Certificate[1:] {
		if _, err := x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("certificate %d after the gateway's: %w", n+1, err)
		}
	}
	key, err := parseKey(c.PrivateKey)
	if err != nil {
		return err
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return fmt.Errorf("the private key does not belong to the gateway's certificate %q", leaf.Subject)
	}
	id.leaf, id.chain = leaf, c.Certificate[1:]
	if id.key, err = keyPEM(key); err != nil {
		return err
	}
	id.keyID, err = keyID(leaf)
	return err
}

// parseKey reads a private key in PEM. Errors say nothing of the key.
func parseKey(text []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if signer, ok := key.(crypto.Signer); ok && err == nil {
				return signer, nil
			}
		case "RSA PRIVATE KEY":
			if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
				return key, nil
			}
		case "EC PRIVATE KEY":
			if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
				return key, nil
			}
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("the gateway's private key is encrypted: store it decrypted, readable by root only")
		}
	}
	return nil, errors.New("the gateway's private key is not one of RSA, ECDSA or Ed25519 in PEM")
}

// keyPEM writes a key as charon's plugins read it: each kind in its own form.
func keyPEM(key crypto.Signer) ([]byte, error) {
	block := &pem.Block{}
	var err error
	switch key := key.(type) {
	case *rsa.PrivateKey:
		block.Type, block.Bytes = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)
	case *ecdsa.PrivateKey:
		block.Type = "EC PRIVATE KEY"
		block.Bytes, err = x509.MarshalECPrivateKey(key)
	case ed25519.PrivateKey:
		block.Type = "PRIVATE KEY"
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(key)
	default:
		err = errors.New("the gateway's private key must be RSA, ECDSA or Ed25519")
	}
	return pem.EncodeToMemory(block), err
}

// parseAuthority reads the certificate of an authority that may vouch for peers. It must have signed itself: charon
// accepts no other as an anchor, and one that another authority signed would let that one vouch as well.
func parseAuthority(der []byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("a certificate authority: %w", err)
	}
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return nil, fmt.Errorf("%q is not a certificate authority's certificate", c.Subject)
	case !bytes.Equal(c.RawSubject, c.RawIssuer) || c.CheckSignatureFrom(c) != nil:
		return nil, fmt.Errorf("the authority %q was issued by %q: declare the root; its peers send what is between",
			c.Subject, c.Issuer)
	}
	return c, nil
}

// keyID is what charon calls a key: the SHA-1 of the public key's bits (RFC 5280 section 4.2.1.2 (1)).
func keyID(c *x509.Certificate) (string, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info); err != nil {
		return "", fmt.Errorf("the public key of %q: %w", c.Subject, err)
	}
	sum := sha1.Sum(info.Key.RightAlign()) //nolint:gosec // a name, not a proof
	return hex.EncodeToString(sum[:]), nil
}
