package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"github.com/strongswan/govici/vici"
	"github.com/vishvananda/netlink"
)

// PSK is the pre-shared key that the gateway knows for every site.
const PSK = "abc"

const (
	siteMTU    = 1400 // with the ESP and UDP of an IPv4 tunnel around it, below 1500
	siteIfID   = 1
	siteTunnel = "tunnel" // names the site's xfrm interface, its connection and its child
)

// Site is a tenant's site: a router with a public address and a LAN, and a host on that LAN.
type Site struct {
	Name string
	// Address is the router's public one, and its identity in IKE.
	Address netip.Addr
	// LAN is the router's address there, with the prefix.
	LAN netip.Prefix
	// Router is the node that runs charon, Host the one behind it.
	Router, Host *Node
	// Charon is the site's IKE daemon after Start.
	Charon *Charon
	lab    *Lab
}

// SA is an established CHILD_SA as its owner knows it.
type SA struct {
	SPIIn, SPIOut     string // hexadecimal, as on the wire
	BytesIn, BytesOut string
	RemoteHost        string
}

// buildSites makes the sites' routers and LANs, without tunnels.
func (l *Lab) buildSites() error {
	for _, s := range []struct{ name, bridge, address, lan, host string }{
		{"NY-Contoso", "net59", "59.10.10.10/24", "10.1.0.1/24", "10.1.0.5/24"},
		{"NY-Woodgrove", "net59", "59.10.10.100/24", "10.1.0.1/24", "10.1.0.5/24"},
		{"SFO-Woodgrove", "net60", "60.10.10.100/24", "10.2.0.1/24", "10.2.0.5/24"},
	} {
		address, lan, host := netip.MustParsePrefix(s.address), netip.MustParsePrefix(s.lan), netip.MustParsePrefix(s.host)
		router, err := l.addHost(s.name, l.Node("internet"), s.bridge, s.name, address)
		if err != nil {
			return err
		}
		node, err := l.addNode(s.name + "-host")
		if err != nil {
			return err
		}
		// The virtual network is reached by tunnel or not at all.
		if err := errors.Join(connect(router, "lan", node, "eth0", plainMTU), router.configure("lan", lan),
			node.configure("eth0", host), node.route("eth0", anywhere, lan.Addr()),
			router.sysctl("ipv4/ip_forward=1"), router.unreachable(virtualNetwork)); err != nil {
			return err
		}
		l.sites[s.name] = &Site{Name: s.name, Address: address.Addr(), LAN: lan, Router: router, Host: node, lab: l}
	}
	return nil
}

// virtualNetwork is the prefix that sites reach through the gateway.
var virtualNetwork = netip.MustParsePrefix("10.0.0.0/16")

// Start starts the site's charon with a key (PSK is the right one) and its tunnel interface. The site then
// answers the gateway and dials when told to (Up).
func (s *Site) Start(ctx context.Context, key string) error {
	if err := s.addTunnel(); err != nil {
		return err
	}
	charon, err := StartCharon(ctx, s.Router, filepath.Join(s.lab.dir, s.Name))
	if err != nil {
		return err
	}
	s.Charon = charon
	return s.vici(ctx, func(ctx context.Context, session *vici.Session) error {
		return errors.Join(s.call(ctx, session, "load-conn", s.connection()), s.call(ctx, session, "load-shared", section{
			"id": siteTunnel, "type": "IKE", "data": key, "owners": []string{s.Address.String(), GatewayAddress.String()},
		}))
	})
}

// Restart stops the site's charon and starts it with a key, which may be another than before.
func (s *Site) Restart(ctx context.Context, key string) error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.Start(ctx, key)
}

// Stop ends the site's charon, which takes its tunnels down properly; Charon.Kill does not.
func (s *Site) Stop() error {
	if s.Charon == nil {
		return nil
	}
	return s.Charon.Stop()
}

// addTunnel makes the xfrm interface, where it does not stand yet, and the route into it.
func (s *Site) addTunnel() error {
	handle, err := s.Router.NS.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	if _, err := handle.LinkByName(siteTunnel); err == nil {
		return nil
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = siteTunnel, siteMTU
	if err := handle.LinkAdd(&netlink.Xfrmi{LinkAttrs: attrs, Ifid: siteIfID}); err != nil {
		return fmt.Errorf("site %s makes an xfrm interface (needs a kernel with IPsec, as in lab/vm): %w", s.Name, err)
	}
	return errors.Join(s.Router.configure(siteTunnel), s.Router.route(siteTunnel, virtualNetwork, netip.Addr{}))
}

// section is a part of a vici message: values are strings, lists of strings and sections.
type section map[string]any

func (s section) message() (*vici.Message, error) {
	m := vici.NewMessage()
	for key, value := range s {
		if sub, ok := value.(section); ok {
			message, err := sub.message()
			if err != nil {
				return nil, err
			}
			value = message
		}
		if err := m.Set(key, value); err != nil {
			return nil, fmt.Errorf("vici message: %w", err)
		}
	}
	return m, nil
}

// connection is the site's side of the tunnel: everything goes in, the route decides.
func (s *Site) connection() section {
	return section{siteTunnel: section{
		"version": "2", "local_addrs": []string{s.Address.String()}, "remote_addrs": []string{GatewayAddress.String()},
		"proposals": []string{"aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"},
		"if_id_in":  strconv.Itoa(siteIfID), "if_id_out": strconv.Itoa(siteIfID), "unique": "never", "dpd_delay": "10s",
		"local":  section{"auth": "psk", "id": s.Address.String()},
		"remote": section{"auth": "psk", "id": GatewayAddress.String()},
		"children": section{siteTunnel: section{
			"local_ts": []string{"0.0.0.0/0"}, "remote_ts": []string{"0.0.0.0/0"}, "replay_window": "1024",
			"esp_proposals": []string{"aes256gcm16", "aes128gcm16", "aes256-sha256"},
		}},
	}}
}

// Up dials the gateway and waits until the tunnel stands, at most until the context ends (30 s without a deadline). The
// error holds charon's own words.
func (s *Site) Up(ctx context.Context) error {
	return s.vici(ctx, func(ctx context.Context, session *vici.Session) error {
		deadline, _ := ctx.Deadline()
		patience := strconv.FormatInt(time.Until(deadline).Milliseconds(), 10)
		err := s.call(ctx, session, "initiate", section{"child": siteTunnel, "ike": siteTunnel, "timeout": patience})
		if err != nil {
			return fmt.Errorf("dial the gateway: %w; the end of charon's log:\n%s", err, s.Charon.LogTail(12))
		}
		return s.awaitTunnel(ctx, session, true)
	})
}

// Down takes the site's tunnels down, telling the gateway.
func (s *Site) Down(ctx context.Context) error {
	return s.vici(ctx, func(ctx context.Context, session *vici.Session) error {
		err := s.call(ctx, session, "terminate", section{"ike": siteTunnel, "timeout": "10000"})
		return errors.Join(err, s.awaitTunnel(ctx, session, false))
	})
}

// awaitTunnel waits until charon lists an established tunnel, or none: it answers commands a little before that.
func (s *Site) awaitTunnel(ctx context.Context, session *vici.Session, want bool) error {
	for {
		sas, err := s.list(ctx, session)
		if err != nil || len(sas) > 0 == want {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d tunnels are established: %w", len(sas), ctx.Err())
		}
		wait(ctx, 20*time.Millisecond)
	}
}

// SAs are the site's established tunnels.
func (s *Site) SAs(ctx context.Context) ([]SA, error) {
	var sas []SA
	err := s.vici(ctx, func(ctx context.Context, session *vici.Session) error {
		var err error
		sas, err = s.list(ctx, session)
		return err
	})
	return sas, err
}

// list asks charon for its SAs. The answer comes as events, which are collected here: govici v0.8.0's CallStreaming
// chooses at random between an event and the end of the answer when both have come, and then loses the event.
func (s *Site) list(ctx context.Context, session *vici.Session) ([]SA, error) {
	events := make(chan vici.Event, 64)
	session.NotifyEvents(events)
	defer session.StopEvents(events)
	if err := session.Subscribe("list-sa"); err != nil {
		return nil, fmt.Errorf("list SAs: %w", err)
	}
	if err := s.call(ctx, session, "list-sas", nil); err != nil {
		return nil, err
	}
	var sas []SA
	for {
		select {
		case event, ok := <-events:
			if !ok {
				return nil, errors.New("list SAs: charon ended the session")
			}
			sas = append(sas, childSAs(event.Message)...)
		default:
			return sas, nil
		}
	}
}

// childSAs reads the established children of a list-sa event.
func childSAs(event *vici.Message) []SA {
	var sas []SA
	for _, name := range event.Keys() {
		ike, ok := event.Get(name).(*vici.Message)
		if !ok {
			continue
		}
		children, ok := ike.Get("child-sas").(*vici.Message)
		if !ok {
			continue
		}
		for _, key := range children.Keys() {
			child, ok := children.Get(key).(*vici.Message)
			if !ok || text(child, "state") != "INSTALLED" {
				continue
			}
			sas = append(sas, SA{
				SPIIn: text(child, "spi-in"), SPIOut: text(child, "spi-out"), RemoteHost: text(ike, "remote-host"),
				BytesIn: text(child, "bytes-in"), BytesOut: text(child, "bytes-out"),
			})
		}
	}
	return sas
}

func text(m *vici.Message, key string) string {
	value, _ := m.Get(key).(string)
	return value
}

func (s *Site) call(ctx context.Context, session *vici.Session, command string, what section) error {
	message, err := what.message()
	if err != nil {
		return err
	}
	if _, err := session.Call(ctx, command, message); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

// viciTimeout bounds a conversation with charon where the caller does not.
const viciTimeout = 30 * time.Second

// vici runs do with a session of the site's charon, and a context that has a deadline.
func (s *Site) vici(ctx context.Context, do func(context.Context, *vici.Session) error) error {
	if s.Charon == nil {
		return fmt.Errorf("site %s: charon was not started", s.Name)
	}
	if _, ok := ctx.Deadline(); !ok {
		bounded, cancel := context.WithTimeout(ctx, viciTimeout)
		defer cancel()
		ctx = bounded
	}
	session, err := vici.NewSession(vici.WithSocketPath(s.Charon.Socket))
	if err != nil {
		return fmt.Errorf("site %s: %w", s.Name, err)
	}
	defer func() { _ = session.Close() }()
	if err := do(ctx, session); err != nil {
		return fmt.Errorf("site %s: %w", s.Name, err)
	}
	return nil
}
