package vpn

import (
	"regexp"
	"slices"
	"strings"
)

// charon's events do not say why; its log lines do, and each names the IKE_SA that it is about. reasons turns the ones
// that explain an end into words for an operator. $n is a
// group of the pattern.
var reasons = []struct {
	pattern *regexp.Regexp
	words   string
}{
	{regexp.MustCompile(`^tried \d+ shared keys? for '(.*)' - '(.*)', but MAC mismatched`),
		"wrong pre-shared key: the peer that claims to be $2 was refused"},
	{regexp.MustCompile(`^no shared key found for '(.*)' - '(.*)'`), "no pre-shared key for the identity $2"},
	{regexp.MustCompile(`^received AUTHENTICATION_FAILED notify error`),
		"the peer refused our identity or pre-shared key (AUTHENTICATION_FAILED)"},
	{lateRefusal, "the peer refused our identity or pre-shared key (AUTHENTICATION_FAILED)"},
	{regexp.MustCompile(`^received EAP_FAILURE, EAP authentication failed`),
		"the peer refused our user name or what proves it (EAP)"},
	{regexp.MustCompile(`^EAP-MS-CHAPv2 failed with error (\S+):`), "the peer refused our user name or password ($1)"},
	{regexp.MustCompile(`^received fatal TLS alert '(.*)'`), "the peer refused our certificate (EAP-TLS: $1)"},
	{regexp.MustCompile(`^sending fatal TLS alert '(.*)'`), "the peer's certificate was refused (EAP-TLS: $1)"},
	{regexp.MustCompile(`^received (\S+) notify error`), "the peer refused: $1"},
	{regexp.MustCompile(`^received (\S+) notify, no CHILD_SA built`), "the peer refused the ESP SA: $1"},
	{regexp.MustCompile(`^giving up after (\d+) retransmits`), noAnswer},
	{regexp.MustCompile(`^establishing IKE_SA failed, peer not responding`), noAnswer},
	{regexp.MustCompile(`^received DELETE for IKE_SA`), "closed by the peer"},
	{regexp.MustCompile(`^received DELETE for ESP CHILD_SA`), "closed by the peer"},
	{regexp.MustCompile(`^deleting (?:CHILD|IKE)_SA after (\d+) seconds of (?:CHILD_SA )?inactivity`), idle + " for $1 s"},
	{regexp.MustCompile(`^deleting (unestablished )?IKE_SA`), "closed by the gateway"},
	{regexp.MustCompile(`^closing CHILD_SA`), "closed by the gateway"},
	{regexp.MustCompile(`^destroying IKE_SA in state`), "closed by the gateway"},
	{regexp.MustCompile(`^received IDr (.*), but require (.*)`), "the peer asked for the identity $1 instead of $2"},
	{regexp.MustCompile(`^subject certificate invalid \((.*)\)`), "the peer's certificate is not valid now: it is $1"},
	{regexp.MustCompile(`^issuer certificate invalid \((.*)\)`),
		"the certificate of the authority that vouches for the peer is not valid now: it is $1"},
	{regexp.MustCompile(`^certificate was revoked on (.*), reason: (.*)`),
		"the peer's certificate was revoked on $1 ($2)"},
	{regexp.MustCompile(`^no issuer certificate found for "(.*)"`), "no authority is known that vouches for $1"},
	{regexp.MustCompile(`^\s*self-signed certificate "(.*)" is not trusted`), "no authority is known that vouches for $1"},
	{regexp.MustCompile(`^no private key found for '(.*)'`), "the gateway's certificate is not one for its identity $1"},
	{regexp.MustCompile(`^no trusted \S+ public key found for '(.*)'`), "no certificate proves that the peer is $1"},
	{regexp.MustCompile(`^constraint check failed: RULE_CRL_VALIDATION is \S+, but requires`),
		"whether the peer's certificate was revoked is not known, and revocation is strict"},
	{regexp.MustCompile(`^constraint check failed: peer not authenticated by CA '(.*)'`),
		"the peer's certificate is by none of the authorities that vouch for this interface, such as $1"},
	{regexp.MustCompile(`^rejecting certificate without digitalSignature`),
		"the peer's certificate is not one to prove an identity with: its key usage lacks digitalSignature"},
	{regexp.MustCompile(`^constraint check failed: (.*)`), "the peer is not who it must be: $1"},
	{regexp.MustCompile(`^selected peer config '.*' unacceptable: (.*)`), "the peer is not who it must be: $1"},
	{regexp.MustCompile(`^received proposals unacceptable`), "no IKE proposal in common"},
	{regexp.MustCompile(`^no acceptable proposal found`), "no proposal in common"},
	{regexp.MustCompile(`^no acceptable traffic selectors found`), "no traffic selectors in common"},
	{regexp.MustCompile(`^traffic selectors .* unacceptable`), "no traffic selectors in common"},
	{regexp.MustCompile(`^unable to install .*in kernel`), "the kernel refused the ESP SA"},
	{regexp.MustCompile(`^unable to resolve (.*), initiate aborted`), "cannot resolve $1"},
}

const (
	// noAnswer is the reason that makes a peer unreachable rather than a tunnel closed.
	noAnswer = "the peer does not answer"
	// idle begins the reason of a tunnel that nobody used.
	idle = "idle"
)

// dialFailed tells whether the line says that a dial came to nothing and no event will tell: the ESP SA was refused,
// after which the IKE_SA may stand, or there was no answer to the first messages at all.
func dialFailed(line string) bool {
	return strings.HasPrefix(line, "received ") && strings.HasSuffix(line, ", no CHILD_SA built") ||
		strings.HasPrefix(line, "establishing IKE_SA failed, ") || strings.HasSuffix(line, ", initiate aborted")
}

// begins is how the lines begin that a pattern of reasons matches, in the same order.
var begins = func() []string {
	all := make([]string, len(reasons))
	for n, r := range reasons {
		all[n] = literal(r.pattern.String())
	}
	return all
}()

// literal is the text that all that a pattern matches begins with.
func literal(pattern string) string {
	pattern = strings.TrimPrefix(strings.TrimPrefix(pattern, "^"), `\s*`)
	end := strings.IndexAny(pattern, `\.+*?()|[]{}$`)
	if end < 0 {
		return pattern
	}
	if end > 0 && strings.ContainsRune("*?{", rune(pattern[end])) {
		end-- // what may be absent
	}
	return pattern[:end]
}

// alsoRead is how the lines begin that others than explain read something from.
var alsoRead = []string{
	literal(noConfig.String()), literal(looking.String()), noPeer, switching, literal(lateRefusal.String()),
	literal(offers.String()),
	"RADIUS ", "sending RADIUS message failed", "receiving RADIUS message failed",
}

// telling finds out cheaply whether a line of charon's log may be one that anything is read from. A tunnel that comes up
// makes two dozen others.
func telling(line string) bool {
	line = strings.TrimSpace(line)
	starts := func(begin string) bool { return strings.HasPrefix(line, begin) }
	return slices.ContainsFunc(begins, starts) || slices.ContainsFunc(alsoRead, starts) || strings.HasSuffix(line, dials)
}

// answerFailed tells whether the line says that the ESP SA that a peer dialled was refused, after which the IKE_SA may
// stand.
func answerFailed(line string) bool {
	return line == "no acceptable proposal found" || line == "no acceptable traffic selectors found" ||
		strings.HasPrefix(line, "traffic selectors ") && strings.HasSuffix(line, " unacceptable")
}

// explain gives the reason in a line of charon's log, or "".
func explain(line string) string {
	for n, r := range reasons {
		if !strings.HasPrefix(strings.TrimSpace(line), begins[n]) {
			continue
		}
		if m := r.pattern.FindStringSubmatchIndex(line); m != nil {
			return string(r.pattern.ExpandString(nil, r.words, line, m))
		}
	}
	return ""
}

var (
	noConfig = regexp.MustCompile(`^no IKE config found for (\S+)\.\.\.(\S+), sending`)
	offers   = regexp.MustCompile(`^received proposals: (.*)$`)
	looking  = regexp.MustCompile(`^looking for peer configs matching \S+\[(.*)\]\.\.\.([0-9a-fA-F.:]+)\[(.*)\]$`)
)

const (
	dials      = " is initiating an IKE_SA" // after an address
	noPeer     = "no matching peer config found"
	noProposal = "received proposals unacceptable"
)

// stranger reads a line about a peer that is refused before it is known whose it is. who remembers, between two lines
// about one IKE_SA, who dials, and with what; the pair is the address that dialled and the reason.
func stranger(line string, who map[string]string, id string) (peer, reason string, ok bool) {
	if m := noConfig.FindStringSubmatch(line); m != nil {
		return m[2], "no interface expects a peer at this address", true
	}
	if peer, ok := strings.CutSuffix(line, dials); ok {
		remember(who, id, peer+" ")
		return "", "", false
	}
	if m := offers.FindStringSubmatch(line); m != nil && who[id] != "" {
		peer, _, _ := strings.Cut(who[id], " ")
		remember(who, id, peer+" "+m[1])
		return "", "", false
	}
	if line == noProposal && who[id] != "" {
		peer, offer, _ := strings.Cut(who[id], " ")
		delete(who, id)
		return peer, "no IKE proposal in common: it offers " + offer, true
	}
	if m := looking.FindStringSubmatch(line); m != nil {
		identity := m[3] + " at this address"
		if m[1] != "%any" {
			identity += ", or to be asked for as " + m[1]
		}
		remember(who, id, m[2]+" "+identity)
		return "", "", false
	}
	if strings.HasPrefix(line, noPeer) {
		peer, identity, _ := strings.Cut(who[id], " ")
		delete(who, id)
		return peer, "no interface expects the identity " + identity, true
	}
	return "", "", false
}

// mostRemembered bounds what a flood of half-open IKE_SAs can make us remember.
const mostRemembered = 10000

func remember[V any](m map[string]V, key string, value V) {
	if len(m) >= mostRemembered {
		clear(m)
	}
	m[key] = value
}

// atAddress adds to an Event of a peer whose proposals were refused which interface it is about, if there is but one with
// a peer at that address: nothing else is known of the peer by then.
func (m *Manager) atAddress(line string, e Event) Event {
	if line != noProposal {
		return e
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var found *tunnel
	for _, t := range m.tunnels {
		if t.declared && t.want.PeerAddress.IsValid() && t.want.PeerAddress.String() == e.Peer {
			if found != nil {
				return e
			}
			found = t
		}
	}
	if found != nil {
		e.Tenant, e.Interface = found.tenant, found.want.Name
		if !found.up() {
			found.explain(e.Reason, e.Time)
		}
	}
	return e
}
