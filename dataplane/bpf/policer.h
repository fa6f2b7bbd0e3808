// SPDX-License-Identifier: Apache-2.0
// What a peer's tunnels may bring, judged before decryption costs anything. It is coarse: the limits of the tunnels
// themselves come after it, are lower, and queue.
#pragma once
#include "owner.h"

#define ESP 50
#define NAT_T 4500              // ESP in UDP (RFC 3948)
#define ESP_LEAST 54            // outer octets of a packet in ESP at least: IPv4 20, ESP 8, AES-GCM's IV 8, trailer 2, ICV 16
#define PRICE_SHIFT 10

// ESP, bare or in UDP. A later fragment of UDP tells of no port and may be IKE's: without its first one it is nothing.
static __always_inline bool is_esp(struct __sk_buff *skb, const struct packet *p)
{
	__be32 spi;

	if (p->proto == ESP)
		return p->kind == KIND_PORTLESS || p->kind == KIND_FRAGMENT;
	// Where ESP has its SPI, IKE has zero; a single octet keeps the way open (RFC 3948, 2.2 and 2.3).
	return p->proto == UDP && p->kind == KIND_PORTS && p->dport == bpf_htons(NAT_T) &&
	       !bpf_skb_load_bytes(skb, p->inside, &spi, sizeof(spi)) && spi;
}

// Network control, classes CS6 and CS7 (RFC 4594, 3.1): the packet in ESP has the class that the one around it has, unless
// the peer is told not to copy it (RFC 4301, 5.1.2.1).
static __always_inline bool is_network_control(struct __sk_buff *skb)
{
	__u8 ip[2];

	if (bpf_skb_load_bytes(skb, ETHER, ip, sizeof(ip)))
		return false;
	return ip[0] >> 4 == 6 ? (ip[0] & 0xc) == 0xc : (ip[1] & 0xc0) == 0xc0;
}

// Whether the peer sent too much already; if not, this many octets count as sent. The bucket is the time at which all that
// was sent would have passed at the rate (GCRA). Where processors contend for it again and again, the packet passes.
static __always_inline bool exceeds(struct policer *l, __u64 octets, __u64 depth)
{
	__u64 now = bpf_ktime_get_ns(), cost = octets * l->price >> PRICE_SHIFT, due = l->due, then, found;

	for (int i = 0; i < 4; i++) {
		then = (due > now ? due : now) + cost;
		if (then > now + depth)
			return true;
		found = __sync_val_compare_and_swap(&l->due, due, then);
		if (found == due)
			return false;
		due = found;
	}
	return false;
}

// A packet for the gateway itself.
static __noinline int own(struct __sk_buff *skb, const struct packet *p)
{
	struct local *to = bpf_map_lookup_elem(&local, &p->dst);
	struct policer *l;
	__u32 octets = skb->len - ETHER;
	__u64 depth;

	if (!to || !(to->roles & ROLE_OWN) || skb->mark == TRACE)
		return NEXT;
	l = bpf_map_lookup_elem(&policers, &p->src);
	if (!l || !is_esp(skb, p))
		return NEXT;
	// Data leaves half of the bucket to network control, so that no flood ends a session. Both fill it: whoever calls
	// everything control gets no more than the rate.
	depth = is_network_control(skb) ? 2 * l->depth : l->depth;
	if (!exceeds(l, octets > ESP_LEAST ? octets - ESP_LEAST : 0, depth))
		return NEXT;
	return drop(skb, 0, DOOR2_OVER_LIMIT);
}
