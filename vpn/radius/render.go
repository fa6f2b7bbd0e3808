package radius

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"bulkhead/vpn"
)

//go:embed radiusd.conf.tmpl
var radiusdConf string

//go:embed charon.conf.tmpl
var charonConf string

var (
	radiusdTemplate = template.Must(template.New("radiusd.conf").Parse(radiusdConf))
	charonTemplate  = template.Must(template.New("charon.conf").Parse(charonConf))
)

// The files in the folder. What is not usersFile takes a new start.
const (
	radiusdFile = "radiusd.conf"
	usersFile   = "users"
	charonFile  = "charon.conf"
	serverFile  = "server.pem"
	keyFile     = "server.key"
	runFolder   = "run"
	pidFile     = "radiusd.pid" // in runFolder
	reloadFile  = "reloaded"    // in runFolder, as old as the last reload
)

// upstream is the module's name in the entry of a site whose password the provider's servers know.
const upstream = "upstream"

// module is an EAP module: one for each set of authorities.
type module struct {
	Name        string
	CheckCRL    bool
	OCSP        bool
	SoftOCSP    bool   // a responder that does not answer has no objection
	Authorities string // a file's path; without there is no EAP-TLS
}

// rendered are the files' contents by name.
type rendered map[string][]byte

// render makes all files of a checked configuration.
func render(dir, secret string, c Config) (rendered, error) {
	files := rendered{}
	modules := map[string]module{}
	var users strings.Builder
	users.WriteString("# The sites' users, by the SHA-256 of the name in lower case.\n")
	for _, s := range c.Sites {
		name := upstream
		if len(s.Password) > 0 || len(s.Authorities) > 0 || len(c.Upstream) == 0 {
			m, err := eapModule(dir, c, s, files)
			if err != nil {
				return nil, fmt.Errorf("the user %q: %w", s.Name, err)
			}
			modules[m.Name], name = m, m.Name
		}
		fmt.Fprintf(&users, "%s Tmp-String-0 := %q%s\n", userKey(s.Name), name, credentials(s))
	}
	files[usersFile] = []byte(users.String())
	if len(c.Certificate) > 0 {
		files[serverFile], files[keyFile] = encode("CERTIFICATE", c.Certificate...), c.PrivateKey
	}
	names := make([]string, 0, len(modules))
	for name := range modules {
		names = append(names, name)
	}
	slices.Sort(names)
	values := struct {
		Dir, Secret, SiteClass, Upstream string
		Port                             int
		Modules                          []module
		Servers                          []Server
		Secrets                          []string
	}{Dir: dir, Secret: secret, SiteClass: vpn.SiteGroup, Upstream: upstream, Port: Port, Servers: c.Upstream}
	for _, name := range names {
		values.Modules = append(values.Modules, modules[name])
	}
	for _, s := range c.Upstream {
		values.Secrets = append(values.Secrets, quote(string(s.Secret)))
	}
	for name, t := range map[string]*template.Template{radiusdFile: radiusdTemplate, charonFile: charonTemplate} {
		var b bytes.Buffer
		if err := t.Execute(&b, values); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		files[name] = b.Bytes()
	}
	return files, nil
}

// eapModule is the EAP module of a site; its authorities' file is added to files.
func eapModule(dir string, c Config, s Site, files rendered) (module, error) {
	if len(s.Authorities) == 0 || len(c.Certificate) == 0 {
		return module{Name: "eap_password"}, nil
	}
	der := slices.SortedFunc(slices.Values(s.Authorities), bytes.Compare)
	sum := sha256.Sum256(bytes.Join(der, nil))
	name := "eap_" + hex.EncodeToString(sum[:8])
	file := name + ".pem"
	trusted := encode("CERTIFICATE", der...)
	lists, err := listsOf(der, c.RevocationLists)
	if err != nil {
		return module{}, err
	}
	files[file] = append(trusted, encode("X509 CRL", lists...)...)
	listed := len(lists) > 0
	return module{
		Name: name, Authorities: dir + "/" + file,
		CheckCRL: listed || c.Strict && !c.Responders, OCSP: c.Responders, SoftOCSP: listed || !c.Strict,
	}, nil
}

// listsOf picks the lists that one of the authorities signed. Another one's of the same name are not among them.
func listsOf(authorities, lists [][]byte) ([][]byte, error) {
	var own [][]byte
	for _, der := range lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("a revocation list: %w", err)
		}
		for _, a := range authorities {
			authority, err := x509.ParseCertificate(a)
			if err != nil {
				return nil, fmt.Errorf("a certificate authority: %w", err)
			}
			if list.CheckSignatureFrom(authority) == nil {
				own = append(own, der)
				break
			}
		}
	}
	return own, nil
}

// userKey is what a user is looked up by: a name may contain whatever it likes.
func userKey(name string) string {
	sum := sha256.Sum256([]byte(lower(name)))
	return hex.EncodeToString(sum[:])
}

// lower does what FreeRADIUS's tolower does: ASCII only.
func lower(name string) string {
	b := []byte(name)
	for n, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[n] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// credentials is what a user's entry says about how to let it in: without a password only EAP-TLS.
func credentials(s Site) string {
	if len(s.Password) == 0 {
		return ", EAP-Type := TLS"
	}
	return ", NT-Password := 0x" + ntPassword(s.Password)
}

// quote makes a double-quoted string of FreeRADIUS's configuration, in which everything but letters and digits is
// written in octal.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func encode(kind string, ders ...[]byte) []byte {
	var b bytes.Buffer
	for _, der := range ders {
		_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der})
	}
	return b.Bytes()
}
