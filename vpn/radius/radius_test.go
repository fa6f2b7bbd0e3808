package radius

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"bulkhead/lab/pki"
	"bulkhead/vpn"
)

var update = flag.Bool("update", false, "write the golden files anew")

func contoso() Site { return Site{Name: "IfCe1", Password: vpn.Secret("hush")} }

func files(t *testing.T, c Config) rendered {
	t.Helper()
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	out, err := render("/run/radius", "5ec2e7", c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFilesAreAsTheGoldensSay(t *testing.T) {
	server := func(addr, secret string) Server {
		return Server{Address: netip.MustParseAddrPort(addr), Secret: vpn.Secret(secret)}
	}
	for name, c := range map[string]Config{
		"empty": {},
		"local": {Sites: []Site{contoso(), {Name: `FABRIKAM\IfWe1`, Password: vpn.Secret("pässword")}}},
		"upstream": {
			Sites:    []Site{contoso(), {Name: "IfWe1"}},
			Upstream: []Server{server("192.0.2.1:1812", `a "quoted" \ ${secret}`), server("[2001:db8::1]:1645", "other")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			for _, file := range []string{radiusdFile, usersFile, charonFile} {
				fmt.Fprintf(&got, "=== %s\n%s", file, files(t, c)[file])
			}
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("not as %s says; run with -update and look at the difference:\n%s", path, got.String())
			}
		})
	}
}

// RFC 2759, 9.2: the hash of "clientPass".
func TestNTPasswordIsThatOfTheRFC(t *testing.T) {
	if got := ntPassword([]byte("clientPass")); got != "44ebba8d5312b8d611474411f56989ae" {
		t.Error(got)
	}
}

func TestEachSetOfAuthoritiesHasAModuleThatTrustsNoOther(t *testing.T) {
	provider, tenant := authority(t, "CA"), authority(t, "CA")
	list, err := tenant.CRL()
	if err != nil {
		t.Fatal(err)
	}
	c := withCertificate(t, provider)
	c.RevocationLists = [][]byte{list}
	c.Sites = []Site{
		{Name: "a", Authorities: [][]byte{provider.Raw}}, {Name: "b", Authorities: [][]byte{tenant.Raw}},
		{Name: "c", Authorities: [][]byte{provider.Raw}},
	}
	out := files(t, c)
	users := regexp.MustCompile(`"(eap_[0-9a-f]+)", EAP-Type := TLS`).FindAllSubmatch(out[usersFile], -1)
	if len(users) != 3 || !bytes.Equal(users[0][1], users[2][1]) || bytes.Equal(users[0][1], users[1][1]) {
		t.Fatalf("the users' modules: %q", users)
	}
	for n, want := range map[int]string{
		0: provider.PEM(), 1: tenant.PEM() + string(encode("X509 CRL", list)),
	} {
		if got := string(out[string(users[n][1])+".pem"]); got != want {
			t.Errorf("site %d trusts %q, want %q", n, got, want)
		}
	}
	if got := strings.Count(string(out[radiusdFile]), "check_crl = yes"); got != 1 {
		t.Errorf("%d modules look at a list, want the tenant's: the provider's authority has the same name, and none", got)
	}
	c.Responders = true
	if got := string(files(t, c)[radiusdFile]); strings.Count(got, "softfail = yes") != 2 {
		t.Errorf("responders that do not answer must not refuse anybody:\n%s", got)
	}
	c.Strict = true
	if got := string(files(t, c)[radiusdFile]); strings.Count(got, "softfail = no") != 1 ||
		strings.Count(got, "check_crl = yes") != 1 {
		t.Errorf("strict: an authority without a list needs a responder:\n%s", got)
	}
	c.Responders = false
	if got := strings.Count(string(files(t, c)[radiusdFile]), "check_crl = yes"); got != 2 {
		t.Errorf("strict: %d modules look at a list, want both", got)
	}
}

func TestWhatFreeRADIUSWouldMisreadIsRefusedWithoutTellingSecrets(t *testing.T) {
	for want, c := range map[string]Config{
		"without a user name":  {Sites: []Site{{Password: vpn.Secret("hush")}}},
		"compares without cas": {Sites: []Site{contoso(), {Name: "ifce1", Password: vpn.Secret("hush")}}},
		"longer than the 253":  {Sites: []Site{{Name: strings.Repeat("x", 254), Password: vpn.Secret("hush")}}},
		"not UTF-8":            {Sites: []Site{{Name: "x", Password: vpn.Secret("hush\xff")}}},
		"address and a secret": {Upstream: []Server{{Address: netip.MustParseAddrPort("192.0.2.1:1812")}}},
		"needs its private":    {Certificate: [][]byte{{1}}},
	} {
		err := Set(t.TempDir(), c)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestSetWritesWhatDiffersForFreeRADIUSOnlyAndKeepsTheSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "radius")
	c := withCertificate(t, authority(t, "CA"))
	c.Sites = []Site{contoso(), {Name: "b", Authorities: c.Certificate}}
	set(t, dir, c)
	before := stamps(t, dir)
	if len(before) != 6 {
		t.Errorf("the folder has %v", before)
	}
	set(t, dir, c)
	for name, stamp := range stamps(t, dir) {
		if stamp != before[name] {
			t.Errorf("%s was written again", name)
		}
	}
	charon, err := os.ReadFile(CharonConf(dir))
	if err != nil || !secretLine.Match(charon) {
		t.Fatalf("charon is told no secret: %s, %v", charon, err)
	}
	set(t, dir, Config{Upstream: []Server{{Address: netip.MustParseAddrPort("192.0.2.1:1812"), Secret: vpn.Secret("x")}}})
	after, err := os.ReadFile(CharonConf(dir))
	if err != nil || !bytes.Equal(charon, after) {
		t.Errorf("charon's file changed: %s, %v", after, err)
	}
	if left := stamps(t, dir); len(left) != 3 {
		t.Errorf("what nobody wants any more is left: %v", left)
	}
}

func set(t *testing.T, dir string, c Config) {
	t.Helper()
	if err := Set(dir, c); err != nil {
		t.Fatal(err)
	}
}

// stamps are the files in a folder with their inodes: a file that is replaced has a new one.
func stamps(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if e.IsDir() {
			continue
		}
		if mode := info.Mode().Perm(); mode != 0o640 && (mode != 0o600 || e.Name() != charonFile) {
			t.Errorf("%s is %v", e.Name(), info.Mode())
		}
		out[e.Name()] = fmt.Sprint(info.ModTime(), info.Sys().(*syscall.Stat_t).Ino)
	}
	return out
}

func authority(t *testing.T, name string) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func withCertificate(t *testing.T, a *pki.Authority) Config {
	t.Helper()
	c, err := a.Issue(pki.Request{CommonName: "gateway"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := c.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return Config{Certificate: [][]byte{c.Raw}, PrivateKey: vpn.Secret(key)}
}
