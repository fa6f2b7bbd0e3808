package nft

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// fingerprintVersion changes when the same Table comes to mean something else in the kernel, so that a new release of
// the gateway replaces what an older one made.
const fingerprintVersion = 2

// fingerprint is a digest of everything that the table says. It is taken of the bytes that the kernel gets, hence a
// change in how an expression is built changes it too.
func (t Table) fingerprint() (string, error) {
	sum := sha256.New()
	write := json.NewEncoder(sum)
	if err := write.Encode([]any{fingerprintVersion, t.Name, t.Counters}); err != nil {
		return "", fmt.Errorf("nftables table %s: fingerprint: %w", t.Name, err)
	}
	for _, s := range t.Sets {
		key, data := s.Key.GetNFTMagic(), s.Data.GetNFTMagic()
		if err := write.Encode([]any{"set", s.Name, key, data, s.Interval, s.Timeouts, s.Elements}); err != nil {
			return "", fmt.Errorf("nftables table %s: fingerprint of set %s: %w", t.Name, s.Name, err)
		}
	}
	for _, c := range t.Chains {
		if err := write.Encode([]any{"chain", c.Name, c.Type, c.Hook, c.Priority}); err != nil {
			return "", fmt.Errorf("nftables table %s: fingerprint of chain %s: %w", t.Name, c.Name, err)
		}
		for i, r := range c.Rules {
			encoded, err := marshalRule(r)
			if err != nil {
				return "", fmt.Errorf("nftables table %s: chain %s, rule %d: %w", t.Name, c.Name, i+1, err)
			}
			if err := write.Encode(encoded); err != nil {
				return "", fmt.Errorf("nftables table %s: fingerprint of chain %s: %w", t.Name, c.Name, err)
			}
		}
	}
	return "bulkhead " + hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

func marshalRule(r Rule) ([][]byte, error) {
	out := make([][]byte, 0, len(r))
	for _, e := range r {
		b, err := expr.Marshal(byte(nftables.TableFamilyINet), e)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}
