// SPDX-License-Identifier: Apache-2.0
// NVGRE over IPv4 (RFC 7637): Ethernet, IPv4 without options, GRE with a key, the inner Ethernet frame.
#pragma once
#include "packet.h"

#define PROTOCOL_GRE 47
#define PROTOCOL_ICMP 1
#define GRE_KEY_PRESENT 0x2000
#define GRE_ETHERNET 0x6558
#define OUTER_TTL 128           // as Windows sends
#define OUTER4 28               // IPv4 and GRE
#define INNER4 (ETHER + OUTER4) // where the inner frame starts
#define ROOM4 (OUTER4 + ETHER)  // what encapsulation adds

struct gre {
	__be16 flags;
	__be16 proto;
	__be32 key;             // VSID in the high 24 bits, FlowID in the low 8
};

// bpf_skb_adjust_room's flag for an inner IPv6 packet that comes out of an outer IPv4 one; newer than some headers.
#define DECAP_TO_IPV6 (1ULL << 8)
#define DECAP4 BPF_F_ADJ_ROOM_FIXED_GSO
#define ENCAP4 (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_GRE | \
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
