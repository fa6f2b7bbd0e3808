package vpn

import (
	"slices"
	"strings"
)

// Octets that tunnel mode adds whatever the algorithms (RFC 4303 section 2, RFC 3948 section 2.1).
const (
	ipv4Header, ipv6Header = 20, 40
	udpHeader              = 8
	espHeader              = 8
	espTrailer             = 2
)

// overhead is what an ESP proposal adds at most: initialization vector, the block that padding fills up, check value.
type overhead struct{ iv, block, icv int }

// unknownOverhead is no smaller than that of any algorithm that charon can negotiate.
var unknownOverhead = overhead{iv: 16, block: 16, icv: 32}

// InnerMTU is the largest packet, in octets, that fits through the tunnel without fragmentation whichever of the
// proposals (charon's syntax; the package's defaults where none) and whether or not the peer is found behind NAT, which
// adds UDP encapsulation. outerMTU is that of the NIC towards the peer. The result is 0 where nothing fits.
func InnerMTU(outerMTU int, peerIPv6 bool, espProposals []string) int {
	if len(espProposals) == 0 {
		espProposals = defaultESPProposals
	}
	outer := ipv4Header
	if peerIPv6 {
		outer = ipv6Header
	}
	smallest := outerMTU
	for _, proposal := range espProposals {
		o := proposalOverhead(proposal)
		room := outerMTU - outer - udpHeader - espHeader - o.iv - o.icv
		smallest = min(smallest, room-room%o.block-espTrailer)
	}
	return max(smallest, 0)
}

// proposalOverhead is the worst that the algorithms of one proposal can be combined to.
func proposalOverhead(proposal string) overhead {
	worst := overhead{block: 4}
	var aead, cipher, integrity bool
	for token := range strings.SplitSeq(strings.ToLower(proposal), "-") {
		o, kind := tokenOverhead(token)
		switch kind {
		case kindAEAD:
			aead = true
		case kindCipher:
			cipher = true
		case kindIntegrity:
			integrity = true
		case kindNone:
			continue
		}
		worst = overhead{max(worst.iv, o.iv), max(worst.block, o.block), max(worst.icv, o.icv)}
	}
	if !aead && (!cipher || !integrity) {
		return unknownOverhead
	}
	return worst
}

type algorithmKind int

const (
	kindNone algorithmKind = iota // of no weight in the packet: a key exchange, a PRF, ESN
	kindAEAD
	kindCipher
	kindIntegrity
)

// weightless are prefixes of tokens that change nothing in an ESP packet.
var weightless = []string{"modp", "ecp", "curve", "x25519", "x448", "ke", "ntru", "mlkem", "prf", "esn", "noesn"}

// integrityICV is the length of the check value by the start of the token; the longer start comes first.
var integrityICV = []struct {
	prefix string
	octets int
}{
	{"sha256_96", 12}, {"sha2_256_96", 12}, {"sha384", 24}, {"sha2_384", 24}, {"sha512", 32}, {"sha2_512", 32},
	{"sha256", 16}, {"sha2_256", 16}, {"sha1_160", 20}, {"sha1", 12}, {"sha", 12}, {"md5_128", 16}, {"md5", 12},
	{"aesxcbc", 12}, {"aescmac", 12},
}

func tokenOverhead(token string) (overhead, algorithmKind) {
	has := func(part string) bool { return strings.Contains(token, part) }
	switch {
	case slices.ContainsFunc(weightless, func(p string) bool { return strings.HasPrefix(token, p) }):
		return overhead{}, kindNone
	case has("gcm"), has("ccm"), has("gmac"), has("chacha20"):
		return overhead{iv: 8, block: 4, icv: aeadICV(token)}, kindAEAD
	}
	for _, i := range integrityICV {
		if strings.HasPrefix(token, i.prefix) {
			return overhead{block: 4, icv: i.octets}, kindIntegrity
		}
	}
	switch {
	case has("ctr"):
		return overhead{iv: 8, block: 4}, kindCipher
	case has("aes"), has("camellia"), has("serpent"), has("twofish"):
		return overhead{iv: 16, block: 16}, kindCipher
	case has("3des"), has("blowfish"), has("cast"):
		return overhead{iv: 8, block: 8}, kindCipher
	case token == "null":
		return overhead{block: 4}, kindCipher
	}
	return unknownOverhead, kindAEAD
}

// aeadICV reads the length of the check value off the token: gcm16 and gcm128 say 16 octets, gcm12 and gcm96 say 12.
func aeadICV(token string) int {
	for _, i := range []struct {
		suffix string
		octets int
	}{{"cm8", 8}, {"cm64", 8}, {"cm12", 12}, {"cm96", 12}} {
		if strings.HasSuffix(token, i.suffix) {
			return i.octets
		}
	}
	return 16
}
