package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bulkhead/appliance"
	"bulkhead/internal/netns"
	"bulkhead/vpn/radius"
)

// charonPath is Debian's charon that is a service of its own, driven through vici.
const charonPath = "/usr/sbin/charon-systemd"

// Charon is a running IKE daemon.
type Charon struct {
	*Process
	// Socket is the path of its vici socket.
	Socket string
}

// StartCharon runs a charon with the appliance's settings in a node. It keeps its settings, log and vici socket in the
// folder, which it makes. SAs and policies that an earlier one left in the kernel are flushed first, as the appliance's
// unit does it (ExecStartPre): charon does not know them.
func StartCharon(ctx context.Context, n *Node, dir string) (*Charon, error) {
	if _, err := os.Stat(charonPath); err != nil {
		return nil, fmt.Errorf("start charon in %s: %w; the tree of lab/vm has it", n.Name, err)
	}
	if err := FlushXFRM(n.NS); err != nil {
		return nil, fmt.Errorf("start charon in %s: %w", n.Name, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start charon in %s: %w", n.Name, err)
	}
	socket := filepath.Join(dir, "vici")
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("start charon in %s: %w", n.Name, err)
	}
	settings := filepath.Join(dir, "strongswan.conf")
	if err := os.WriteFile(settings, []byte(appliance.StrongswanConf+labSettings(socket, dir)), 0o600); err != nil {
		return nil, fmt.Errorf("start charon in %s: %w", n.Name, err)
	}
	env := []string{"STRONGSWAN_CONF=" + settings, "SWANCTL_DIR=" + dir}
	process, err := startProcess(ctx, n, dir, "charon", env, charonPath)
	if err != nil {
		return nil, err
	}
	return &Charon{Process: process, Socket: socket}, nil
}

// radiusDir is the folder of the FreeRADIUS that a charon asks, in that charon's folder.
func radiusDir(charonDir string) string { return filepath.Join(charonDir, "radius") }

// settingsFile is what the daemon sets of a charon, in that charon's folder.
func settingsFile(charonDir string) string { return filepath.Join(charonDir, "daemon.conf") }

// labSettings is what charon needs to run beside others: a socket and a RADIUS server of its own, and a log on its
// standard error.
func labSettings(socket, dir string) string {
	return fmt.Sprintf(`
include %[2]s
include %[3]s
charon {
  plugins { vici { socket = unix://%[1]s } }
  filelog {
    unbuffered {
      path = stderr
      time_format = %%b %%e %%T
      ike = 1
      cfg = 1
    }
  }
}
`, socket, radius.CharonConf(radiusDir(dir)), settingsFile(dir))
}

// FlushXFRM removes all SAs and policies from a namespace.
func FlushXFRM(ns *netns.Namespace) error {
	handle, err := ns.Netlink(unix.NETLINK_XFRM)
	if err != nil {
		return fmt.Errorf("flush SAs: %w; this kernel may have no xfrm_user", err)
	}
	defer handle.Close()
	if err := errors.Join(handle.XfrmStateFlush(0), handle.XfrmPolicyFlush()); err != nil {
		return fmt.Errorf("flush SAs and policies: %w", err)
	}
	return nil
}

// GatewayCharonSocket is the vici socket of the gateway's charon.
func (l *Lab) GatewayCharonSocket() string { return filepath.Join(l.dir, "gw-charon", "vici") }

// GatewayRADIUSDir is the folder of the configuration of the gateway's FreeRADIUS.
func (l *Lab) GatewayRADIUSDir() string { return radiusDir(filepath.Dir(l.GatewayCharonSocket())) }

// StartGatewayCharon starts the gateway's charon, the first time or after Stop or Kill of the one before.
func (l *Lab) StartGatewayCharon(ctx context.Context) (*Charon, error) {
	return StartCharon(ctx, l.Gateway(), filepath.Dir(l.GatewayCharonSocket()))
}
