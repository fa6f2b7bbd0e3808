package gateway

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"bulkhead/compartments"
	"bulkhead/configs"
	"bulkhead/dataplane"
	"bulkhead/filters"
	"bulkhead/internal/drops"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
	"bulkhead/nat"
	"bulkhead/ratelimit"
	"bulkhead/trigger"
)

// documented are the reasons in docs/drops.md, as "where reason".
func documented(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../docs/drops.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	heading, row := regexp.MustCompile(`^## (\w+):`), regexp.MustCompile(`^\| ([a-z0-9-]+) \|`)
	where := ""
	for line := range strings.Lines(string(text)) {
		if m := heading.FindStringSubmatch(line); m != nil {
			where = m[1]
		} else if m := row.FindStringSubmatch(line); m != nil && m[1] != "reason" && !strings.HasPrefix(m[1], "--") {
			found[where+" "+m[1]] = true
		}
	}
	return found
}

func TestEveryDropReasonIsDocumentedAndNoOther(t *testing.T) {
	inDocs := documented(t)
	inCode := map[string]bool{}
	reasons, err := dataplane.Reasons()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reasons {
		inCode[r.Where+" "+r.Name] = true
	}
	// The compartment's counters are asked of the kernel, where the declared rules have just put them.
	ns := testenv.Namespace(t)
	tenant := load(t, "../configs/fabrikam").tenant("Woodgrove")
	if err := nat.Set(t.Context(), ns, tenant.NAT); err != nil {
		t.Fatal(err)
	}
	counted, err := nat.Drops(ns)
	if err != nil {
		t.Fatal(err)
	}
	if err := filters.Set(t.Context(), ns, []filters.Filter{{Link: "IfCe1"}}); err != nil {
		t.Fatal(err)
	}
	filtered, err := filters.Drops(ns)
	if err != nil {
		t.Fatal(err)
	}
	rooms, err := compartments.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer rooms.Close()
	if err := rooms.Set(t.Context(), ns, compartments.Config{}); err != nil {
		t.Fatal(err)
	}
	own, err := compartments.Drops(ns)
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := trigger.Open(ns, trigger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if err := waiting.Set(nil); err != nil {
		t.Fatal(err)
	}
	held, err := trigger.Drops(ns)
	if err != nil {
		t.Fatal(err)
	}
	limited := limitedLink(t, ns)
	for _, d := range slices.Concat(counted, filtered, own, held, limited) {
		inCode[d.Where+" "+d.Reason] = true
	}
	for reason := range inCode {
		if !inDocs[reason] {
			t.Errorf("docs/drops.md lacks %q", reason)
		}
	}
	for reason := range inDocs {
		if !inCode[reason] && !strings.HasPrefix(reason, "ipsec ") {
			t.Errorf("docs/drops.md has %q, which nothing counts", reason)
		}
	}
}

// limitedLink reads the counters of limits that stand on a link.
func limitedLink(t *testing.T, ns *netns.Namespace) []drops.Drop {
	t.Helper()
	h, err := ns.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "IfCe1"
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "site"}); err != nil {
		t.Fatal(err)
	}
	if err := ratelimit.Set(t.Context(), ns, []ratelimit.Limit{{Link: "IfCe1", TxKbps: 100, RxKbps: 100}}); err != nil {
		t.Fatal(err)
	}
	limited, err := ratelimit.Drops(ns)
	if err != nil {
		t.Fatal(err)
	}
	return limited
}

func TestTheReadmesConfigurationIsValid(t *testing.T) {
	_, dir := readme(t)
	cfg, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Tenants) != 1 || len(cfg.Pending()) != 0 {
		t.Errorf("tenants %d, pending %v: the README's example must work as it stands", len(cfg.Tenants), cfg.Pending())
	}
}

// readme is the README's configuration in a folder.
func readme(t *testing.T) (text, dir string) {
	t.Helper()
	all, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(string(all))
	if block == nil {
		t.Fatal("README.md has no configuration")
	}
	dir = t.TempDir()
	if err := os.WriteFile(dir+"/all.yaml", []byte(block[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/contoso-ny.key", []byte("a secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return string(all), dir
}

func TestTheReadmesStatementsAreTakenByItsConfiguration(t *testing.T) {
	text, dir := readme(t)
	cfg, err := configs.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^    bulkhead policy (\S+) ([^-\n].*)$`).FindAllStringSubmatch(text, -1)
	if len(lines) < 3 {
		t.Fatalf("README.md has %d policy commands only", len(lines))
	}
	for _, line := range lines {
		statements := []string{line[2]}
		if strings.HasPrefix(line[2], `"`) {
			statements = strings.Split(strings.Trim(line[2], `"`), `" "`)
		}
		for _, s := range statements {
			change, err := configs.ParseChange(s)
			if err == nil {
				err = cfg.Change(line[1], []configs.Change{change}, func() error { return nil })
			}
			if err != nil {
				t.Errorf("%s: %v", s, err)
			}
		}
	}
}
