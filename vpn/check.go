package vpn

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// check finds what charon would misunderstand, or what would let a stranger in. It expects defaults filled in.
func (i Interface) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if i.Name == "" || strings.Contains(i.Name, nameSeparator) {
		bad("the name %q must not be empty or contain %q", i.Name, nameSeparator)
	}
	if i.IfID == 0 {
		bad("if_id 0 means no xfrm interface: give it one of its own")
	}
	errs = append(errs, i.checkEnds(), i.checkMethod(), i.Policy.check())
	for _, id := range []string{i.LocalID, i.RemoteID} {
		errs = append(errs, checkIdentity(id))
	}
	switch i.Initiate {
	case OnDemand, Never, Always:
	default:
		bad("initiate %q: it must be %s, %s or %s", i.Initiate, OnDemand, Never, Always)
	}
	if i.Idle != 0 && i.Idle < time.Second {
		bad("idle after %v: it must be 1s or more, or 0 for never", i.Idle)
	}
	return errors.Join(errs...)
}

// checkEnds looks at the two ends of the tunnel.
func (i Interface) checkEnds() error {
	local, peer := i.LocalAddress, i.PeerAddress
	switch {
	case !local.IsValid() || local.IsUnspecified():
		return fmt.Errorf("the local address %v must be one of the gateway's", local)
	case peer.IsValid() && i.PeerHost != "":
		return fmt.Errorf("both %v and %s are the peer's: one must do", peer, i.PeerHost)
	case peer.IsValid() && (peer.IsUnspecified() || local.Is4() != peer.Is4()):
		return fmt.Errorf("%v and %v must be two addresses of one family", local, peer)
	case !peer.IsValid() && i.Method == PSK:
		return errors.New("a pre-shared key needs the peer's address")
	case !peer.IsValid() && i.PeerHost == "" && i.Initiate == Always:
		return errors.New("it cannot be dialled always: the peer has neither an address nor a name")
	}
	return nil
}

// checkMethod looks at what both ends prove themselves with.
func (i Interface) checkMethod() error {
	var errs []error
	switch i.Method {
	case PSK:
		if len(i.PSK) == 0 {
			errs = append(errs, errors.New("the pre-shared key is empty"))
		}
	case Certificate:
		if err := checkSubject(i.RemoteID); err != nil {
			errs = append(errs, err)
		}
		if len(i.Authorities) == 0 {
			errs = append(errs, errors.New("no certificate authority may vouch for the peer: declare one"))
		}
	case EAP:
		errs = append(errs, i.checkEAP())
	default:
		errs = append(errs, fmt.Errorf("method %q: it must be %s, %s or %s", i.Method, PSK, Certificate, EAP))
	}
	for _, der := range i.Authorities {
		if _, err := parseAuthority(der); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// check expects defaults filled in.
func (p Policy) check() error {
	var errs []error
	if p.DPD < time.Second {
		errs = append(errs, fmt.Errorf("dead peer detection after %v: it must be 1s or more", p.DPD))
	}
	for name, lifetime := range map[string]time.Duration{"IKE": p.IKELifetime, "ESP": p.ESPLifetime} {
		if lifetime != 0 && lifetime < shortestLifetime {
			errs = append(errs, fmt.Errorf("the %s lifetime of %v: it must be %v or more", name, lifetime, shortestLifetime))
		}
	}
	return errors.Join(errs...)
}

// shortestLifetime leaves charon the time to replace an SA before it ends.
const shortestLifetime = time.Minute
