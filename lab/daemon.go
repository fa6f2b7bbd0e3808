package lab

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"bulkhead/configs"
)

// labSubnets are the site prefixes that the lab declares in place of the BGP that would learn them.
var labSubnets = [][2]string{
	{`subnets: ["10.1.0.1/32:100"]`, `subnets: ["10.1.0.1/32:100", "10.1.0.0/24:100"]`},
	{`subnets: ["10.2.0.1/32:100"]`, `subnets: ["10.2.0.1/32:100", "10.2.0.0/24:100"]`},
}

// ConfigDir writes the Fabrikam declaration into a folder, which it makes and which must not hold it yet: the files of
// configs/fabrikam as they are, but for Woodgrove's site prefixes, which stand as extra subnets.
func ConfigDir(dir string) error {
	files, err := fs.Sub(configs.Fabrikam, "fabrikam")
	if err != nil {
		return fmt.Errorf("write the Fabrikam declaration: %w", err)
	}
	if err := os.CopyFS(dir, files); err != nil {
		return fmt.Errorf("write the Fabrikam declaration: %w", err)
	}
	path := filepath.Join(dir, "woodgrove.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("write the Fabrikam declaration: %w", err)
	}
	text := string(b)
	for _, change := range labSubnets {
		if strings.Count(text, change[0]) != 1 {
			return fmt.Errorf("write the Fabrikam declaration: %s does not hold %s once", path, change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the Fabrikam declaration: %w", err)
	}
	return nil
}

// StartDaemon runs `bulkhead daemon` in the gateway and waits until it is ready. Its log is Dir()/bulkhead.log. After
// Stop or Kill it may be started again.
func (l *Lab) StartDaemon(ctx context.Context, binary, runDir, configDir string) (*Process, error) {
	return startProcess(ctx, l.Gateway(), l.dir, "bulkhead", nil, binary, "daemon",
		"--config", configDir, "--run-dir", runDir, "--charon-socket", l.GatewayCharonSocket(),
		"--charon-settings", settingsFile(filepath.Dir(l.GatewayCharonSocket())), "--radius-dir", l.GatewayRADIUSDir())
}
