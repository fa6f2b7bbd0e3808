package configs

import (
	"fmt"
	"net/netip"
)

// Pending lists what is declared and not carried out yet, object and key in each line, in the order of the objects.
// Nothing that Load takes is left out silently: it is carried out, or it stands here.
func (c *Config) Pending() []string {
	var out []string
	if c.Gateway != nil {
		out = c.Gateway.pending()
	}
	for _, t := range c.Tenants {
		out = append(out, t.pending()...)
	}
	return out
}

// pendingList gathers the keys of one object.
type pendingList struct {
	object string
	keys   []string
}

// add takes a key if it is declared.
func (l *pendingList) add(declared bool, key string, args ...any) {
	if declared {
		l.keys = append(l.keys, l.object+" spec."+fmt.Sprintf(key, args...))
	}
}

func (g *Gateway) pending() []string {
	l := pendingList{object: kindGateway + "/" + g.Name}
	l.add(g.Management != nil, "management")
	return l.keys
}

func (t *Tenant) pending() []string {
	l := pendingList{object: kindTenant + "/" + t.Name}
	forwarding := map[string]bool{}
	for _, f := range t.ForwardingInterfaces {
		forwarding[f.Name] = true
	}
	for _, r := range t.Routes {
		l.add(forwarding[r.Interface] || t.behindForwarding(r.NextHop), "routes[%s] (forwarding interface)", r.Prefix)
	}
	l.add(len(t.ForwardingInterfaces) > 0, "forwardingInterfaces")
	l.add(t.DNS != nil, "dns")
	l.add(t.RemoteAccess != nil, "remoteAccess")
	if t.BGP != nil {
		for _, p := range t.BGP.Peers {
			l.add(t.behindForwarding(p.Address) || t.behindForwarding(p.LocalAddress), "bgp.peers[%s] (forwarding interface)", p.Name)
		}
		for _, r := range t.BGP.CustomRoutes {
			l.add(forwarding[r.Interface], "bgp.customRoutes[%s] (forwarding interface)", r.Interface)
			l.add(r.Interface == dialInInterface, "bgp.customRoutes[%s] (remote access)", r.Interface)
		}
	}
	return l.keys
}

// behindForwarding tells whether an address lies in the subnet of a forwarding interface.
func (t *Tenant) behindForwarding(hop netip.Addr) bool {
	for _, f := range t.ForwardingInterfaces {
		for _, a := range f.Addresses {
			if a.Contains(hop) {
				return true
			}
		}
	}
	return false
}
