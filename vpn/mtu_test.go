package vpn_test

import (
	"testing"

	"bulkhead/vpn"
)

func TestInnerMTULeavesRoomForTheWorstOfTheProposals(t *testing.T) {
	for name, c := range map[string]struct {
		outer     int
		ipv6      bool
		proposals []string
		want      int
	}{
		// 1422 was measured through a tunnel with AES-CBC, SHA-256 and UDP encapsulation.
		"measured":                     {1500, false, []string{"aes256-sha256"}, 1422},
		"the package's defaults":       {1500, false, nil, 1422},
		"the contract":                 {1500, false, []string{"aes256gcm16", "aes128gcm16", "aes256-sha256"}, 1422},
		"GCM":                          {1500, false, []string{"aes256gcm16-ecp384-esn"}, 1438},
		"GCM, short check value":       {1500, false, []string{"aes128gcm8"}, 1446},
		"GCM by bits":                  {1500, false, []string{"aes128gcm96"}, 1442},
		"CCM":                          {1500, false, []string{"aes128ccm12"}, 1442},
		"ChaCha20":                     {1500, false, []string{"chacha20poly1305-x25519"}, 1438},
		"to an IPv6 peer":              {1500, true, []string{"aes256gcm16"}, 1418},
		"CBC to an IPv6 peer":          {1500, true, []string{"aes256-sha256-modp2048"}, 1406},
		"SHA-384":                      {1500, false, []string{"aes256-sha384"}, 1422},
		"SHA-512":                      {1500, false, []string{"aes256-sha512"}, 1406},
		"SHA-1":                        {1500, false, []string{"aes128-sha1-modp1024"}, 1422},
		"3DES":                         {1500, false, []string{"3des-md5"}, 1438},
		"counter mode":                 {1500, false, []string{"aes128ctr-sha256"}, 1438},
		"no encryption":                {1500, false, []string{"null-sha256"}, 1446},
		"alternatives in one proposal": {1500, false, []string{"aes128-aes256gcm16-sha256-sha512"}, 1406},
		"charon's own default":         {1500, false, []string{"default"}, 1406},
		"an unknown algorithm":         {1500, false, []string{"quantum42"}, 1406},
		"a cipher without integrity":   {1500, false, []string{"aes256"}, 1406},
		"jumbo frames":                 {9000, false, []string{"aes256gcm16"}, 8938},
		"nothing fits":                 {40, false, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := vpn.InnerMTU(c.outer, c.ipv6, c.proposals); got != c.want {
				t.Errorf("InnerMTU(%d, %v, %q) = %d, want %d", c.outer, c.ipv6, c.proposals, got, c.want)
			}
		})
	}
}
