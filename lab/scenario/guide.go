package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"bulkhead/lab"
)

// guideSites are the sites of docs/site-to-site.md, with the names of their interfaces and LANs 10.N.0.0/24.
var guideSites = []struct {
	host, iface, address, behind string
	n                            int
	// dials is the host whose command, which begins so, brings the tunnel up.
	dials, command string
}{
	{"newyork", "NewYork", "59.10.10.61", "", 61, "gateway", "bulkhead tunnel connect"},
	{"branch", "Branch", "59.10.10.62", "192.168.1.50/24", 62, "branch", "swanctl --initiate"},
	{"berlin", "Berlin", "60.10.10.63", "", 63, "berlin", "swanctl --load-all"},
	{"paris", "Paris", "60.10.10.64", "", 64, "paris", "swanctl --load-all"},
}

// guide is the reader of a document, who types what it says.
type guide struct {
	w *World
	// folder is where he is, and bin has the programs as he calls them. Each site's /etc/swanctl is in sites.
	folder, bin, sites string
	nodes              map[string]*lab.Node
}

var guideBlock = regexp.MustCompile("(?s)```(\\S+) (\\S+)\n(.*?)```")

// Guide does what a document says, in order: `yaml FILE` is a new declaration, `yaml siteToSite` and `yaml filters` are added
// to it, `yaml ike` goes into the gateway's; `console HOST` are commands, with lines of what they print.
func Guide(text string) Part {
	part := Part{Title: "The guide is true"}
	g := &guide{nodes: map[string]*lab.Node{}}
	part.Steps = append(part.Steps, Step{"there are sites with strongSwan, as they were bought", g.prepare})
	for n, block := range guideBlock.FindAllStringSubmatch(text, -1) {
		kind, about, body := block[1], block[2], block[3]
		part.Steps = append(part.Steps, Step{
			fmt.Sprintf("%d. %s %s", n+1, kind, about),
			func(ctx context.Context, w *World) ([]string, error) {
				if kind == "yaml" {
					return nil, g.declare(about, body)
				}
				return g.enter(ctx, about, body)
			},
		})
	}
	return part
}

// prepare runs the sites' charons, which know nothing yet, and puts the programs in place.
func (g *guide) prepare(ctx context.Context, w *World) ([]string, error) {
	g.w, g.folder = w, filepath.Join(w.Lab.Dir(), "guide")
	g.bin, g.sites = filepath.Join(g.folder, "bin"), filepath.Join(w.Lab.Dir(), "g")
	programs := map[string]string{
		"bulkhead": fmt.Sprintf("exec %s --run-dir %s \"$@\"", w.Bulkhead, w.RunDir),
		"scp":      fmt.Sprintf("exec cp \"$1\" \"$(echo \"$2\" | sed 's,^root@\\([^:]*\\):/etc/swanctl,%s/\\1,')\"", g.sites),
		"swanctl":  "exec /usr/sbin/swanctl \"$@\" --uri \"unix://$SWANCTL_DIR/vici\"",
	}
	err := os.MkdirAll(g.bin, 0o700)
	for name, script := range programs {
		err = errors.Join(err, os.WriteFile(filepath.Join(g.bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	}
	if err != nil {
		return nil, err
	}
	g.nodes["gateway"] = w.Gateway()
	for _, s := range guideSites {
		if err := g.buy(ctx, s.host, s.address, s.behind, s.n); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// buy makes a site whose strongSwan has Debian's folders and no connection.
func (g *guide) buy(ctx context.Context, host, address, behind string, n int) error {
	o := lab.SiteOptions{
		Name: "g-" + host, Address: netip.MustParseAddr(address), LAN: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.1/24", n)),
		HostAddress: netip.MustParseAddr(fmt.Sprintf("10.%d.0.5", n)),
	}
	if behind != "" {
		o.Behind = netip.MustParsePrefix(behind)
	}
	s, err := g.w.Lab.AddSite(o)
	if err != nil {
		return err
	}
	g.nodes[host] = s.Router
	dir := filepath.Join(g.sites, host)
	for sub := range strings.FieldsSeq("conf.d x509 x509ca x509aa x509ac x509ocsp x509crl pubkey private rsa ecdsa pkcs8 pkcs12") {
		err = errors.Join(err, os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "swanctl.conf"), []byte("include conf.d/*.conf\n"), 0o600))
	_, started := lab.StartCharon(ctx, s.Router, dir)
	return errors.Join(err, started)
}

// declare puts a piece of YAML where it belongs.
func (g *guide) declare(about, text string) error {
	switch about {
	case "siteToSite", "filters":
		return g.w.extend("tailspin.yaml", text)
	case "ike":
		_, err := g.w.edit("gateway.yaml", "    "+credentialComment+"\n", text)
		return err
	}
	_, _, err := g.w.add(about, text)
	return err
}

// enter runs the commands of a host. What the document says that they print must be among it.
func (g *guide) enter(ctx context.Context, host, text string) (seen []string, err error) {
	node := g.nodes[host]
	if node == nil {
		return nil, fmt.Errorf("the guide has no host %s", host)
	}
	var printed string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			if !strings.Contains(printed, line) {
				return seen, fmt.Errorf("%q is not what it prints:\n%s", line, printed)
			}
			continue
		}
		if printed, err = g.run(ctx, node, host, command); err != nil {
			return seen, fmt.Errorf("%s: %w", command, err)
		}
		seen = append(append(seen, line), lines(printed)...)
		more, err := g.reached(ctx, host, command)
		if seen = append(seen, more...); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

func (g *guide) run(ctx context.Context, node *lab.Node, host, command string) (string, error) {
	command = strings.ReplaceAll(command, "/etc/bulkhead", g.w.ConfigDir)
	if host != "gateway" { // which has others' folders behind a colon only
		command = strings.ReplaceAll(command, "/etc/swanctl", filepath.Join(g.sites, host))
	}
	return node.Run(ctx, "env", "-C", g.folder, "PATH="+g.bin+":/usr/sbin:/usr/bin:/sbin:/bin",
		"SWANCTL_DIR="+filepath.Join(g.sites, host), "sh", "-c", command)
}

// reached lets a tenant's compartment and a site talk once a command has brought their tunnel up.
func (g *guide) reached(ctx context.Context, host, command string) ([]string, error) {
	for _, s := range guideSites {
		if s.dials != host || !strings.HasPrefix(command, s.command) {
			continue
		}
		now, err := g.w.connected(ctx, s.iface)
		if err != nil {
			return nil, err
		}
		room, err := g.w.Compartment("Tailspin")
		if err != nil {
			return nil, err
		}
		defer room.NS.Close()
		pong, err := room.Ping(ctx, netip.MustParseAddr(fmt.Sprintf("10.%d.0.5", s.n)))
		return []string{now, fmt.Sprintf("ping of %v from the compartment: %v", pong.From, pong.RTT)}, err
	}
	return nil, nil
}
