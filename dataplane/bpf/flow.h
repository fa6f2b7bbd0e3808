// SPDX-License-Identifier: Apache-2.0
// A number per flow, for the FlowID: addresses, protocol, and ports where every packet of the flow shows them.
#pragma once
#include "packet.h"

// Spreads what differs in any bit over all bits (the finalizer of MurmurHash3).
static __always_inline __u32 spread(__u32 h)
{
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	return h ^ h >> 16;
}

static __always_inline bool has_ports(__u8 proto)
{
	return proto == 6 || proto == 17 || proto == 132;
}

static __always_inline __u32 flow4(const struct iphdr *ip, const void *end)
{
	const __be32 *ports = (const void *)(ip + 1);
	__u32 h = ip->saddr * 0x9e3779b1 + ip->daddr;

	if (!(ip->frag_off & bpf_htons(IPV4_FRAGMENTED)) && has_ports(ip->protocol) && ip->ihl == 5 &&
	    (const void *)(ports + 1) <= end)
		h = (h ^ *ports) * 0x9e3779b1;
	return spread(h ^ ip->protocol);
}

static __always_inline __u32 flow6(const struct ipv6hdr *ip, const void *end)
{
	const __be32 *ports = (const void *)(ip + 1);
	const __be32 *from = ip->saddr.s6_addr32, *to = ip->daddr.s6_addr32;
	__u32 h = (from[0] ^ from[1] ^ from[2] ^ from[3]) * 0x9e3779b1 + (to[0] ^ to[1] ^ to[2] ^ to[3]);

	if (has_ports(ip->nexthdr) && (const void *)(ports + 1) <= end)
		h = (h ^ *ports) * 0x9e3779b1;
	return spread(h ^ ip->nexthdr);
}
