// SPDX-License-Identifier: Apache-2.0
// External-router mode: from one virtual subnet of a routing domain into another without entering the compartment.
// Whatever is not plain forwarding is the compartment's, whose kernel knows how to answer it.
#pragma once
#include "encap.h"

#define HERE (-2)               // no verdict: the packet goes into the compartment

// The length of the packet as it goes out, the longest one of a GSO packet; `headers` are the inner IP header's bytes.
static __always_inline __u32 largest(struct __sk_buff *skb, const int header, __u32 headers)
{
	__u8 length = 0;

	if (!skb->gso_size)
		return skb->len - ETHER;
	if (bpf_skb_load_bytes(skb, INNER(header) + ETHER + headers + 12, &length, 1))
		return ~0U;
	return ROOM(header) + headers + (length >> 4) * 4 + skb->gso_size;
}

// Routes the frame where its destination's record says, in place.
static __always_inline int hairpin(struct __sk_buff *skb, const struct vsid *v, const struct frame *f, __u8 tos,
				   const int header)
{
	struct tenant_address to = { .tenant = v->tenant };
	void *data = (void *)(long)skb->data;
	struct ether *e = data + INNER(header);
	struct iphdr *ip = data + INNER(header) + ETHER;
	struct ipv6hdr *ip6 = data + INNER(header) + ETHER;
	__u32 headers = sizeof(*ip), flow;
	struct record r;
	struct host *h;
	struct gre *gre;
	bool ipv6;

	if ((void *)(ip + 1) > end_of(skb))
		return HERE;
	ipv6 = e->proto == bpf_htons(ETH_P_IPV6);
	if (ipv6) {
		if ((void *)(ip6 + 1) > end_of(skb) || ip6->hop_limit <= 1 || ip6->nexthdr == 0)
			return HERE;
		to.ip = plain(&ip6->daddr);
		headers = sizeof(*ip6);
	} else {
		if (ip->ttl <= 1 || ip->ihl != 5)
			return HERE;
		to.ip = mapped(ip->daddr);
	}
	if (!find_record(&to, &r) || r.vsid & RECORD_REWRITE)
		return HERE;
	h = bpf_map_lookup_elem(&hosts, &r.host);
	if (!h || !h->ifindex || !!(h->flags & HOST_IPV6) != (header == HEADER6) || largest(skb, header, headers) > h->mtu)
		return HERE;
	if (tos & 3 && !carry_ecn(skb, INNER(header) + ETHER, tos & 3))
		return drop(skb, v->tenant, DOOR1_INNER_CONGESTION);
	data = reach(skb, INNER(header) + ETHER + HEADER6);
	e = data + INNER(header);
	ip = data + INNER(header) + ETHER;
	ip6 = data + INNER(header) + ETHER;
	if ((void *)(ip + 1) > end_of(skb))
		return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
	if (ipv6) {
		if ((void *)(ip6 + 1) > end_of(skb))
			return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
		tos = traffic_class(ip6);
		ip6->hop_limit--;
	} else {
		__be16 old = *(__be16 *)&ip->ttl;

		tos = ip->tos;
		ip->ttl--;
		replace(&ip->check, old, *(__be16 *)&ip->ttl);
	}
	__builtin_memcpy(e->dst, r.mac, 6);
	__builtin_memcpy(e->src, v->router, 6);
	gre = data + ETHER + header;
	flow = bpf_ntohl(gre->key) & 0xff; // FlowID and label stay those of the flow
	gre->key = bpf_htonl((r.vsid & ~0xff) | flow);
	if (header == HEADER6) {
		struct ipv6hdr *o = data + ETHER;
		__u32 label = (o->flow_lbl[0] & 0xf) << 16 | o->flow_lbl[1] << 8 | o->flow_lbl[2];

		outer6(o, &h->local, &h->pa, tos, label, skb->len - ETHER);
	} else {
		outer4(data + ETHER, h->local.w[3], h->pa.w[3], tos, skb->len - ETHER);
	}
	count_in(skb, v->traffic, segments(skb), skb->len - ROOM(header));
	count_out(skb, r.traffic, segments(skb), skb->len - ROOM(header));
	return send_to(h);
}

static __noinline int hairpin4(struct __sk_buff *skb, const struct vsid *v, const struct frame *f, __u8 tos)
{
	return hairpin(skb, v, f, tos, HEADER4);
}

static __noinline int hairpin6(struct __sk_buff *skb, const struct vsid *v, const struct frame *f, __u8 tos)
{
	return hairpin(skb, v, f, tos, HEADER6);
}
