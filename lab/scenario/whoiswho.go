package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"bulkhead/lab"
	"bulkhead/lab/pki"
)

func whoIsWho() Part {
	part := Part{Title: "Who is who", Steps: []Step{
		{"two more tenants are declared, with sites in every way, an IPv6 address of the gateway and its certificate", addAll},
	}}
	for _, x := range []struct {
		claim string
		way   way
	}{
		{"a site with a certificate is the interface that the common name says", certified()},
		{"a site that logs in with a password is the interface that has the user name", user()},
		{"a site that logs in with a certificate is the interface of that name", card()},
		{"a site that is declared by name is dialled, and the gateway logs in there", dialled()},
		{"a site behind NAT is known by an identity and a key", translated()},
		{"a site with an IPv6 address is dialled", six()},
	} {
		part.Steps = append(part.Steps, Step{x.claim, func(ctx context.Context, w *World) ([]string, error) {
			return w.arrives(ctx, x.way)
		}})
	}
	part.Steps = append(part.Steps,
		Step{"a tenant whose network is IPv6 reaches both prefixes of its site, through an IPv4 tunnel", sixInside},
		Step{"the old key is good beside the new one, until the site has it", rollOver},
		Step{"the gateway's certificate is replaced without touching a tunnel, and the next one shows it", replaceCertificate},
	)
	return part
}

// addAll declares it all, in one go.
func addAll(ctx context.Context, w *World) ([]string, error) {
	hosts, err := os.OpenFile("/etc/hosts", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(hosts, "%s %s\n", dialledAddress, dialledName)
	_, _, added := w.add("proseware.yaml", proseware)
	err = errors.Join(err, hosts.Close(), w.declareIPv6(), added, addLitware(ctx, w, litwareWays(), silent))
	_, radius := w.Lab.StartGatewayRADIUS(ctx)
	return nil, errors.Join(err, radius, w.addProseware(ctx))
}

func sixInside(ctx context.Context, w *World) ([]string, error) {
	vm, host := w.VM("Proseware", prosewareVM), w.SiteHost(prosewareSite.Name)
	lan := prosewareSite.LAN6.Addr().Next()
	there, err := vm.Ping(ctx, lan)
	if err != nil {
		return nil, err
	}
	back, err := host.Ping(ctx, netip.MustParseAddr(prosewareVM))
	if err != nil {
		return nil, err
	}
	if err := w.Site(prosewareSite.Name).AddLAN("second", netip.MustParsePrefix("fd58::1/64")); err != nil {
		return nil, err
	}
	_, err = vm.Ping(ctx, netip.MustParseAddr("fd58::1"))
	return []string{fmt.Sprintf("%s > %v: ping %v; back: %v", prosewareVM, lan, there.RTT, back.RTT)}, err
}

// rollOver replaces a key at the gateway, with the old one beside it, and then at the site.
func rollOver(ctx context.Context, w *World) (seen []string, err error) {
	x := translated()
	const before, both = "sharedSecret: {value: a key}, remoteIdentity: home",
		"sharedSecret: {value: a new key}, previousSharedSecret: {value: a key}, remoteIdentity: home"
	const after = "sharedSecret: {value: a new key}, remoteIdentity: home"
	if _, err := w.edit("litware.yaml", before, both); err != nil {
		return nil, err
	}
	line, err := w.sameSPIs(ctx, func() error { return w.Apply(ctx) })
	seen = append(seen, line)
	for _, key := range []string{"a key", "a new key"} {
		if err != nil {
			return seen, err
		}
		err = w.Site(x.name).Restart(ctx, lab.IKE{Key: key, ID: "home.litware.example"})
		if err == nil {
			// The gateway proves itself by one of the keys: by the other one if that was refused.
			err = eventually(ctx, func() error { return w.Site(x.name).Up(ctx) })
		}
		if err == nil {
			_, err = talk(ctx, w, x.site)
		}
		seen = append(seen, fmt.Sprintf("the site dials with %q: %v", key, outcome(err)))
	}
	if err != nil {
		return seen, err
	}
	_, err = w.edit("litware.yaml", both, after)
	return seen, errors.Join(err, w.Apply(ctx))
}

// outcome is a word for an error or none.
func outcome(err error) string {
	if err != nil {
		return "refused"
	}
	return "connected"
}

func replaceCertificate(ctx context.Context, w *World) ([]string, error) {
	x := certified()
	const name = "gw2.fabrikam.example"
	if err := errors.Join(w.credentials.renew(name), w.credentials.write(w.ConfigDir)); err != nil {
		return nil, err
	}
	line, err := w.sameSPIs(ctx, func() error { return w.Apply(ctx) })
	if err != nil {
		return []string{line}, err
	}
	ike, err := w.credentials.show(pki.Request{CommonName: x.iface})
	if err == nil {
		err = w.Site(x.name).Restart(ctx, ike)
	}
	if err != nil {
		return nil, err
	}
	seen, err := w.arrives(ctx, x)
	if log := w.Site(x.name).Charon.LogTail(200); err == nil && !strings.Contains(log, "CN="+name) {
		err = fmt.Errorf("the site was not shown the new certificate:\n%s", log)
	}
	return append([]string{line}, seen...), err
}
