package lab

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bulkhead/configs"
)

// ConfigDir writes the Fabrikam declaration into a folder, which it makes and which must not hold it yet: the files of
// configs/fabrikam as they are.
func ConfigDir(dir string) error {
	files, err := fs.Sub(configs.Fabrikam, "fabrikam")
	if err == nil {
		err = os.CopyFS(dir, files)
	}
	if err != nil {
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
