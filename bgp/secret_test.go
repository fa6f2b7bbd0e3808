package bgp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestAPasswordIsPrintedByNothingAndTravels(t *testing.T) {
	peer := Peer{Name: "NY", Password: "s3cret"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("peer", "password", peer.Password, "peer", peer)
	for _, printed := range []string{fmt.Sprintf("%v %+v %#v %s %q", peer, peer, peer, peer.Password, peer.Password), log.String()} {
		if strings.Contains(printed, "s3cret") {
			t.Errorf("printed: %s", printed)
		}
	}
	data, err := json.Marshal(peer)
	var again Peer
	if err == nil {
		err = json.Unmarshal(data, &again)
	}
	if err != nil || again.Password != peer.Password {
		t.Errorf("came as %q: %v", string(again.Password), err)
	}
}
