//go:build vm

package vpn_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/strongswan/govici/vici"

	"bulkhead/internal/netns"
	"bulkhead/lab"
)

// charon is a strongSwan with the appliance's settings in a namespace.
type charon struct {
	*lab.Charon
	t    *testing.T
	node *lab.Node
	dir  string
}

// startCharon starts one that ends with the test. Its log is shown if the test failed.
func startCharon(t *testing.T, name string, ns *netns.Namespace) *charon {
	t.Helper()
	c := &charon{t: t, node: &lab.Node{Name: name, NS: ns}, dir: t.TempDir()}
	c.start()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("charon of %s:\n%s", name, c.log())
		}
	})
	return c
}

// start starts charon anew, with nothing in the namespace's kernel.
func (c *charon) start() {
	c.t.Helper()
	var err error
	c.Charon, err = lab.StartCharon(context.Background(), c.node, c.dir)
	must(c.t, err)
}

// kill ends it at once, so that no peer is told.
func (c *charon) kill() {
	c.t.Helper()
	must(c.t, c.Kill())
}

// log is what charon has logged so far.
func (c *charon) log() string {
	log, _ := os.ReadFile(c.LogPath)
	return string(log)
}

// call sends one VICI command through a session of its own.
func (c *charon) call(command string, in *vici.Message) {
	c.t.Helper()
	session, err := vici.NewSession(vici.WithSocketPath(c.Socket))
	must(c.t, err)
	defer session.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := session.Call(ctx, command, in); err != nil {
		c.t.Fatalf("%s: %v", command, err)
	}
}

// sas is the names of the connections that have an IKE_SA.
func (c *charon) sas() []string {
	c.t.Helper()
	session, err := vici.NewSession(vici.WithSocketPath(c.Socket))
	must(c.t, err)
	defer session.Close()
	var names []string
	for m, err := range session.CallStreaming(context.Background(), "list-sas", "list-sa", nil) {
		must(c.t, err)
		names = append(names, m.Keys()...)
	}
	return names
}

// site is a tenant's site, with a charon that is configured by hand: a policy for everything through one xfrm
// interface.
type site struct {
	*charon
	address, gateway, key string
	id                    string   // its identity; the address where empty
	ike, esp              []string // its proposals; charon's and the gateway's where empty
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
	ike, esp := []string{"default"}, []string{"aes256gcm16", "aes256-sha256"}
	if len(s.ike) > 0 {
		ike = s.ike
	}
	if len(s.esp) > 0 {
		esp = s.esp
	}
	everything := []string{"0.0.0.0/0", "::/0"}
	s.call("load-conn", message(s.t, map[string]any{"gw": map[string]any{
		"version": "2", "proposals": ike, "local_addrs": []string{s.address}, "remote_addrs": []string{s.gateway},
		"if_id_in": "7", "if_id_out": "7", "keyingtries": "1", "dpd_delay": "5s",
		"local":  map[string]any{"auth": "psk", "id": id},
		"remote": map[string]any{"auth": "psk", "id": s.gateway},
		"children": map[string]any{"gw": map[string]any{
			"local_ts": everything, "remote_ts": everything, "replay_window": "1024", "dpd_action": "none",
			"esp_proposals": esp,
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
