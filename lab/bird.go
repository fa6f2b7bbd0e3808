package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// birdPath is Debian's BIRD 2.
const birdPath = "/usr/sbin/bird"

// Bird is a running BIRD.
type Bird struct {
	*Process
	node        *Node
	dir, socket string
}

// StartBird is the [Implementation] that runs BIRD.
func StartBird(ctx context.Context, n *Node, dir string, want BGP) (Speaker, error) {
	b := &Bird{node: n, dir: dir, socket: filepath.Join(dir, "ctl")}
	if err := b.write(birdConfig(want)); err != nil {
		return nil, err
	}
	var err error
	b.Process, err = startServing(ctx, n, dir, "bird", b.socket, birdPath, "-f", "-c", b.config(), "-s", b.socket,
		"-P", filepath.Join(dir, "pid"))
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Bird) config() string { return filepath.Join(b.dir, "bird.conf") }

func (b *Bird) write(text string) error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return fmt.Errorf("configure BIRD: %w", err)
	}
	if err := os.WriteFile(b.config(), []byte(text), 0o600); err != nil {
		return fmt.Errorf("configure BIRD: %w", err)
	}
	return nil
}

// Load implements [Speaker].
func (b *Bird) Load(ctx context.Context, want BGP) error { return b.Configure(ctx, birdConfig(want)) }

// Configure implements [Speaker].
func (b *Bird) Configure(ctx context.Context, text string) error {
	if err := b.write(text); err != nil {
		return err
	}
	said, err := b.ask(ctx, "configure")
	if err == nil && !strings.Contains(said, "Reconfigur") {
		err = fmt.Errorf("%s: BIRD does not take the configuration: %s", b.node.Name, said)
	}
	return err
}

// ask runs a command of birdc.
func (b *Bird) ask(ctx context.Context, words ...string) (string, error) {
	return b.node.Run(ctx, "/usr/sbin/birdc", append([]string{"-s", b.socket}, words...)...)
}

// birdConfig is the configuration file. Tunnels and own links alike lead straight to the neighbour.
func birdConfig(want BGP) string {
	var t strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&t, format+"\n", args...) }
	line("log stderr all;\nrouter id %v;\ntimeformat protocol \"%%s\";", want.Identifier)
	line("protocol device {}\nprotocol direct { ipv4; ipv6; }\nprotocol bfd {}")
	line("filter told { if source = RTS_BGP then accept;")
	for _, p := range want.Networks {
		line("  if net = %v then accept;", p)
	}
	line("  reject;\n}")
	for n, family := range []string{"ipv4", "ipv6"} {
		line("protocol kernel { %s { export where source = RTS_BGP; }; merge paths on; }", family)
		line("protocol static {\n  %s;", family)
		for _, p := range want.Networks {
			if p.Addr().Is6() == (n == 1) {
				line("  route %v unreachable;", p)
			}
		}
		line("}")
	}
	for _, n := range want.Neighbours {
		birdNeighbour(line, want, n)
	}
	return t.String()
}

func birdNeighbour(line func(string, ...any), want BGP, n Neighbour) {
	line("protocol bgp %s {\n  local %v as %d;\n  neighbor %v as %d;", birdName(n.Address), n.Local, want.ASN, n.Address, n.ASN)
	line("  connect delay time 1;\n  connect retry time 2;\n  error wait time 1, 2;")
	switch {
	case n.SecurityHops > 1:
		line("  multihop %d;\n  ttl security on;", n.SecurityHops)
	case n.SecurityHops == 1:
		line("  direct;\n  ttl security on;")
	default:
		line("  direct;")
	}
	if n.Passive {
		line("  passive on;")
	}
	if n.Password != "" {
		line("  authentication md5;\n  password %q;", n.Password)
	}
	if n.Hold > 0 {
		line("  hold time %.0f;\n  keepalive time %.0f;", n.Hold.Seconds(), max(1, n.Hold.Seconds()/3))
	}
	if n.BFD > 0 {
		line("  bfd { interval %d ms; multiplier 3; };", n.BFD.Milliseconds())
	}
	if want.GracefulRestart > 0 {
		line("  graceful restart on;\n  graceful restart time %.0f;", want.GracefulRestart.Seconds())
	} else {
		line("  graceful restart off;\n  long lived graceful restart off;")
	}
	const channel = "import all; export filter told;"
	inside := ""
	if n.ASN == want.ASN {
		inside = " gateway recursive;" // a reflected route's next hop is not at the other end of the line
	}
	line("  ipv4 { %s%s };", channel, inside)
	if n.IPv6 {
		line("  ipv6 { %s next hop address %v; gateway recursive; };", channel, n.NextHop6)
	}
	line("}")
}

// birdName is the name of the protocol for a neighbour: names begin with a letter and have neither dots nor colons.
func birdName(neighbour netip.Addr) string {
	return "to_" + strings.NewReplacer(".", "_", ":", "_").Replace(neighbour.String())
}

var birdError = regexp.MustCompile(`(?m)^\s*Last error:\s*(.*)$`)

// Session implements [Speaker].
func (b *Bird) Session(ctx context.Context, neighbour netip.Addr) (Session, error) {
	name := birdName(neighbour)
	said, err := b.ask(ctx, "show", "protocols", "all", name)
	if err != nil {
		return Session{}, err
	}
	for line := range strings.Lines(said) {
		// NAME BGP TABLE up SECONDS STATE
		f := strings.Fields(line)
		if len(f) < 5 || f[0] != name {
			continue
		}
		since, err := strconv.ParseInt(f[4], 10, 64)
		if err != nil {
			return Session{}, fmt.Errorf("%s: BIRD says %q: %w", b.node.Name, line, err)
		}
		s := Session{State: strings.Join(f[5:], " "), Since: time.Unix(since, 0)}
		s.Established = strings.HasPrefix(s.State, "Established")
		if match := birdError.FindStringSubmatch(said); match != nil {
			s.LastError = match[1]
		}
		return s, nil
	}
	return Session{}, fmt.Errorf("%s: BIRD has no session with %v: %s", b.node.Name, neighbour, said)
}

var (
	birdRoute  = regexp.MustCompile(`^([0-9a-f.:]+/\d+)?\s+\S+ \[\S+ .*\] (\*)?`)
	birdPathOf = regexp.MustCompile(`^\s+BGP\.as_path: ?(.*)$`)
)

// Best implements [Speaker].
func (b *Bird) Best(ctx context.Context) (map[netip.Prefix]string, error) {
	said, err := b.ask(ctx, "show", "route", "all", "where", "source", "=", "RTS_BGP")
	if err != nil {
		return nil, err
	}
	best, current, counts := map[netip.Prefix]string{}, netip.Prefix{}, false
	for line := range strings.Lines(said) {
		line = strings.TrimRight(line, "\n")
		if match := birdRoute.FindStringSubmatch(line); match != nil {
			if match[1] != "" {
				if current, err = netip.ParsePrefix(match[1]); err != nil {
					return nil, fmt.Errorf("%s: BIRD's routes: %w", b.node.Name, err)
				}
			}
			counts = match[2] != ""
		} else if match := birdPathOf.FindStringSubmatch(line); match != nil && counts {
			best[current] = match[1]
		}
	}
	return best, nil
}

// Log implements [Speaker].
func (b *Bird) Log() string { return b.LogTail(30) }
