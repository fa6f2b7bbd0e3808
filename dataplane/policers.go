package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Policer bounds the ESP that a peer sends to the gateway, before it is decrypted. It spares the CPU a flood that the
// limit of the tunnel would drop after decryption, and is coarse: it counts what the packets have in them, knows no
// queue, and lets headroom above the limit pass.
type Policer struct {
	// Peer is the address that the ESP comes from.
	Peer netip.Addr
	// Kbps is what a tunnel of the peer may receive, in 1,000 bits a second; 0 is no limit.
	Kbps uint64
}

const (
	// headroom that a peer has above its limits: what encapsulation costs beyond the least, and what the limits' own
	// queues take in.
	headroom = 1.25
	// burst that a peer may send at once, or what it may send in burstTime where that is more.
	burst     = 256 << 10
	burstTime = 250 * time.Millisecond
)

// SetPolicers makes want all that bounds peers. The limits of a peer's tunnels add up; a peer with a tunnel that has no
// limit is not bound. What a peer used up stays used up, also when its limit changes. It carries on past a peer that cannot
// be bounded.
func (d *Dataplane) SetPolicers(want []Policer) error {
	rates, err := ratesOf(want)
	d.mu.Lock()
	defer d.mu.Unlock()
	errs := []error{err}
	for peer, rate := range rates {
		if d.policers[peer] == rate {
			continue
		}
		errs = append(errs, d.putPolicer(peer, rate))
	}
	for peer := range d.policers {
		if _, ok := rates[peer]; ok {
			continue
		}
		if err := d.objects.Policers.Delete(peer); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("delete the policer of peer %v: %w", fromAddress(peer), err))
			continue
		}
		delete(d.policers, peer)
	}
	return few(errs)
}

// policerRate is how fast a policer is, in the terms of the map.
type policerRate struct{ price, depth uint64 }

func ratesOf(want []Policer) (map[doorsAddress]policerRate, error) {
	kbps := make(map[doorsAddress]uint64)
	unlimited := make(map[doorsAddress]bool)
	var errs []error
	for _, p := range want {
		if !unicast(p.Peer) {
			errs = append(errs, fmt.Errorf("policer: %v is not an address that a peer can have", p.Peer))
			continue
		}
		peer := toAddress(p.Peer)
		kbps[peer] += p.Kbps
		unlimited[peer] = unlimited[peer] || p.Kbps == 0
	}
	maps.DeleteFunc(kbps, func(peer doorsAddress, _ uint64) bool { return unlimited[peer] })
	rates := make(map[doorsAddress]policerRate, len(kbps))
	for peer, k := range kbps {
		const shift = 1 << 10                         // PRICE_SHIFT
		octet := 8e6 / (headroom * float64(k))        // ns
		depth := max(burst*octet, float64(burstTime)) // ns
		price := max(uint64(octet*shift), 1)
		rates[peer] = policerRate{price: price, depth: uint64(depth)}
	}
	return rates, few(errs)
}

// readPolicers reads what the kernel holds.
func (d *Dataplane) readPolicers() error {
	d.policers = make(map[doorsAddress]policerRate)
	return each(d.objects.Policers, func(k doorsAddress, v doorsPolicer) {
		d.policers[k] = policerRate{price: v.Price, depth: v.Depth}
	})
}

// putPolicer writes the entry of a peer. d.mu must be held.
func (d *Dataplane) putPolicer(peer doorsAddress, rate policerRate) error {
	entry := doorsPolicer{Price: rate.price, Depth: rate.depth}
	var old doorsPolicer
	err := d.objects.Policers.Lookup(peer, &old)
	if err == nil {
		entry.Due, err = carried(old, rate.price)
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("read the policer of peer %v: %w", fromAddress(peer), err)
	}
	if err := d.objects.Policers.Put(peer, entry); err != nil {
		return fmt.Errorf("write the policer of peer %v: %w", fromAddress(peer), err)
	}
	d.policers[peer] = rate
	return nil
}

// carried is when what was sent would have passed, at the new price of an octet from now on.
func carried(old doorsPolicer, price uint64) (uint64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil { // the clock of bpf_ktime_get_ns
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	now := uint64(ts.Nano())
	if old.Due <= now || old.Price == 0 {
		return 0, nil
	}
	return now + uint64(float64(old.Due-now)*float64(price)/float64(old.Price)), nil
}
