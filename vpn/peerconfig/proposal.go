package peerconfig

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// policy is what both ends propose.
type policy struct{ ike, esp []proposal }

// proposal is one choice of algorithms, in charon's words; what it has none of is empty.
type proposal struct {
	text                                    string
	encryption, integrity, prf, keyExchange string
}

// aead tells whether the cipher protects integrity too.
func (p proposal) aead() bool {
	return strings.Contains(p.encryption, "gcm") || strings.Contains(p.encryption, "ccm") ||
		p.encryption == "chacha20poly1305"
}

// The words of charon that a proposal is made of, by kind. Other words make a proposal that no device but charon takes.
var (
	keyExchanges = map[string]string{ // with their numbers in IKEv2: RFC 7296, 3.3.2, and IANA's registry
		"modp768": "1", "modp1024": "2", "modp1536": "5", "modp2048": "14", "modp3072": "15", "modp4096": "16",
		"modp6144": "17", "modp8192": "18", "ecp256": "19", "ecp384": "20", "ecp521": "21", "modp2048s256": "24",
		"curve25519": "31", "x25519": "31", "curve448": "32",
	}
	integrities = []string{"md5", "sha1", "sha256", "sha384", "sha512"}
	ciphers     = []string{
		"3des", "aes128", "aes192", "aes256", "aes128gcm16", "aes192gcm16", "aes256gcm16", "chacha20poly1305",
	}
	synonyms = map[string]string{
		"aes": "aes128", "sha": "sha1", "sha2_256": "sha256", "sha2_384": "sha384", "sha2_512": "sha512",
		"aes128gcm128": "aes128gcm16", "aes192gcm128": "aes192gcm16", "aes256gcm128": "aes256gcm16",
	}
)

// parse reads proposals, each of which may give several words of a kind: all their combinations, in order.
func parse(texts []string) ([]proposal, error) {
	if len(texts) == 0 {
		return nil, errors.New("no proposals are declared")
	}
	var all []proposal
	for _, text := range texts {
		combinations := []proposal{{text: text}}
		kinds := map[string][]string{}
		for word := range strings.SplitSeq(text, "-") {
			if synonym, ok := synonyms[word]; ok {
				word = synonym
			}
			kind := kindOf(word)
			kinds[kind] = append(kinds[kind], word)
		}
		if len(kinds["other"]) > 0 {
			all = append(all, proposal{text: text, encryption: text}) // no device has a word for that
			continue
		}
		if len(kinds["cipher"]) == 0 {
			return nil, fmt.Errorf("the proposal %s has no cipher", text)
		}
		for _, kind := range []string{"cipher", "integrity", "prf", "key exchange"} {
			combinations = combine(combinations, kind, kinds[kind])
		}
		all = append(all, combinations...)
	}
	return all, nil
}

func kindOf(word string) string {
	_, exchange := keyExchanges[word]
	switch {
	case exchange:
		return "key exchange"
	case slices.Contains(integrities, word):
		return "integrity"
	case slices.Contains(ciphers, word):
		return "cipher"
	case strings.HasPrefix(word, "prf") && slices.Contains(integrities, word[len("prf"):]):
		return "prf"
	case word == "noesn":
		return "default"
	}
	return "other"
}

func combine(of []proposal, kind string, words []string) []proposal {
	if len(words) == 0 {
		return of
	}
	var out []proposal
	for _, p := range of {
		for _, word := range words {
			switch kind {
			case "cipher":
				p.encryption = word
			case "integrity":
				p.integrity = word
			case "prf":
				p.prf = strings.TrimPrefix(word, "prf")
			case "key exchange":
				p.keyExchange = word
			}
			out = append(out, p)
		}
	}
	return out
}

// pseudorandom is the PRF of an IKE proposal; charon takes the integrity algorithm's where none is given.
func (p proposal) pseudorandom() string {
	if p.prf != "" {
		return p.prf
	}
	return p.integrity
}

// words are how a device calls algorithms, from charon's words.
type words map[string]string

// known returns the proposals whose words are all known to fits, and the texts of the others.
func known(of []proposal, fits func(proposal) bool) (good []proposal, leftOut []string) {
	for _, p := range of {
		if fits(p) {
			good = append(good, p)
		} else if !slices.Contains(leftOut, p.text) {
			leftOut = append(leftOut, p.text)
		}
	}
	return good, leftOut
}

// has tells whether the device has words for all of the algorithms; an empty one is none.
func (w words) has(algorithms ...string) bool {
	return !slices.ContainsFunc(algorithms, func(a string) bool { return a != "" && w[a] == "" })
}

// each gives one word for each proposal, without repetitions.
func each(of []proposal, word func(proposal) string) []string {
	var out []string
	for _, p := range of {
		if s := word(p); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// errNothingLeft is that the device has words for none of the proposals.
func errNothingLeft(kind string, leftOut []string) error {
	return fmt.Errorf("it has no words for any of the %s proposals %s: declare others in the interface's ike",
		kind, strings.Join(leftOut, ", "))
}

// samePFS leaves of the proposals of ESP that are known those that do as the first one does with a key exchange of their
// own (perfect forward secrecy), which devices declare for all of them.
func samePFS(good []proposal, leftOut []string) (same []proposal, out []string) {
	same, others := known(good, func(p proposal) bool { return p.keyExchange == good[0].keyExchange })
	return same, append(leftOut, others...)
}

// checkIKE finds proposals of IKE that could not be negotiated.
func checkIKE(ike []proposal) error {
	for _, p := range ike {
		if p.encryption != p.text && (p.keyExchange == "" || p.pseudorandom() == "") {
			return fmt.Errorf("the IKE proposal %s lacks a key exchange, or a PRF or integrity algorithm", p.text)
		}
	}
	return nil
}
