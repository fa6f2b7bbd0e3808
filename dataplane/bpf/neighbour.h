// SPDX-License-Identifier: Apache-2.0
// Answers to ARP requests (RFC 826) and neighbour solicitations (RFC 4861), made of the question in place. `off` is
// where the Ethernet frame with the question starts: 0, or behind the outer headers of NVGRE.
#pragma once
#include "packet.h"

#define ICMPV6 58
#define ND_FIRST 133
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_LAST 137
#define ARP_REQUEST 1
#define ARP_REPLY 2
#define ARP_LENGTH 28

struct arp {
	__be16 hardware, protocol;
	__u8 hardware_length, protocol_length;
	__be16 operation;
	__u8 sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
};

// A neighbour message with one link-layer address option.
struct nd {
	__u8 type, code;
	__be16 checksum;
	__be32 flags;
	struct in6_addr target;
	__u8 option, option_length, mac[6];
};

#define ND_FRAME (ETHER + 40 + sizeof(struct nd))
#define ND_MIN 24               // without an option
#define ND_SOLICITED 0x40000000
#define ND_OVERRIDE 0x20000000

static __always_inline bool is_request(const struct arp *a)
{
	return a->hardware == bpf_htons(1) && a->protocol == bpf_htons(ETH_P_IP) && a->hardware_length == 6 &&
	       a->protocol_length == 4 && a->operation == bpf_htons(ARP_REQUEST);
}

static __always_inline struct address arp_target(const struct arp *a)
{
	__be32 ip;

	__builtin_memcpy(&ip, a->target_ip, 4);
	return mapped(ip);
}

// A gratuitous request asks nothing.
static __always_inline bool is_gratuitous(const struct arp *a)
{
	return __builtin_memcmp(a->sender_ip, a->target_ip, 4) == 0;
}

static __always_inline void answer_arp(struct ether *e, struct arp *a, const __u8 *mac)
{
	__u8 asked[4];

	__builtin_memcpy(asked, a->target_ip, 4);
	__builtin_memcpy(e->dst, e->src, 6);
	__builtin_memcpy(e->src, mac, 6);
	__builtin_memcpy(a->target_mac, a->sender_mac, 6);
	__builtin_memcpy(a->target_ip, a->sender_ip, 4);
	__builtin_memcpy(a->sender_mac, mac, 6);
	__builtin_memcpy(a->sender_ip, asked, 4);
	a->operation = bpf_htons(ARP_REPLY);
}

// Reads a neighbour solicitation at `off` (of its Ethernet header) and tells whether it is a valid one. Its checksum is
// taken on trust: a corrupt question does no harm beyond an answer to nobody.
static __noinline bool solicitation(struct __sk_buff *skb, __u32 off, struct address *target)
{
	struct ipv6hdr ip;
	struct nd nd;

	if (bpf_skb_load_bytes(skb, off + ETHER, &ip, sizeof(ip)) ||
	    bpf_skb_load_bytes(skb, off + ETHER + sizeof(ip), &nd, ND_MIN))
		return false;
	if (ip.version != 6 || ip.nexthdr != ICMPV6 || ip.hop_limit != 255 || bpf_ntohs(ip.payload_len) < ND_MIN)
		return false;
	if (nd.type != ND_SOLICITATION || nd.code != 0 || nd.target.s6_addr[0] == 0xff)
		return false;
	*target = plain(&nd.target);
	return true;
}

// The checksum of an advertisement, over its pseudo header too.
static __always_inline __be16 nd_checksum(const struct ipv6hdr *ip, struct nd *nd)
{
	__be32 tail[2] = { bpf_htonl(sizeof(*nd)), bpf_htonl(ICMPV6) };
	__u32 sum;

	nd->checksum = 0;
	sum = bpf_csum_diff(0, 0, (__be32 *)&ip->saddr, 32, 0);
	sum = bpf_csum_diff(0, 0, tail, sizeof(tail), sum);
	sum = bpf_csum_diff(0, 0, (__be32 *)nd, sizeof(*nd), sum);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

// Turns the solicitation at `off` into the advertisement of `mac`, cutting or growing the frame: the question's options
// may be none or several. Returns false where the kernel refuses. Packet pointers are stale afterwards.
static __noinline bool answer_solicitation(struct __sk_buff *skb, __u32 off, const __u8 *mac)
{
	struct {
		__u16 align;
		struct ether ether;
		struct ipv6hdr ip;
		struct nd nd;
	} answer = {};
	struct nd asked;
	struct ipv6hdr ip;
	bool probe;

	if (bpf_skb_load_bytes(skb, off + ETHER, &ip, sizeof(ip)) ||
	    bpf_skb_load_bytes(skb, off + ETHER + sizeof(ip), &asked, ND_MIN) ||
	    bpf_skb_load_bytes(skb, off + 6, answer.ether.dst, 6) || bpf_skb_change_tail(skb, off + ND_FRAME, 0))
		return false;
	__builtin_memcpy(answer.ether.src, mac, 6);
	answer.ether.proto = bpf_htons(ETH_P_IPV6);
	answer.ip.version = 6;
	answer.ip.payload_len = bpf_htons(sizeof(struct nd));
	answer.ip.nexthdr = ICMPV6;
	answer.ip.hop_limit = 255;
	answer.ip.saddr = asked.target;
	// Duplicate address detection asks from the unspecified address: the answer goes to all nodes (RFC 4861 7.2.4).
	probe = !(ip.saddr.s6_addr32[0] | ip.saddr.s6_addr32[1] | ip.saddr.s6_addr32[2] | ip.saddr.s6_addr32[3]);
	if (probe) {
		answer.ip.daddr.s6_addr32[0] = bpf_htonl(0xff020000);
		answer.ip.daddr.s6_addr32[3] = bpf_htonl(1);
	} else {
		answer.ip.daddr = ip.saddr;
	}
	answer.nd.type = ND_ADVERTISEMENT;
	answer.nd.flags = bpf_htonl(probe ? ND_OVERRIDE : ND_SOLICITED | ND_OVERRIDE);
	answer.nd.target = asked.target;
	answer.nd.option = 2;
	answer.nd.option_length = 1;
	__builtin_memcpy(answer.nd.mac, mac, 6);
	answer.nd.checksum = nd_checksum(&answer.ip, &answer.nd);
	return !bpf_skb_store_bytes(skb, off, &answer.ether, ND_FRAME, 0);
}
