package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"bulkhead/gateway"
	"bulkhead/lab/hnv"
)

// northwind is a tenant that is like Contoso in all that tenants may share, its interfaces' names included.
const northwind = `apiVersion: bulkhead/v1
kind: Tenant
metadata:
  name: Northwind
spec:
  routingDomainId: 12345678-1000-2000-3000-123456780003
  virtualSubnets:
    - {vsid: 5003, prefix: 10.0.0.0/24}
    - {vsid: 6003, prefix: 10.0.254.0/24}
  internalInterfaces:
    - {name: IfCi1, vsid: 6003, addresses: [10.0.254.2/24], macAddress: "60:01:60:01:03:01"}
  lookupRecords:
    - {customerAddress: 10.0.0.10, vsid: 5003, macAddress: "60:00:60:00:01:01", providerAddress: 192.168.0.22}
  siteToSite:
    - name: IfCe1
      protocol: IKEv2
      destination: 61.10.10.10
      sourceAddress: 131.107.10.10
      authentication: {method: PSK, sharedSecret: {value: abc}}
      subnets: ["10.1.0.0/24:100"]
  nat:
    externalAddresses:
      - {address: 131.107.10.14}
    staticMappings:
      - {protocol: TCP, external: "131.107.10.14:443", internal: "10.0.0.10:443"}
`

// alike adds a tenant that is alike in everything, lets it answer in its own VSID, and takes it away again.
func alike(ctx context.Context, w *World) ([]string, error) {
	_, remove, err := w.add("northwind.yaml", northwind)
	if err != nil {
		return nil, err
	}
	var seen []string
	line, err := w.during(ctx, "Contoso", func() error {
		err := w.Apply(ctx)
		if err == nil {
			seen, err = answersAlike(ctx, w)
		}
		return errors.Join(err, remove(), w.Apply(ctx))
	})
	if err != nil {
		return seen, err
	}
	return append(seen, line), w.gone(ctx, "Northwind", []uint32{6003}, "61.10.10.10")
}

func answersAlike(ctx context.Context, w *World) ([]string, error) {
	host := w.HyperV(vms[0])
	host.Forget()
	if err := host.Send(host.Packet(providerAddress, 6003, ping())); err != nil {
		return nil, err
	}
	// The lab's host has no VM in VSID 5003: it drops the reply, and we have seen it.
	reply, err := find(ctx, host, func(o hnv.Observation) bool {
		return !o.Sent && o.VSID == 5003 && strings.Contains(o.Inner, gatewayCA+" > "+vms[0])
	})
	if err != nil {
		return nil, err
	}
	var rows []gateway.InterfaceRow
	if err := w.API.Show(ctx, "interfaces", &rows); err != nil {
		return nil, err
	}
	ids := map[uint32]string{}
	for _, r := range rows {
		if r.IfID == 0 {
			continue
		}
		if other, taken := ids[r.IfID]; taken {
			return nil, fmt.Errorf("%s %s has the if_id %d of %s", r.Tenant, r.Name, r.IfID, other)
		}
		ids[r.IfID] = r.Tenant
	}
	return []string{reply.String()}, nil
}

// killedAnywhere kills daemons at ever later moments of their start, each of which has a tenant to add or to remove,
// and then lets one finish.
func killedAnywhere(ctx context.Context, w *World) ([]string, error) {
	err := w.KillDaemon(ctx)
	moments := 0
	for after := 50 * time.Millisecond; after < time.Second && err == nil; after += 50 * time.Millisecond {
		var restore func() error
		if moments%2 == 0 {
			restore, err = w.setAside("woodgrove.yaml")
			if err != nil {
				return nil, err
			}
		}
		short, cancel := context.WithTimeout(ctx, after)
		// Whether it was ready by then does not matter: it is killed either way.
		if w.StartDaemon(short) == nil {
			err = w.KillDaemon(ctx)
		}
		cancel()
		if restore != nil {
			err = errors.Join(err, restore())
		}
		moments++
	}
	if err := errors.Join(err, w.StartDaemon(ctx)); err != nil {
		return nil, err
	}
	links, err := w.Gateway().Run(ctx, "ip", "-o", "link")
	if err != nil {
		return nil, err
	}
	// Two internal and two external links, each with the program of a door; nothing half made.
	if n := strings.Count(links, ": bhi") + strings.Count(links, ": bhx"); n != 4 || strings.Contains(links, ": bht") {
		return nil, fmt.Errorf("links left over or missing in the Default compartment:\n%s", links)
	}
	for _, s := range sites {
		if err := w.redial(ctx, s.name); err != nil {
			return nil, err
		}
	}
	seen, err := w.connectedAll(ctx)
	if err != nil {
		return seen, err
	}
	for _, tenant := range tenants {
		if _, err := pingGateway(ctx, w, tenant, vms[0]); err != nil {
			return seen, err
		}
	}
	return append(seen, fmt.Sprintf("%d daemons were killed 50 to %d ms after their start", moments, moments*50)), nil
}
