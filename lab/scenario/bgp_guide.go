package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bulkhead/lab"
)

// RoutingGuide does what docs/bgp.md says, in order: `yaml excerpt` is in the declaration already, `yaml bgp` takes the place
// of what is declared there; `frr HOST` and `bird HOST` are configurations of routers; `console HOST` are commands.
func RoutingGuide(text string) Part {
	part := Part{Title: "The page about dynamic routing is true"}
	for n, block := range guideBlock.FindAllStringSubmatch(text, -1) {
		kind, about, body := block[1], block[2], block[3]
		part.Steps = append(part.Steps, Step{
			fmt.Sprintf("%d. %s %s", n+1, kind, about),
			func(ctx context.Context, w *World) ([]string, error) {
				switch kind {
				case "yaml":
					return nil, w.declareRouting(about, body)
				case "console":
					return w.follow(ctx, about, body)
				}
				return nil, w.routerOf(about).Speaker.Configure(ctx, body)
			},
		})
	}
	part.Steps = append(part.Steps, Step{"and packets flow", func(ctx context.Context, w *World) ([]string, error) {
		return w.converged(ctx)
	}})
	return part
}

// routerOf is the site of a host of the page.
func (w *World) routerOf(host string) *lab.Site {
	return w.Site(map[string]string{"newyork": sites[1].name, "sanfrancisco": sites[2].name}[host])
}

// declareRouting puts a piece of the page's YAML into Woodgrove's declaration, or finds it there.
func (w *World) declareRouting(about, text string) error {
	file := filepath.Join(w.ConfigDir, "woodgrove.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	old := string(b)
	if about == "excerpt" {
		if !strings.Contains(old, text) {
			return fmt.Errorf("%s does not say %q", file, text)
		}
		return nil
	}
	head, rest, found := strings.Cut(old, "  bgp:\n")
	_, tail, more := strings.Cut(rest, "  remoteAccess:\n")
	if !found || !more {
		return fmt.Errorf("%s has no bgp before remoteAccess", file)
	}
	return os.WriteFile(file, []byte(head+text+"  remoteAccess:\n"+tail), 0o600)
}

// follow runs a host's commands. What the page says that one prints must be among it, sooner or later for what only shows.
func (w *World) follow(ctx context.Context, host, text string) (seen []string, err error) {
	node := w.Gateway()
	if host != "gateway" {
		node = w.routerOf(host).Router
	}
	for _, block := range strings.Split("\n"+strings.TrimSpace(text), "\n$ ")[1:] {
		command, want, _ := strings.Cut(block, "\n")
		var printed string
		run := func() error {
			var err error
			printed, err = node.Run(ctx, "sh", "-c", w.asTyped(command))
			for line := range strings.Lines(want) {
				if err == nil && !strings.Contains(words(printed), words(line)) {
					err = fmt.Errorf("%q is not what %s prints:\n%s", line, command, printed)
				}
			}
			return err
		}
		if strings.HasPrefix(command, "bulkhead show") {
			err = eventually(ctx, run)
		} else {
			err = run()
		}
		if seen = append(append(seen, "$ "+command), lines(printed)...); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

// words are a text's with single blanks between: tables are as wide as what is in them.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

// asTyped is a command of the page with the lab's places for the usual ones.
func (w *World) asTyped(command string) string {
	return strings.NewReplacer("bulkhead ", fmt.Sprintf("%s --run-dir %s ", w.Bulkhead, w.RunDir), "/etc/bulkhead", w.ConfigDir,
		"/run/bulkhead", w.RunDir).Replace(command)
}
