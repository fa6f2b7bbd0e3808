package radius

import (
	"encoding/hex"
	"unicode/utf16"

	"golang.org/x/crypto/md4" //nolint:staticcheck // EAP-MSCHAPv2 is made of it (RFC 2759, 8.3)
)

// ntPassword is NtPasswordHash (RFC 2759, 8.3), the form in which EAP-MSCHAPv2 compares a password, in hexadecimal.
func ntPassword(password []byte) string {
	h := md4.New()
	for _, unit := range utf16.Encode([]rune(string(password))) {
		_, _ = h.Write([]byte{byte(unit), byte(unit >> 8)})
	}
	return hex.EncodeToString(h.Sum(nil))
}
