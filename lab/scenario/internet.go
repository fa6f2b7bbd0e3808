package scenario

import (
	"context"
	"fmt"
	"net/netip"

	"bulkhead/lab"
)

// publicAddress is what the Internet sees of each tenant.
var publicAddress = map[string]string{"Contoso": "131.107.10.12", "Woodgrove": "131.107.10.13"}

func internet() Part {
	part := Part{Title: "Each tenant has its own way to the Internet, and back in where it says so"}
	for _, tenant := range tenants {
		part.Steps = append(part.Steps, Step{
			Claim: fmt.Sprintf("%s's 10.0.0.10 fetches a page from 65.10.10.100, which sees %s", tenant, publicAddress[tenant]),
			Check: func(ctx context.Context, w *World) ([]string, error) {
				page, err := fetch(ctx, w.VM(tenant, "10.0.0.10"), lab.HTTP, webServer, webIdentity)
				if err != nil {
					return nil, err
				}
				if seen := page.Client.Addr().String(); seen != publicAddress[tenant] {
					return nil, fmt.Errorf("the server saw %s, want %s", seen, publicAddress[tenant])
				}
				return []string{fmt.Sprintf("%v > http://%v: %q, which saw %v", page.Local, webServer, page.Content, page.Client)}, nil
			},
		})
	}
	part.Steps = append(part.Steps, Step{
		Claim: "a client on the Internet reaches 131.107.10.12:443 and lands on Contoso's 10.0.0.100:443",
		Check: func(ctx context.Context, w *World) ([]string, error) {
			public := netip.MustParseAddrPort("131.107.10.12:443")
			reply, err := fetch(ctx, w.Client(), lab.TCP, public, vmIdentity("Contoso", "10.0.0.100"))
			if err != nil {
				return nil, err
			}
			return []string{fmt.Sprintf("%v > %v: %q, which saw %v", reply.Local, public, reply.Content, reply.Client)}, nil
		},
	})
	return part
}
