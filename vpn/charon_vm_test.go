//go:build vm

package vpn_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strongswan/govici/vici"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// charonConf is enough of strongswan.conf for any number of charons beside each other. As it comes,
// Debian's charon would load kernel-libipsec too, which takes ESP out of the kernel. A silent peer is given up after
// about four seconds.
const charonConf = `
charon-systemd {
  install_routes = no
  install_virtual_ip = no
  retransmit_tries = 2
  retransmit_timeout = 1
  retransmit_base = 1.2
  load = random nonce drbg aes sha1 sha2 hmac kdf gcm openssl curve25519 pem pubkey kernel-netlink socket-default vici
  plugins {
    vici {
      socket = unix://%[1]s/charon.vici
    }
  }
  filelog {
    all {
      path = %[1]s/charon.log
      default = 1
      flush_line = yes
    }
  }
}
`

// charon is a running strongSwan in a namespace, with a folder of its own.
type charon struct {
	t   *testing.T
	ns  *netns.Namespace
	dir string
	cmd *exec.Cmd
}

// startCharon starts one that ends with the test. Its log is shown if the test failed.
func startCharon(t *testing.T, ns *netns.Namespace) *charon {
	t.Helper()
	c := &charon{t: t, ns: ns, dir: t.TempDir()}
	conf := fmt.Appendf(nil, charonConf, c.dir)
	if err := os.WriteFile(filepath.Join(c.dir, "strongswan.conf"), conf, 0o600); err != nil {
		t.Fatal(err)
	}
	c.start()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(c.dir, "charon.log"))
			t.Logf("charon in %s:\n%s", c.dir, log)
		}
	})
	return c
}

func (c *charon) start() {
	c.t.Helper()
	c.cmd = exec.Command("/usr/sbin/charon-systemd")
	c.cmd.Env = append(os.Environ(), "STRONGSWAN_CONF="+filepath.Join(c.dir, "strongswan.conf"), "SWANCTL_DIR="+c.dir)
	if err := c.ns.Start(c.cmd); err != nil {
		c.t.Fatal(err)
	}
}

// kill ends it at once, as kill -9 does.
func (c *charon) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// stop ends it in the orderly way.
func (c *charon) stop() {
	_ = c.cmd.Process.Signal(unix.SIGTERM)
	_ = c.cmd.Wait()
}

func (c *charon) socket() string { return filepath.Join(c.dir, "charon.vici") }

// log is what charon has logged so far.
func (c *charon) log() string {
	log, _ := os.ReadFile(filepath.Join(c.dir, "charon.log"))
	return string(log)
}

// call sends one VICI command through a session of its own, waiting for charon where it only just started.
func (c *charon) call(command string, in *vici.Message) {
	c.t.Helper()
	var session *vici.Session
	eventually(c.t, 20*time.Second, "charon's socket", func() bool {
		var err error
		session, err = vici.NewSession(vici.WithSocketPath(c.socket()))
		return err == nil
	})
	defer session.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := session.Call(ctx, command, in); err != nil {
		c.t.Fatalf("%s: %v", command, err)
	}
}

// site is a tenant's site, with a charon that is configured by hand: a policy for everything through one xfrm
// interface.
type site struct {
	*charon
	address, gateway, key string
	id                    string // its identity; the address where empty
}

func (s *site) load() {
	s.t.Helper()
	id := s.address
	if s.id != "" {
		id = s.id
	}
	s.call("load-shared", message(s.t, map[string]any{
		"id": "key", "type": "IKE", "data": s.key, "owners": []string{s.gateway},
	}))
	everything := []string{"0.0.0.0/0", "::/0"}
	s.call("load-conn", message(s.t, map[string]any{"gw": map[string]any{
		"version": "2", "local_addrs": []string{s.address}, "remote_addrs": []string{s.gateway},
		"if_id_in": "7", "if_id_out": "7", "keyingtries": "1", "dpd_delay": "5s",
		"local":  map[string]any{"auth": "psk", "id": id},
		"remote": map[string]any{"auth": "psk", "id": s.gateway},
		"children": map[string]any{"gw": map[string]any{
			"local_ts": everything, "remote_ts": everything, "replay_window": "1024", "dpd_action": "none",
			"esp_proposals": []string{"aes256gcm16", "aes256-sha256"},
		}},
	}}))
}

// dial starts a negotiation and does not wait for its end.
func (s *site) dial() {
	s.t.Helper()
	s.call("initiate", message(s.t, map[string]any{"child": "gw", "ike": "gw", "timeout": "-1"}))
}

func message(t *testing.T, fields map[string]any) *vici.Message {
	t.Helper()
	m := vici.NewMessage()
	keys := make([]string, 0, len(fields))
	for key := range fields {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		value := fields[key]
		if sub, ok := value.(map[string]any); ok {
			value = message(t, sub)
		}
		if err := m.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// eventually waits for a condition and fails the test when it does not come true.
func eventually(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, limit)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// run runs a program in a namespace and returns what it printed, and whether it succeeded.
func run(ns *netns.Namespace, args ...string) (string, error) {
	var out strings.Builder
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Start(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}
