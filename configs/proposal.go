package configs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// algorithm is what a word of a proposal stands for.
type algorithm int

const (
	unknownAlgorithm algorithm = iota
	cipher
	aead // a cipher that protects integrity too
	integrity
	prf
	keyExchange
	sequenceNumbers
)

// algorithms are strongSwan's words (its proposal keywords), by what they stand for. What strongSwan knows and nobody
// should use any more, such as DES and MD5, is left out.
var algorithms = knownAlgorithms()

func knownAlgorithms() map[string]algorithm {
	words := map[string]algorithm{"chacha20poly1305": aead}
	add := func(kind algorithm, list ...string) {
		for _, w := range list {
			words[w] = kind
		}
	}
	icvs := []string{"8", "12", "16", "64", "96", "128"} // of the integrity check value, in bytes or bits
	add(cipher, "aes", "camellia", "3des")
	for _, size := range []string{"128", "192", "256"} {
		add(cipher, "aes"+size, "aes"+size+"ctr", "camellia"+size, "camellia"+size+"ctr")
		add(aead, "aes"+size+"gcm", "aes"+size+"ccm")
		for _, icv := range icvs {
			add(aead, "aes"+size+"gcm"+icv, "aes"+size+"ccm"+icv, "camellia"+size+"ccm"+icv)
		}
	}
	add(integrity, "sha", "sha1", "sha1_160", "sha256", "sha2_256", "sha384", "sha2_384", "sha512", "sha2_512", "aesxcbc",
		"aescmac", "sha256_96", "sha2_256_96")
	add(prf, "prfsha1", "prfsha256", "prfsha384", "prfsha512", "prfaesxcbc", "prfaescmac")
	add(keyExchange, "modp1024", "modp1536", "modp2048", "modp3072", "modp4096", "modp6144", "modp8192", "modp2048s224",
		"modp2048s256", "ecp192", "ecp224", "ecp256", "ecp384", "ecp521", "ecp224bp", "ecp256bp", "ecp384bp", "ecp512bp",
		"x25519", "curve25519", "x448", "curve448")
	add(sequenceNumbers, "esn", "noesn")
	return words
}

// proposalWords sorts the words of a proposal by what they stand for.
func proposalWords(s string) (map[algorithm][]string, error) {
	words := map[algorithm][]string{}
	for word := range strings.SplitSeq(s, "-") {
		kind := algorithms[word]
		if kind == unknownAlgorithm {
			return nil, fmt.Errorf("has the unknown algorithm %q; want strongSwan's words joined by hyphens", shorten(word))
		}
		if slices.Contains(words[kind], word) {
			return nil, fmt.Errorf("names %s twice", word)
		}
		words[kind] = append(words[kind], word)
	}
	switch {
	case len(words[cipher])+len(words[aead]) == 0:
		return nil, errors.New("lacks a cipher; want one such as aes256gcm16")
	case len(words[cipher]) > 0 && len(words[aead]) > 0:
		return nil, fmt.Errorf("mixes %s, which protects integrity itself, with %s, which does not; want two proposals",
			words[aead][0], words[cipher][0])
	case len(words[cipher]) > 0 && len(words[integrity]) == 0:
		return nil, fmt.Errorf("lacks an integrity algorithm; want one such as sha256 besides %s", words[cipher][0])
	case len(words[aead]) > 0 && len(words[integrity]) > 0:
		return nil, fmt.Errorf("names %s, but %s protects integrity itself; leave it out", words[integrity][0],
			words[aead][0])
	}
	return words, nil
}

// checkIKEProposal refuses what cannot be a proposal for an IKE SA (RFC 7296, 3.3).
func checkIKEProposal(s string) error {
	words, err := proposalWords(s)
	switch {
	case err != nil:
		return err
	case len(words[keyExchange]) == 0:
		return errors.New("lacks a key exchange; want one such as ecp384 or modp2048")
	case len(words[aead]) > 0 && len(words[prf]) == 0:
		return fmt.Errorf("lacks a pseudo-random function; want one such as prfsha384 besides %s", words[aead][0])
	case len(words[prf]) == 0 && !slices.ContainsFunc(words[integrity], namesPRF):
		return fmt.Errorf("lacks a pseudo-random function; want one such as prfsha256 besides %s", words[integrity][0])
	case len(words[sequenceNumbers]) > 0:
		return fmt.Errorf("names %s, which is of ESP only; leave it out", words[sequenceNumbers][0])
	}
	return nil
}

// namesPRF tells whether an integrity algorithm in a proposal for IKE stands for a pseudo-random function too.
// What old kernels of Linux took for SHA-256, 96 bits of it, stands for none.
func namesPRF(integrity string) bool { return !strings.HasSuffix(integrity, "_96") }

// checkESPProposal refuses what cannot be a proposal for a child SA (RFC 7296, 3.3).
func checkESPProposal(s string) error {
	words, err := proposalWords(s)
	switch {
	case err != nil:
		return err
	case len(words[prf]) > 0:
		return fmt.Errorf("names %s, which is of IKE only; leave it out", words[prf][0])
	}
	return nil
}

// checkPFS refuses what is no key exchange.
func checkPFS(k KeyExchange, strong bool) error {
	switch {
	case k == "" || k == NoKeyExchange:
		return nil
	case algorithms[string(k)] != keyExchange:
		return fmt.Errorf("is no key exchange in strongSwan's words; want one such as ecp384, or %s", NoKeyExchange)
	case strong:
		return checkStrong(string(k))
	}
	return nil
}

// weakAlgorithms are those that one should or must not use any more: ciphers of 64-bit blocks and SHA-1 by RFC 8221, 5 and 6,
// and RFC 8247, 2; the groups 2, 5, 23 and 24 by RFC 8247, 2.4; and the group 25, of 192 bits.
var weakAlgorithms = []string{
	"3des", "sha", "sha1", "sha1_160", "prfsha1", "modp1024", "modp1536", "modp2048s224", "modp2048s256", "ecp192",
}

// weakIn lists the weak algorithms of proposals, each once.
func weakIn(proposals ...string) (weak []string) {
	for _, s := range proposals {
		for word := range strings.SplitSeq(s, "-") {
			if slices.Contains(weakAlgorithms, word) && !slices.Contains(weak, word) {
				weak = append(weak, word)
			}
		}
	}
	return weak
}

func checkStrong(proposal string) error {
	if weak := weakIn(proposal); len(weak) > 0 {
		return fmt.Errorf("names what is not safe any more (RFC 8221, RFC 8247): %s; want another, or weakAlgorithms: %s beside it",
			strings.Join(weak, ", "), WeakAllowed)
	}
	return nil
}
