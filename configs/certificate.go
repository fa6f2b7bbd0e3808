package configs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// Certificate is an X.509 certificate in PEM, with intermediate ones behind it, given by value, file or env.
type Certificate []*x509.Certificate

func (c *Certificate) decode(d *decoder, n *node, p *path) {
	content, ok := d.source(n, p, asItIs)
	if !ok {
		return
	}
	chain, err := parseCertificates(content)
	if err != nil {
		d.doc.bad(p, "%v", err)
		return
	}
	*c = chain
}

func (Certificate) forms() []any { return []any{sourceSchema()} }

func parseCertificates(content []byte) (Certificate, error) {
	var chain Certificate
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a PEM block %q, want CERTIFICATE only", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("does not hold an X.509 certificate: %w", err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("holds no certificate, want PEM that starts with -----BEGIN CERTIFICATE-----")
	}
	return chain, nil
}

// RevocationList is a certificate revocation list (CRL, RFC 5280) in PEM or DER, given by value, file or env.
type RevocationList struct {
	*x509.RevocationList
}

func (l *RevocationList) decode(d *decoder, n *node, p *path) {
	content, ok := d.source(n, p, asItIs)
	if !ok {
		return
	}
	if bytes.HasPrefix(bytes.TrimSpace(content), []byte("-----BEGIN ")) {
		block, rest := pem.Decode(content)
		switch {
		case block == nil || block.Type != "X509 CRL":
			d.doc.bad(p, "holds PEM without a block X509 CRL; want one that starts with -----BEGIN X509 CRL-----")
			return
		case len(bytes.TrimSpace(rest)) > 0:
			d.doc.bad(p, "holds more than one revocation list; want an item for each")
			return
		}
		content = block.Bytes
	}
	list, err := x509.ParseRevocationList(content)
	if err != nil {
		d.doc.bad(p, "does not hold a certificate revocation list (CRL) in PEM or DER: %v", err)
		return
	}
	l.RevocationList = list
}

// checkKeyIdentifiers refuses authorities of two owners that give different keys the same identifier, which an authority
// chooses: strongSwan finds revocation lists by it, so that one owner's could revoke the other's certificates.
func (c *checker) checkKeyIdentifiers() {
	type authority struct {
		*x509.Certificate
		spot spot
	}
	first := map[string]authority{}
	check := func(d *document, list []Certificate, p *path) {
		for i, chain := range list {
			for _, ca := range chain {
				a := authority{ca, spot{doc: d, p: p.item(i)}}
				other, known := first[string(ca.SubjectKeyId)]
				switch {
				case len(ca.SubjectKeyId) == 0:
				case !known:
					first[string(ca.SubjectKeyId)] = a
				case other.spot.doc != d && !bytes.Equal(other.RawSubjectPublicKeyInfo, ca.RawSubjectPublicKeyInfo):
					a.spot.bad("the authority %q has the key identifier of another one's key, by %s; want one that was made from "+
						"its own key (RFC 5280, 4.2.1.2)", ca.Subject, other.spot.place())
				}
			}
		}
	}
	if c.gateway != nil {
		check(c.gateway.doc, c.gateway.IKE.CertificateAuthorities, at("ike", "certificateAuthorities"))
	}
	for _, t := range c.tenants {
		check(t.doc, t.CertificateAuthorities, at("certificateAuthorities"))
	}
}

// checkRevocationLists refuses lists that somebody else signed in the name of an authority. Those of authorities that are not
// declared may be of ones between.
func (c *checker) checkRevocationLists() {
	if c.gateway == nil {
		return
	}
	authorities := c.gateway.IKE.CertificateAuthorities
	for _, t := range c.tenants {
		authorities = slices.Concat(authorities, t.CertificateAuthorities)
	}
	for i, l := range c.gateway.IKE.RevocationLists {
		if l.RevocationList == nil {
			continue
		}
		named, signed := false, false
		for _, ca := range slices.Concat(authorities...) {
			if !bytes.Equal(ca.RawSubject, l.RawIssuer) {
				continue
			}
			err := ca.CheckSignature(l.SignatureAlgorithm, l.RawTBSRevocationList, l.Signature)
			var old x509.InsecureAlgorithmError // which says nothing of who signed
			named, signed = true, signed || err == nil || errors.As(err, &old)
		}
		if named && !signed {
			c.gateway.doc.bad(at("ike", "revocationLists", i), "is not signed by the authority %q, whose name it has; want the "+
				"authority's own list", l.Issuer)
		}
	}
}

func (RevocationList) forms() []any { return []any{sourceSchema()} }
