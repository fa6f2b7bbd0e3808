package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// frrDir has Debian's FRR daemons.
const frrDir = "/usr/lib/frr"

// FRR is a running FRR: zebra, bfdd and bgpd.
type FRR struct {
	node  *Node
	dir   string
	parts []*Process
}

// StartFRR is the [Implementation] that runs FRR.
func StartFRR(ctx context.Context, n *Node, dir string, want BGP) (Speaker, error) {
	f := &FRR{node: n, dir: dir}
	// Some of their sockets are in there whatever they are told.
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.MkdirAll("/run/frr", 0o755)); err != nil {
		return nil, fmt.Errorf("start FRR in %s: %w", n.Name, err)
	}
	for _, daemon := range [][2]string{{"zebra", ""}, {"bfdd", ""}, {"bgpd", frrConfig(want)}} {
		if err := f.start(ctx, daemon[0], daemon[1]); err != nil {
			return nil, errors.Join(err, f.Stop())
		}
	}
	return f, nil
}

// start runs one of the daemons, with nothing outside of the folder and no TCP port for its terminal.
func (f *FRR) start(ctx context.Context, name, config string) error {
	path := func(suffix string) string { return filepath.Join(f.dir, name+suffix) }
	if err := os.WriteFile(path(".conf"), []byte(config), 0o600); err != nil {
		return fmt.Errorf("configure FRR: %w", err)
	}
	process, err := startServing(ctx, f.node, f.dir, name, path(".vty"),
		filepath.Join(frrDir, name), "-u", "root", "-g", "frrvty", "--vty_socket", f.dir, "-z", filepath.Join(f.dir, "zserv"),
		"--log", "stdout", "-P", "0", "-f", path(".conf"), "-i", path(".pid"))
	if err != nil {
		return err
	}
	f.parts = append(f.parts, process)
	return nil
}

// Load implements [Speaker].
func (f *FRR) Load(ctx context.Context, want BGP) error { return f.Configure(ctx, frrConfig(want)) }

// Configure implements [Speaker].
func (f *FRR) Configure(ctx context.Context, text string) error {
	file := filepath.Join(f.dir, "load.conf")
	if err := os.WriteFile(file, []byte("no router bgp\n"+text), 0o600); err != nil {
		return fmt.Errorf("configure FRR: %w", err)
	}
	_, err := f.node.Run(ctx, "vtysh", "--vty_socket", f.dir, "-d", "bgpd", "-f", file)
	return err
}

// Command runs commands of bgpd's terminal, one after the other.
func (f *FRR) Command(ctx context.Context, commands ...string) (string, error) {
	args := []string{"--vty_socket", f.dir, "-d", "bgpd"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	return f.node.Run(ctx, "vtysh", args...)
}

// ask is what bgpd shows.
func (f *FRR) ask(ctx context.Context, command string, into any) error {
	said, err := f.Command(ctx, command)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(said), into); err != nil {
		return fmt.Errorf("%s: FRR says to %q: %w: %s", f.node.Name, command, err, said)
	}
	return nil
}

// frrConfig is bgpd's configuration file. Tunnels and own links alike lead straight to the neighbour.
func frrConfig(want BGP) string {
	var t strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&t, format+"\n", args...) }
	line("router bgp %d\n bgp router-id %v\n no bgp ebgp-requires-policy\n no bgp network import-check", want.ASN, want.Identifier)
	line(" no bgp default ipv4-unicast")
	if want.GracefulRestart > 0 {
		line(" bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart restart-time %.0f",
			want.GracefulRestart.Seconds())
	} else {
		line(" bgp graceful-restart-disable")
	}
	for _, n := range want.Neighbours {
		frrNeighbour(line, n)
	}
	for i, family := range []string{"ipv4", "ipv6"} {
		line(" address-family %s unicast", family)
		for _, p := range want.Networks {
			if p.Addr().Is6() == (i == 1) {
				line("  network %v", p)
			}
		}
		for _, n := range want.Neighbours {
			if i == 0 || n.IPv6 {
				line("  neighbor %v activate", n.Address)
			}
			if i == 1 && n.IPv6 && n.NextHop6.IsValid() {
				line("  neighbor %v route-map next-hop-%v out", n.Address, n.NextHop6)
			}
		}
		line(" exit-address-family")
	}
	line("exit")
	for _, n := range want.Neighbours {
		if n.IPv6 && n.NextHop6.IsValid() {
			line("route-map next-hop-%v permit 10\n set ipv6 next-hop global %v\nexit", n.NextHop6, n.NextHop6)
		}
	}
	return t.String()
}

func frrNeighbour(line func(string, ...any), n Neighbour) {
	say := func(format string, args ...any) { line(" neighbor %v "+format, append([]any{n.Address}, args...)...) }
	say("remote-as %d", n.ASN)
	say("update-source %v", n.Local)
	say("timers connect 2")
	say("advertisement-interval 0")
	if n.SecurityHops > 0 {
		say("ttl-security hops %d", n.SecurityHops)
	}
	if n.Passive {
		say("passive")
	}
	if n.Password != "" {
		say("password %s", n.Password)
	}
	if n.Hold > 0 {
		say("timers %.0f %.0f", max(1, n.Hold.Seconds()/3), n.Hold.Seconds())
	}
	if n.BFD > 0 {
		say("bfd 3 %d %d", n.BFD.Milliseconds(), n.BFD.Milliseconds())
	}
}

// Session implements [Speaker].
func (f *FRR) Session(ctx context.Context, neighbour netip.Addr) (Session, error) {
	var all map[string]struct {
		State     string `json:"bgpState"`
		Up        int64  `json:"bgpTimerUpEstablishedEpoch"`
		LastReset string `json:"lastResetDueTo"`
		LastError string `json:"lastErrorCodeSubcode"`
	}
	if err := f.ask(ctx, fmt.Sprintf("show bgp neighbors %v json", neighbour), &all); err != nil {
		return Session{}, err
	}
	s, ok := all[neighbour.String()]
	if !ok {
		return Session{}, fmt.Errorf("%s: FRR has no session with %v", f.node.Name, neighbour)
	}
	return Session{
		Established: s.State == "Established", State: s.State, LastError: strings.TrimSpace(s.LastReset + " " + s.LastError),
		Since: time.Unix(s.Up, 0),
	}, nil
}

// Best implements [Speaker].
func (f *FRR) Best(ctx context.Context) (map[netip.Prefix]string, error) {
	best := map[netip.Prefix]string{}
	for _, family := range []string{"ipv4", "ipv6"} {
		var table struct {
			Routes map[netip.Prefix][]struct {
				Best bool   `json:"bestpath"`
				Path string `json:"path"`
				Peer string `json:"peerId"`
			} `json:"routes"`
		}
		if err := f.ask(ctx, "show bgp "+family+" unicast json", &table); err != nil {
			return nil, err
		}
		for prefix, paths := range table.Routes {
			for _, p := range paths {
				if p.Best && p.Peer != "(unspec)" {
					best[prefix] = p.Path
				}
			}
		}
	}
	return best, nil
}

// Log implements [Speaker].
func (f *FRR) Log() string {
	var all []string
	for _, p := range f.parts[1:] { // zebra only complains, of every change of a link, that nobody manages it
		all = append(all, p.name+":\n"+p.LogTail(20))
	}
	watches, err := f.node.Run(context.Background(), "vtysh", "--vty_socket", f.dir, "-d", "bfdd", "-c", "show bfd peers")
	if err == nil {
		all = append(all, watches)
	}
	return strings.Join(all, "\n")
}

// Stop ends all daemons properly: bgpd says goodbye, zebra takes its routes back.
func (f *FRR) Stop() error { return settle((*Process).Stop, f.parts...) }

// Kill ends all daemons at once.
func (f *FRR) Kill() error { return settle((*Process).Kill, f.parts...) }
