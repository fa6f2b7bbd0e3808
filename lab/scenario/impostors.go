package scenario

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"bulkhead/lab"
	"bulkhead/lab/pki"
)

// impostor is somebody who must be refused.
type impostor struct {
	claim string
	// site dials with ike.
	site string
	ike  func(*World) (lab.IKE, error)
	// why are words of the reason that the operator reads.
	why string
}

// request is an impostor with a certificate of the lab's authority.
func request(r pki.Request) func(*World) (lab.IKE, error) {
	return func(w *World) (lab.IKE, error) { return w.credentials.show(r) }
}

// login is an impostor with a name and a password that is wrong.
func login(name string) func(*World) (lab.IKE, error) {
	return func(w *World) (lab.IKE, error) {
		ike := w.credentials.trust()
		ike.UserName, ike.Password = name, "a guess"
		return ike, nil
	}
}

func impostors() Part {
	part := Part{Title: "Impostors are refused with a reason for the operator, and none for them"}
	for _, x := range []impostor{
		{"the wrong key", "Translated", func(*World) (lab.IKE, error) {
			return lab.IKE{Key: "not the key", ID: "home.litware.example"}, nil
		}, "wrong pre-shared key"},
		{"proposals that nobody offers", "Translated", func(*World) (lab.IKE, error) {
			return lab.IKE{Key: "a new key", ID: "home.litware.example", Proposals: []string{"aes128-sha1-modp1024"}}, nil
		}, "proposal"},
		{"an expired certificate", "Certified", request(pki.Request{CommonName: "IfLc1", Expired: true}), "certificate"},
		{"a revoked certificate", "Certified", revoked, "revoked"},
		{"an authority that nobody declared", "Certified", func(w *World) (lab.IKE, error) {
			other, err := pki.NewAuthority("Fabrikam CA")
			if err != nil {
				return lab.IKE{}, err
			}
			return foreign(w, other, "IfLc1")
		}, "vouches"},
		{"a tenant's own authority that issues another tenant's name", "Certified", func(w *World) (lab.IKE, error) {
			return foreign(w, w.credentials.tenant, "IfLc1")
		}, "authorit"},
		{"an identity that no interface has", "Certified", request(pki.Request{CommonName: "IfLc9"}), "IfLc9"},
		{"the wrong password", "User", login("branch@litware.example"), "RADIUS refused"},
		{"a user whom no interface has", "User", login("nobody"), "nobody"},
	} {
		part.Steps = append(part.Steps, Step{x.claim, func(ctx context.Context, w *World) ([]string, error) {
			ike, err := x.ike(w)
			if err != nil {
				return nil, err
			}
			return w.refuses(ctx, x.site, ike, x.why)
		}})
	}
	part.Steps = append(part.Steps,
		Step{"garbage on ports 500 and 4500 changes nothing", garbage},
		Step{"those who are who they say come in again, and nobody else was disturbed", comeBack},
	)
	return part
}

// foreign shows a certificate of another authority.
func foreign(w *World, by *pki.Authority, name string) (lab.IKE, error) {
	ike := w.credentials.trust()
	var err error
	ike.Certificate, err = by.Issue(pki.Request{CommonName: name})
	return ike, err
}

// revoked has a certificate that was good, and is on the list that the gateway reads now.
func revoked(w *World) (lab.IKE, error) {
	ike, err := w.credentials.show(pki.Request{CommonName: "IfLc1"})
	if err != nil {
		return ike, err
	}
	w.credentials.ca.Revoke(ike.Certificate)
	return ike, errors.Join(w.credentials.write(w.ConfigDir), w.Apply(context.Background()))
}

// refuses lets a site dial with settings that must not do. The peer is told no more than that, the operator why.
func (w *World) refuses(ctx context.Context, name string, ike lab.IKE, why string) ([]string, error) {
	s := w.Site(name)
	if err := s.Restart(ctx, ike); err != nil {
		return nil, err
	}
	before := len(w.DaemonLogs())
	err := s.Up(ctx)
	if err == nil {
		return nil, errors.New("the peer came up")
	}
	told := err.Error()
	if !strings.Contains(told, "AUTH_FAILED") && !strings.Contains(told, "NO_PROP") && !strings.Contains(told, "EAP/FAIL") {
		return nil, fmt.Errorf("the peer was told more, or something else: %w", err)
	}
	line, err := w.logged(ctx, before, s.Address.String(), "reason=", why)
	return []string{line}, err
}

// garbage sends what is no IKE: noise, IKE headers with noise behind them, and ESP that nobody negotiated.
func garbage(ctx context.Context, w *World) ([]string, error) {
	line, err := w.sameSPIs(ctx, func() error {
		for _, port := range []uint16{500, 4500} {
			conn, err := w.Client().Dial(ctx, "udp", netip.AddrPortFrom(lab.GatewayAddress, port))
			if err != nil {
				return err
			}
			for n := range 200 {
				packet := make([]byte, n+1)
				if _, err := rand.Read(packet); err != nil {
					return err
				}
				if n%2 == 0 && n > 28 {
					copy(packet[16:], []byte{0x21, 0x20, 0x22, 0x08}) // an IKE_SA_INIT request (RFC 7296, 3.1)
				}
				_, _ = conn.Write(packet) // ICMP's answers do not matter
			}
			_ = conn.Close()
		}
		_, err := w.bulkhead(ctx, "show", "tunnels")
		return err
	})
	return []string{"400 datagrams of noise", line}, err
}

func comeBack(ctx context.Context, w *World) (seen []string, err error) {
	for _, x := range []way{certified(), user(), translated()} {
		ike, err := x.ike(w.credentials)
		if x.name == "Translated" {
			ike.Key = "a new key"
		}
		if err == nil {
			err = w.Site(x.name).Restart(ctx, ike)
		}
		if err == nil {
			_, err = w.arrives(ctx, x)
		}
		if err != nil {
			return seen, err
		}
		seen = append(seen, x.name+" is connected")
	}
	for _, x := range []way{card(), dialled(), six()} {
		if _, err := talk(ctx, w, x.site); err != nil {
			return seen, err
		}
	}
	return seen, nil
}
