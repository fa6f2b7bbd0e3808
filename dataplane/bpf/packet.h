// SPDX-License-Identifier: Apache-2.0
// Frames, addresses, verdicts and counters.
#pragma once
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include "maps.h"

#define ETHER 14
#define IPV4_FRAGMENT 0xbfff    // more fragments, an offset or the reserved bit: all but "don't fragment"
#define IPV4_OFFSET 0x1fff
#define IPV4_FRAGMENTED 0x3fff  // more fragments, or an offset
#define VLAN_8021Q 0x8100
#define VLAN_ID 0xfff
#define VLAN_8021AD 0x88a8
#define VLAN_OLD_QINQ 0x9100

// tcx verdicts (Linux 6.6); spelled here for older kernel headers.
enum verdict {
	NEXT = -1,
	DROP = 2,
};

#define MARK_LOW 0xffff

// skb->pkt_type
enum packet_type {
	TO_US = 0,
	TO_ANOTHER = 3,
};

// The kernel's struct ethhdr is packed, which makes the compiler read it byte by byte.
struct ether {
	__u8 dst[6];
	__u8 src[6];
	__be16 proto;
};

static __always_inline struct address mapped(__be32 ip4)
{
	return (struct address){ .w = { 0, 0, bpf_htonl(0xffff), ip4 } };
}

// ::ffff:a.b.c.d in an IPv6 header is no valid address.
static __always_inline bool is_mapped(const struct in6_addr *ip6)
{
	return !ip6->s6_addr32[0] && !ip6->s6_addr32[1] && ip6->s6_addr32[2] == bpf_htonl(0xffff);
}

// A mapped address must not pass for the IPv4 one that it looks like: it becomes the unspecified address.
static __always_inline struct address plain(const struct in6_addr *ip6)
{
	if (is_mapped(ip6))
		return (struct address){};
	return (struct address){ .w = { ip6->s6_addr32[0], ip6->s6_addr32[1], ip6->s6_addr32[2], ip6->s6_addr32[3] } };
}

static __always_inline bool same(const struct address *a, const struct address *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1] && a->w[2] == b->w[2] && a->w[3] == b->w[3];
}

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	return *(__u16 *)a == *(__u16 *)b && *(__u16 *)(a + 2) == *(__u16 *)(b + 2) && *(__u16 *)(a + 4) == *(__u16 *)(b + 4);
}

// Multicast, limited broadcast, link-local IPv6 or unspecified: a destination that has no meaning beyond its link.
static __always_inline bool link_scope(const struct address *a)
{
	if (a->w[0] == 0 && a->w[1] == 0 && a->w[2] == bpf_htonl(0xffff))
		return a->w[3] == 0 || bpf_ntohl(a->w[3]) >= 0xe0000000;
	return (a->w[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000) ||
	       (a->w[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000) ||
	       (a->w[0] == 0 && a->w[1] == 0 && a->w[2] == 0);
}

static __always_inline void *end_of(struct __sk_buff *skb)
{
	return (void *)(long)skb->data_end;
}

// The start of the frame, with at least `need` bytes (or the whole frame) in reach of direct reads.
static __always_inline void *reach(struct __sk_buff *skb, __u32 need)
{
	if ((void *)(long)skb->data + need > end_of(skb))
		bpf_skb_pull_data(skb, skb->len < need ? skb->len : need);
	return (void *)(long)skb->data;
}

static __always_inline struct gateway *the_gateway(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&gateway, &zero);
}

// Counts a packet as dropped and is the verdict that drops it.
static __noinline int drop(struct __sk_buff *skb, __u32 tenant, enum reason reason)
{
	struct drop_key key = { .tenant = tenant, .reason = reason };
	struct count *c;

	if (skb->mark == TRACE) {
		skb->mark = TRACE_RESULT | reason;
		return DROP;
	}
	c = bpf_map_lookup_elem(&drops, &key);
	if (!c) {
		struct count none = {};

		bpf_map_update_elem(&drops, &key, &none, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&drops, &key);
	}
	if (c) {
		c->packets++;
		c->bytes += skb->len;
	}
	return DROP;
}

// How many packets the frame is on the wire. Decapsulation leaves the count of a GSO packet to who needs it.
static __always_inline __u32 segments(struct __sk_buff *skb)
{
	__u32 size = skb->gso_size, known = skb->gso_segs;

	if (!size)
		return 1;
	return known ? known : (skb->len + size - 1) / size;
}

static __always_inline void count(struct count *c, __u32 packets, __u32 bytes)
{
	c->packets += packets;
	c->bytes += bytes;
}

static __always_inline void count_in(struct __sk_buff *skb, __u32 index, __u32 packets, __u32 bytes)
{
	struct traffic *t = bpf_map_lookup_elem(&traffic, &index);

	if (t && skb->mark != TRACE)
		count(&t->in, packets, bytes);
}

static __always_inline void count_out(struct __sk_buff *skb, __u32 index, __u32 packets, __u32 bytes)
{
	struct traffic *t = bpf_map_lookup_elem(&traffic, &index);

	if (t && skb->mark != TRACE)
		count(&t->out, packets, bytes);
}
