package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"bulkhead/lab"
	"bulkhead/lab/hnv"
	"bulkhead/lab/pki"
)

// litware is a tenant whose sites come in every way that the book's do not. Each has a prefix 10.N.0.0/24 of its own.
const litware = `apiVersion: bulkhead/v1
kind: Tenant
metadata:
  name: Litware
spec:
  routingDomainId: 12345678-1000-2000-3000-123456780201
  virtualSubnets:
    - {vsid: 5201, prefix: 10.0.0.0/24}
    - {vsid: 6201, prefix: 10.0.254.0/24}
  internalInterfaces:
    - {name: IfLi1, vsid: 6201, addresses: [10.0.254.2/24], macAddress: "60:01:60:01:03:01"}
  lookupRecords:
    - {customerAddress: 10.0.0.10, vsid: 5201, macAddress: "60:00:60:00:01:01", providerAddress: 192.168.0.81}
  siteToSite:
`

// Where Litware's VM lives.
const south = "South"

var southPA = netip.MustParseAddr("192.168.0.81")

// way is one of Litware's sites: its interface's declaration, and how it proves who it is.
type way struct {
	site
	options lab.SiteOptions
	// declared is the interface's part of the declaration, without name and prefix.
	declared string
	ike      func(*credentials) (lab.IKE, error)
	// dialled tells that the gateway dials, when a packet comes; else the site does.
	dialled bool
}

// credentials are what the lab's authority vouches for.
type credentials struct {
	ca      *pki.Authority
	gateway *pki.Certificate
	// tenant is an authority of another tenant's own.
	tenant *pki.Authority
}

// gatewayName is in the gateway's certificate, beside its addresses.
const gatewayName = "gw.fabrikam.example"

func newCredentials() (*credentials, error) {
	ca, err := pki.NewAuthority("Fabrikam CA")
	if err != nil {
		return nil, err
	}
	tenant, err := pki.NewAuthority("Proseware CA")
	if err != nil {
		return nil, err
	}
	c := &credentials{ca: ca, tenant: tenant}
	return c, c.renew(gatewayName)
}

// renew gives the gateway another certificate, for the same names whatever its subject is called.
func (c *credentials) renew(commonName string) (err error) {
	c.gateway, err = c.ca.Issue(pki.Request{
		CommonName: commonName, Names: []string{gatewayName, lab.GatewayAddress.String(), lab.GatewayAddress6.String()},
	})
	return err
}

// identity is how the gateway calls itself where it shows its certificate: the subject, as charon writes it.
func (c *credentials) identity() string {
	return fmt.Sprintf("O=%s, CN=%s", c.gateway.Subject.Organization[0], c.gateway.Subject.CommonName)
}

// trust is what a site takes as the gateway's proof.
func (c *credentials) trust() lab.IKE {
	return lab.IKE{Authorities: []*pki.Authority{c.ca}, GatewayID: c.identity()}
}

// write puts the gateway's credentials where its declaration names them.
func (c *credentials) write(dir string) error {
	key, err := c.gateway.KeyPEM()
	if err != nil {
		return err
	}
	crl, err := c.ca.CRL()
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"ca.pem": c.ca.PEM(), "proseware-ca.pem": c.tenant.PEM(), "gateway.pem": c.gateway.PEM(), "gateway.key": key, "revoked.crl": string(crl),
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return err
}

// credentialKeys are what gateway.yaml gets for certificates, in the place of a comment.
const (
	credentialComment = "# certificateAuthorities, certificate, privateKey: for certificate and EAP authentication"
	credentialKeys    = `certificateAuthorities: [{file: ca.pem}]
    certificate: {file: gateway.pem}
    privateKey: {file: gateway.key}
    revocationLists: [{file: revoked.crl}]`
)

// addLitware declares Litware with some of its sites and more text at the end, and runs these sites and its VM.
func addLitware(ctx context.Context, w *World, ways []way, more string) error {
	err := errors.Join(w.declareLitware(ways, more), w.runLitware())
	for _, x := range ways {
		err = errors.Join(err, w.runSite(ctx, x))
	}
	return errors.Join(err, w.Apply(ctx))
}

// declareLitware writes the declaration, with more at its end, and the credentials that it names.
func (w *World) declareLitware(ways []way, more string) error {
	c, err := newCredentials()
	if err != nil {
		return err
	}
	w.credentials = c
	text := litware
	for _, x := range ways {
		text += x.declaration()
	}
	text += more
	_, err = w.edit("gateway.yaml", credentialComment, credentialKeys)
	_, _, added := w.add("litware.yaml", text)
	return errors.Join(err, added, c.write(w.ConfigDir))
}

// removeLitware takes it all out of the declaration.
func (w *World) removeLitware(ctx context.Context) error {
	_, err := w.edit("gateway.yaml", credentialKeys, credentialComment)
	// What was disabled at run time was written down beside the declaration.
	if gone := os.Remove(filepath.Join(w.ConfigDir, "Litware.policy")); !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return errors.Join(err, os.Remove(filepath.Join(w.ConfigDir, "litware.yaml")), w.Apply(ctx))
}

// declaration is the interface's item in siteToSite.
func (x way) declaration() string {
	return fmt.Sprintf("    - name: %s\n      subnets: [\"%v:100\"]\n      %s\n", x.iface, x.options.LAN.Masked(),
		strings.ReplaceAll(strings.TrimSpace(x.declared), "\n", "\n      "))
}

// runLitware runs its VM, on a host of its own, where they do not run yet.
func (w *World) runLitware() error {
	policy := hnv.Policy{Routes: []hnv.Route{{RoutingDomain: "Litware", Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHop: lab.GatewayCA}}}
	for vsid, prefix := range map[uint32]string{5201: "10.0.0.0/24", 6201: "10.0.254.0/24"} {
		policy.Subnets = append(policy.Subnets, hnv.Subnet{RoutingDomain: "Litware", VSID: vsid, Prefix: netip.MustParsePrefix(prefix)})
	}
	vm := netip.MustParseAddr(vms[0])
	for _, r := range []struct {
		vsid   uint32
		ca, pa netip.Addr
		mac    net.HardwareAddr
	}{{6201, lab.GatewayCA, lab.GatewayPA, lab.GatewayMAC}, {5201, vm, southPA, lab.VMMAC}} {
		policy.Records = append(policy.Records, hnv.Record{RoutingDomain: "Litware", VSID: r.vsid, CA: r.ca, MAC: r.mac, PA: r.pa})
	}
	if _, err := w.Lab.AddHyperV(south, southPA, policy); err != nil {
		return err
	}
	node, err := w.Lab.AddVM(south, lab.VM{
		Name: "Litware-" + vms[0], VSID: 5201, MAC: lab.VMMAC, Address: netip.PrefixFrom(vm, 24),
	})
	if err != nil {
		return err
	}
	return w.identify(node, vmIdentity("Litware", vms[0]))
}

// runSite makes a site and starts its charon.
func (w *World) runSite(ctx context.Context, x way) error {
	ike, err := x.ike(w.credentials)
	if err != nil {
		return err
	}
	s, err := w.Lab.AddSite(x.options)
	if err != nil {
		return err
	}
	return errors.Join(w.identify(s.Host, siteIdentity(x.site)), s.Start(ctx, ike))
}
