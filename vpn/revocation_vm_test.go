//go:build vm

package vpn_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bulkhead/lab/pki"
	"bulkhead/vpn"
)

func TestStrictRevocationRefusesWhomNobodyVouchesForNow(t *testing.T) {
	n, c := newNetwork(t), newCertificates(t)
	m, _ := n.manager()
	credentials := c.credentials(c.gateway)
	credentials.Revocation = vpn.RevocationStrict
	must(t, m.SetCredentials(t.Context(), credentials))
	set(t, m, "Contoso", wanted("Contoso", by(c.contoso, "NY")))
	n.site["Contoso"].loadCertificate(c.issue(c.contoso, pki.Request{CommonName: "NY"}), c.provider)
	from := time.Now()
	n.site["Contoso"].dial()
	if reason := n.refusal(from); !strings.Contains(reason, "revocation is strict") {
		t.Errorf("the reason is %q", reason)
	}
	list, err := c.contoso.CRL()
	must(t, err)
	credentials.RevocationLists = [][]byte{list}
	must(t, m.SetCredentials(t.Context(), credentials))
	n.site["Contoso"].dial()
	waitState(t, m, "Contoso", vpn.Connected)
}

func TestARespondersWordOnACertificateCountsUnlessRevocationIsOff(t *testing.T) {
	n, c := newNetwork(t), newCertificates(t)
	m, _ := n.manager()
	site := n.site["Contoso"]
	revoked := c.issue(c.contoso, pki.Request{CommonName: "NY", OCSP: "http://127.0.0.1:8888"})
	c.contoso.Revoke(revoked)
	n.respond(c.contoso)

	credentials := c.credentials(c.gateway)
	must(t, m.SetCredentials(t.Context(), credentials))
	set(t, m, "Contoso", wanted("Contoso", by(c.contoso, "NY")))
	site.loadCertificate(revoked, c.provider)
	from := time.Now()
	site.dial()
	if reason := n.refusal(from); !strings.Contains(reason, "was revoked on") {
		t.Errorf("the reason is %q", reason)
	}
	credentials.Revocation = vpn.RevocationOff
	must(t, m.SetCredentials(t.Context(), credentials))
	site.dial()
	waitState(t, m, "Contoso", vpn.Connected)
}

// charon finds a list by the identifier of its authority's key, which is whatever the authority says.
func TestATenantsAuthorityRevokesNoOthersCertificates(t *testing.T) {
	n, c := newNetwork(t), newCertificates(t)
	m, _ := n.manager()
	ny := c.issue(c.contoso, pki.Request{CommonName: "NY"})
	middle := c.issue(c.provider, pki.Request{CommonName: "Woodgrove sites", Authority: true, KeyID: c.contoso.SubjectKeyId})
	liar := middle.Intermediate()
	same := c.issue(liar, pki.Request{CommonName: "nobody"})
	if same.SerialNumber.Cmp(ny.SerialNumber) != 0 {
		t.Fatalf("the serial number %v is not %v", same.SerialNumber, ny.SerialNumber)
	}
	liar.Revoke(same)
	list, err := liar.CRL()
	must(t, err)
	path := filepath.Join(t.TempDir(), "list")
	must(t, os.WriteFile(path, list, 0o600))
	sfo := c.issue(liar, pki.Request{CommonName: "SFO", CRL: "file://" + path})

	must(t, m.SetCredentials(t.Context(), c.credentials(c.gateway)))
	set(t, m, "Contoso", wanted("Contoso", by(c.contoso, "NY")))
	set(t, m, "Woodgrove", wanted("Woodgrove", by(c.provider, "SFO")))
	site := n.site["Woodgrove"]
	site.loadCertificate(sfo, c.provider)
	site.call("load-cert", message(t, map[string]any{"type": "X509", "flag": "NONE", "data": string(middle.Raw)}))
	site.dial()
	waitState(t, m, "Woodgrove", vpn.Connected)
	n.site["Contoso"].loadCertificate(ny, c.provider)
	n.site["Contoso"].dial()
	waitState(t, m, "Contoso", vpn.Connected)
}

// respond has an authority's OCSP responder answer at 127.0.0.1:8888 of the gateway until the test ends.
func (n *network) respond(a *pki.Authority) {
	n.t.Helper()
	args, err := a.Responder(n.t.TempDir())
	must(n.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var responder sync.WaitGroup
	responder.Go(func() { _, _ = n.charon.node.Run(ctx, "openssl", append(args, "-port", "8888")...) })
	n.t.Cleanup(func() { cancel(); responder.Wait() })
	eventually(n.t, 20*time.Second, "the responder", func() bool {
		listening, err := n.charon.node.Run(ctx, "ss", "-Hltn", "sport", "=", ":8888")
		return err == nil && strings.Contains(listening, ":8888")
	})
}
