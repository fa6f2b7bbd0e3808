package bgp_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/seat"
	"bulkhead/bgp/internal/wire"
	"bulkhead/bgp/speaker"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// TestMain lets the test binary be a speaker too: managers start their own binary.
func TestMain(m *testing.M) {
	processes := map[string]func(args []string) error{"bgp-speaker": speak, "foreign-speaker": speakForeign, "daemon": daemon}
	if len(os.Args) > 1 && processes[os.Args[1]] != nil {
		if err := processes[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testenv.Isolated(m)
}

// real ends the names of tenants whose speakers really speak.
const real = "-speaks"

// speak is a speaker's process. Without a name that says so it speaks to nobody; that of a tenant called broken cannot
// start.
func speak(args []string) error {
	flags := flag.NewFlagSet("bgp-speaker", flag.ContinueOnError)
	tenant, socket := flags.String("tenant", "", ""), flags.String("socket", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if strings.HasSuffix(*tenant, real) {
		return speaker.Run(ctx, *socket, speaker.Options{Tenant: *tenant, Version: "test"})
	}
	if *tenant == "broken" {
		return fmt.Errorf("no table to write to")
	}
	server, err := speaker.Listen(*socket, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	fmt.Print(wire.Ready)
	if err := os.Stdout.Close(); err != nil {
		return err
	}
	return server.Serve(ctx, &dummy{ailment: filepath.Join(filepath.Dir(*socket), *tenant+ill)})
}

// ill ends the name of a file: the tenant's speaker ends when it is configured, and takes a letter of the file with it.
const ill = ".ill"

// dummy remembers what it was told.
type dummy struct {
	ailment string

	mu   sync.Mutex
	want *bgp.Config
	down []string
	sets uint32
}

// suffer ends the process as often as its file has letters.
func (d *dummy) suffer() {
	if letters, err := os.ReadFile(d.ailment); err == nil && len(letters) > 0 {
		_ = os.WriteFile(d.ailment, letters[1:], 0o600)
		os.Exit(1)
	}
}

func (d *dummy) Set(_ context.Context, want *bgp.Config) error {
	d.suffer()
	d.mu.Lock()
	defer d.mu.Unlock()
	if want.ASN == 0 {
		return fmt.Errorf("AS number 0 is nobody's (RFC 7607)")
	}
	d.want = want
	d.sets++
	return nil
}

func (d *dummy) SetTunnels(down []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

func (d *dummy) Status() bgp.Status {
	return bgp.Status{PID: os.Getpid(), Version: "test", Configured: true, IPv4Routes: 7, PrivateBytes: 1 << 20}
}

// Peers tells of the peers that were declared, with the tunnels that are down as capabilities.
func (d *dummy) Peers(context.Context) ([]bgp.PeerState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.want == nil {
		return nil, nil
	}
	var out []bgp.PeerState
	for _, p := range d.want.Peers {
		out = append(out, bgp.PeerState{
			Name: p.Name, Address: p.Address, ASN: p.ASN, State: bgp.Established, Capabilities: d.down, Flaps: d.sets,
			Families: []bgp.FamilyState{{Name: "ipv4", Received: 3, Accepted: 2, Advertised: 1}},
			Received: bgp.Messages{Update: 5}, Refused: map[string]uint64{"its AS path has our own number": 4},
		})
	}
	return out, nil
}

// Routes are as many as the query's limit says; beyond a thousand the table breaks.
func (d *dummy) Routes(_ context.Context, query bgp.RouteQuery, yield func(bgp.Route) bool) error {
	for n := range query.Limit {
		if n == 1000 {
			return fmt.Errorf("the table broke")
		}
		address := netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 0})
		if !yield(bgp.Route{Prefix: netip.PrefixFrom(address, 24), Peer: query.Peer}) {
			return nil
		}
	}
	return nil
}

func (d *dummy) Advertised(_ context.Context, query bgp.RouteQuery, _ func(bgp.Route) bool) error {
	return fmt.Errorf("peer %q is not declared", query.Peer)
}

func (d *dummy) Reset(_ context.Context, peer string, soft bool) error {
	return fmt.Errorf("peer %s, soft %t", peer, soft)
}

func (d *dummy) Close(context.Context, bool) error { return nil }

// speakForeign is a speaker's process of another protocol: it answers what must stay the same for ever, and nothing else.
func speakForeign(args []string) error {
	s, err := seat.Take(args[0])
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.Status, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(bgp.Status{Protocol: wire.Protocol + 1, Version: "99"})
	})
	mux.HandleFunc("POST "+wire.Stop, func(http.ResponseWriter, *http.Request) { os.Exit(0) })
	fmt.Print(wire.Ready)
	server := http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	return server.Serve(s.Listener)
}

// daemon is a process that starts a speaker where it is, says so, and waits for its end.
func daemon(args []string) error {
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	m := bgp.NewManager(bgp.Options{Dir: args[0]})
	if err := m.Set(context.Background(), ns, args[1], config(args[1])); err != nil {
		return err
	}
	// Where the tests were started with hangups ignored, as by nohup, this process is not to be.
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM)
	fmt.Print(wire.Ready)
	return fmt.Errorf("ended by %v", <-ended)
}
