package vpn

import (
	"strings"
	"testing"

	"github.com/strongswan/govici/vici"
)

// told is all that charon is told about an interface.
func told(t *testing.T, name string, i complete) string {
	t.Helper()
	orders, err := messages(name, i)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, conn := range orders.conns {
		b.WriteString("load-conn " + conn.msg.String())
	}
	for _, secret := range orders.secrets {
		b.WriteString("load-shared " + secret.msg.String())
	}
	return b.String()
}

// connMessage is an interface's first connection as it is told charon, and secretMessage its first secret.
func connMessage(name string, i Interface) (*vici.Message, error) {
	orders, err := messages(name, complete{Interface: i})
	if err != nil {
		return nil, err
	}
	return orders.conns[0].msg, nil
}

func secretMessage(name string, i Interface) (*vici.Message, error) {
	orders, err := messages(name, complete{Interface: i})
	if err != nil {
		return nil, err
	}
	return orders.secrets[0].msg, nil
}
