package lab

import (
	"cmp"
	"slices"
	"strconv"

	"bulkhead/lab/pki"
)

// PSK is the pre-shared key that the gateway knows for every site of the book.
const PSK = "abc"

// IKE is how a site proves who it is, and what it takes as proof from the gateway.
type IKE struct {
	// Key is the pre-shared key (PSK is the right one for the book's sites). Without a key there is a certificate or a
	// user name.
	Key string
	// Certificate is what the site shows, Authorities whose word it takes for the gateway's.
	Certificate *pki.Certificate
	Authorities []*pki.Authority
	// UserName logs in by EAP: MSCHAPv2 with a password, TLS with the certificate.
	UserName, Password string
	// Users may log in by EAP-MSCHAPv2 when the gateway dials: their passwords by name.
	Users map[string]string
	// ID is the site's identity: its own address where empty, with a certificate the subject, with EAP the user name.
	// GatewayID is the gateway's: its address where empty.
	ID, GatewayID string
	// Proposals and ESPProposals are in charon's words; what the gateway prefers where empty.
	Proposals, ESPProposals []string
}

// command is a vici command of Load.
type command struct {
	name    string
	message section
}

// commands are what charon is told, in order.
func (s *Site) commands() ([]command, error) {
	i := s.ike
	all := []command{{"clear-creds", nil}, {"load-conn", s.connection()}}
	secret := func(kind, data string, owners ...string) {
		all = append(all, command{"load-shared", section{
			"id": kind + strconv.Itoa(len(all)), "type": kind, "data": data, "owners": owners,
		}})
	}
	if i.Key != "" {
		secret("IKE", i.Key, s.id(), s.gatewayID())
	}
	if i.Password != "" {
		secret("EAP", i.Password, i.UserName)
	}
	for user, password := range i.Users {
		secret("EAP", password, user)
	}
	for _, a := range i.Authorities {
		all = append(all, command{"load-cert", section{"type": "X509", "flag": "CA", "data": string(a.Raw)}})
	}
	if i.Certificate != nil {
		key, err := i.Certificate.KeyPEM()
		if err != nil {
			return nil, err
		}
		all = append(all, command{"load-key", section{"type": "any", "data": key}})
	}
	return all, nil
}

// connection is the site's side of the tunnel: everything goes in, the route decides.
func (s *Site) connection() section {
	everything := []string{"0.0.0.0/0", "::/0"}
	local, remote := s.ends()
	return section{siteTunnel: section{
		"version": "2", "local_addrs": []string{s.Local().String()}, "remote_addrs": []string{s.Gateway().String()},
		"proposals": proposals(s.ike.Proposals, "aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"),
		"if_id_in":  strconv.Itoa(siteIfID), "if_id_out": strconv.Itoa(siteIfID), "unique": "never", "dpd_delay": "10s",
		"local": local, "remote": remote,
		"children": section{siteTunnel: section{
			"local_ts": everything, "remote_ts": everything, "replay_window": "1024",
			"esp_proposals": proposals(s.ike.ESPProposals, "aes256gcm16", "aes128gcm16", "aes256-sha256"),
		}},
	}}
}

func proposals(own []string, standard ...string) []string {
	if len(own) > 0 {
		return slices.Clone(own)
	}
	return standard
}

// ends are what each side has to prove, and how.
func (s *Site) ends() (local, remote section) {
	i := s.ike
	if i.Key != "" {
		return section{"auth": "psk", "id": s.id()}, section{"auth": "psk", "id": s.gatewayID()}
	}
	local, remote = section{"auth": "pubkey"}, section{"auth": "pubkey", "id": s.gatewayID()}
	if id := cmp.Or(i.ID, i.UserName); id != "" {
		local["id"] = id
	}
	if i.Certificate != nil {
		local["certs"] = []string{string(i.Certificate.Raw)}
	}
	switch {
	case len(i.Users) > 0:
		remote = section{"auth": "eap-mschapv2", "eap_id": "%any"}
	case i.UserName != "" && i.Password != "":
		local["auth"], local["eap_id"] = "eap-mschapv2", i.UserName
	case i.UserName != "":
		local["auth"], local["eap_id"] = "eap-tls", i.UserName
	}
	return local, remote
}

func (s *Site) id() string { return cmp.Or(s.ike.ID, s.Local().String()) }

func (s *Site) gatewayID() string { return cmp.Or(s.ike.GatewayID, s.Gateway().String()) }
