package vpn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// DefaultSettings is the file that the appliance's strongswan.conf includes, for what charon cannot be told otherwise.
const DefaultSettings = "/run/bulkhead/charon.conf"

// revocationOff keeps charon from asking the URLs in certificates, which it does for every certificate that has some.
const revocationOff = `# Written by bulkhead daemon: the gateway's declaration says so.
charon { plugins { revocation {
  enable_crl = no
  enable_ocsp = no
} } }
`

// setRevocation has charon look up revoked certificates, or not.
func (m *Manager) setRevocation(ctx context.Context, c *client, r Revocation) error {
	path, want := m.opts.Settings, ""
	if r == RevocationOff {
		want = revocationOff
	}
	have, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if want == "" {
			return nil
		}
	case err != nil:
		return fmt.Errorf("charon's settings: %w", err)
	case string(have) == want:
		return nil
	}
	if want == "" {
		err = os.Remove(path)
	} else {
		err = writeSettings(path, want)
	}
	if err != nil {
		return fmt.Errorf("charon's settings: %w", err)
	}
	_, err = c.call(ctx, "reload-settings", nil)
	return err
}

// writeSettings replaces a file whole, so that a charon that starts now reads all of it.
func writeSettings(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // nothing in it is secret
		return err
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
