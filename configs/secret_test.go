package configs_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"bulkhead/configs"
)

const hush = "correct horse"

func TestSecretsNeverShow(t *testing.T) {
	secret := configs.NewSecret([]byte(hush))
	type inside struct{ hidden configs.Secret } // unexported, so that no method of the secret can be called
	values := map[string]any{
		"secret": secret, "pointer": &secret, "list": []configs.Secret{secret},
		"map":            map[string]configs.Secret{"a": secret},
		"struct":         configs.User{Name: "jane", Password: secret},
		"unexported":     inside{secret},
		"pointer inside": &inside{secret},
		"tenant": &configs.Tenant{
			SiteToSite:   []configs.SiteToSite{{Authentication: configs.Authentication{SharedSecret: secret}}},
			RemoteAccess: &configs.RemoteAccess{Users: []configs.User{{Password: secret}}},
			BGP:          &configs.BGP{Peers: []configs.BGPPeer{{Password: secret}}},
		},
	}
	for name, v := range values {
		var shown []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%08.3f"} {
			shown = append(shown, fmt.Sprintf(verb, v))
		}
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		asYAML, err := yaml.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var logs strings.Builder
		slog.New(slog.NewTextHandler(&logs, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&logs, nil)).Info("m", "v", v)
		for _, s := range append(shown, string(asJSON), string(asYAML), logs.String(), fmt.Sprint(v)) {
			for _, leak := range []string{hush, fmt.Sprintf("%x", hush), fmt.Sprintf("%X", hush), fmt.Sprintf("%d", []byte(hush))} {
				if strings.Contains(s, leak) || strings.Contains(s, strings.Trim(leak, "[]")) {
					t.Errorf("%s shows the secret: %s", name, s)
				}
			}
		}
	}
}

func TestSecretShowsThatItIsThere(t *testing.T) {
	secret := configs.NewSecret([]byte(hush))
	asJSON, err := json.Marshal(configs.User{Name: "jane", Password: secret})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(secret), secret.String(), fmt.Sprintf("%#v", secret), string(asJSON)} {
		if !strings.Contains(s, "(secret)") {
			t.Errorf("%q does not say that there is a secret", s)
		}
	}
}

func TestSecretsCompareByContent(t *testing.T) {
	a, b := configs.NewSecret([]byte(hush)), configs.NewSecret([]byte(hush))
	if !a.Equal(b) || !reflect.DeepEqual(a, b) {
		t.Error("two secrets of the same content differ")
	}
	if a.Equal(configs.NewSecret([]byte("other"))) || a.Equal(configs.Secret{}) || !(configs.Secret{}).IsZero() {
		t.Error("secrets of different content are equal")
	}
}

func TestSecretKeepsItsContentWhenTheCallerChangesItsOwn(t *testing.T) {
	own := []byte(hush)
	s := configs.NewSecret(own)
	own[0] = 'X'
	s.Reveal()[1] = 'X'
	if got := string(s.Reveal()); got != hush {
		t.Errorf("the secret became %q", got)
	}
}

// TestProblemsShowNoSecret puts a secret wherever a slip of the operator's may put it.
func TestProblemsShowNoSecret(t *testing.T) {
	for _, text := range []string{
		"sharedSecret: " + hush,
		"sharedSecret: [" + hush + "]",
		"sharedSecret: {" + hush + "}",
		"sharedSecret: {" + hush + ": " + hush + "}",
		"sharedSecret: {value: {" + hush + ": x}}",
		"sharedSecret: {value: [" + hush + "]}",
		"sharedSecret: {file: \"/" + hush + "\"}",
		"sharedSecret: {file: \"" + hush + "\\0\"}",
		"sharedSecret: {env: " + hush + "}",
		"sharedSecret: {value: x, env: " + hush + "}",
		"sharedSecret: {value: \"" + hush + "}",
		"sharedSecret: {value: '" + hush + "'x}",
		"sharedSecret: {value: *" + hush + "}",
		"sharedSecret: {value: " + hush + "]",
		"sharedSecret: {value: \"" + hush + "\"} " + hush,
		"sharedSecret:\n            value: |" + hush,
	} {
		dir := t.TempDir()
		write(t, dir, "gateway.yaml", read(t, "fabrikam/gateway.yaml"))
		write(t, dir, "t.yaml", `apiVersion: bulkhead/v1
kind: Tenant
metadata: {name: Contoso}
spec:
  routingDomainId: 12345678-1000-2000-3000-123456780001
  virtualSubnets: [{vsid: 5001, prefix: 10.0.0.0/24}]
  internalInterfaces: [{name: IfCi1, vsid: 5001, addresses: [10.0.0.2/24]}]
  siteToSite:
    - name: IfCe1
      destination: 59.10.10.10
      authentication:
          method: PSK
          `+text+"\n")
		_, err := configs.Load(dir)
		if err == nil {
			t.Errorf("%s: loads", text)
		} else if strings.Contains(err.Error(), hush) || strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: the error shows the secret: %v", text, err)
		}
	}
}
