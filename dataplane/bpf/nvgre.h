// SPDX-License-Identifier: Apache-2.0
// NVGRE (RFC 7637): Ethernet, IPv4 or IPv6 without options, GRE with a key, the inner Ethernet frame. ECN: RFC 6040.
#pragma once
#include "packet.h"

#define PROTOCOL_GRE 47
#define PROTOCOL_ICMP 1
#define GRE_KEY_PRESENT 0x2000
#define GRE_ETHERNET 0x6558
#define OUTER_TTL 128           // as Windows sends
#define HEADER4 20
#define HEADER6 40
#define GRE 8
// Where the inner frame starts behind an outer IP header of that length, and what encapsulation adds.
#define INNER(HEADER) (ETHER + (HEADER) + GRE)
#define ROOM(HEADER) ((HEADER) + GRE + ETHER)

struct gre {
	__be16 flags;
	__be16 proto;
	__be32 key;             // VSID in the high 24 bits, FlowID in the low 8
};

// bpf_skb_adjust_room's flags for an inner packet of another version than the outer one; newer than some headers.
#define DECAP_TO_IPV4 (1ULL << 7)
#define DECAP_TO_IPV6 (1ULL << 8)
#define ENCAP(L3) (BPF_F_ADJ_ROOM_FIXED_GSO | (L3) | BPF_F_ADJ_ROOM_ENCAP_L4_GRE | \
		   BPF_F_ADJ_ROOM_ENCAP_L2(ETHER) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH)

static __always_inline __be16 header_checksum(const struct iphdr *ip)
{
	const __u16 *word = (const __u16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

// Writes the outer IPv4 header for `length` bytes of IP packet. Fragmenting is forbidden: both ends drop fragments, and
// the inner MTU leaves room. A GSO packet beyond 64 KB has length 0, as the kernel's own do; segmenting fills it in.
static __always_inline void outer4(struct iphdr *ip, __be32 from, __be32 to, __u8 tos, __u32 length)
{
	*(__u8 *)ip = 0x45;
	ip->tos = tos;
	ip->tot_len = length > 0xffff ? 0 : bpf_htons(length);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = OUTER_TTL;
	ip->protocol = PROTOCOL_GRE;
	ip->check = 0;
	ip->saddr = from;
	ip->daddr = to;
	ip->check = header_checksum(ip);
}

// The same for IPv6. `flow` is any number of the inner flow: its label lets routers spread flows (RFC 6438).
static __always_inline void outer6(struct ipv6hdr *ip, const struct address *from, const struct address *to, __u8 tos,
				   __u32 flow, __u32 length)
{
	length -= sizeof(*ip);
	*(__be32 *)ip = bpf_htonl(6U << 28 | (__u32)tos << 20 | (flow & 0xfffff));
	ip->payload_len = length > 0xffff ? 0 : bpf_htons(length);
	ip->nexthdr = PROTOCOL_GRE;
	ip->hop_limit = OUTER_TTL;
	ip->saddr = *(struct in6_addr *)from;
	ip->daddr = *(struct in6_addr *)to;
}

// Adds what changes in a word of a header to that header's checksum (RFC 1624).
static __always_inline void replace(__be16 *check, __be16 old, __be16 new)
{
	__u32 sum = (__u16)~*check + (__u16)~old + new;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*check = ~sum;
}

#define NOT_ECT 0
#define ECT1 1
#define ECT0 2
#define CE 3

// The ECN of a packet that leaves its tunnel (RFC 6040, figure 4); -1: dropped, because its sender knows no ECN and
// would never learn of the congestion.
static __always_inline int ecn_out_of_tunnel(__u8 outer, __u8 inner)
{
	if (outer == CE)
		return inner == NOT_ECT ? -1 : CE;
	return outer == ECT1 && inner == ECT0 ? ECT1 : inner;
}

static __always_inline __u8 traffic_class(const struct ipv6hdr *ip)
{
	return ip->priority << 4 | ip->flow_lbl[0] >> 4;
}

// Carries congestion that the outer header tells of into the IP packet at `off`. Returns false where the packet must
// be dropped. Packet pointers are stale afterwards.
static __noinline bool carry_ecn(struct __sk_buff *skb, __u32 off, __u8 outer)
{
	struct { __u8 version, tos; } old, new;
	__be16 check;
	int ecn;

	if (bpf_skb_load_bytes(skb, off, &old, sizeof(old)))
		return false;
	new = old;
	if (old.version >> 4 == 4) {
		ecn = ecn_out_of_tunnel(outer, old.tos & 3);
		if (ecn < 0 || bpf_skb_load_bytes(skb, off + 10, &check, sizeof(check)))
			return false;
		new.tos = (old.tos & ~3) | ecn;
		replace(&check, *(__be16 *)&old, *(__be16 *)&new);
		if (bpf_skb_store_bytes(skb, off + 10, &check, sizeof(check), BPF_F_RECOMPUTE_CSUM))
			return false;
	} else {
		ecn = ecn_out_of_tunnel(outer, old.tos >> 4 & 3);
		if (ecn < 0)
			return false;
		new.tos = (old.tos & ~0x30) | ecn << 4;
	}
	return !bpf_skb_store_bytes(skb, off, &new, sizeof(new), BPF_F_RECOMPUTE_CSUM);
}
