// SPDX-License-Identifier: Apache-2.0
// From a lookup record to the provider network.
#pragma once
#include "events.h"
#include "flow.h"
#include "nvgre.h"

#define IPV4_FAMILY 2           // AF_INET and AF_INET6, which belong to headers of user space
#define IPV6_FAMILY 10

// Sends a frame to a host by way of its next hop, whose MAC address the kernel knows or asks for.
static __always_inline int send_to(const struct host *h)
{
	struct bpf_redir_neigh hop = {};

	if (h->flags & HOST_IPV6) {
		hop.nh_family = IPV6_FAMILY;
		__builtin_memcpy(hop.ipv6_nh, h->next_hop.w, 16);
	} else {
		hop.nh_family = IPV4_FAMILY;
		hop.ipv4_nh = h->next_hop.w[3];
	}
	return bpf_redirect_neigh(h->ifindex, &hop, sizeof(hop), 0);
}

// The record for a customer address, through the customer routes where it has none of its own. The copy is taken at
// once: a record that is deleted meanwhile may become another's.
static __always_inline bool find_record(const struct tenant_address *to, struct record *found)
{
	struct record *r = bpf_map_lookup_elem(&records, to);

	if (!r)
		return false;
	*found = *r;
	return true;
}

static __noinline bool find_route(const struct tenant_address *to, struct record *found)
{
	struct route_key key = { .prefixlen = TENANT_BITS + WHOLE_ADDRESS, .tenant = to->tenant, .ip = to->ip };
	struct tenant_address hop = { .tenant = to->tenant };
	struct route *r = bpf_map_lookup_elem(&routes, &key);

	if (!r || r->flags & (ROUTE_ON_LINK | ROUTE_HERE))
		return false;
	hop.ip = r->next_hop;
	return find_record(&hop, found);
}

// Adds room for the outer headers. A packet that was decapsulated before still counts as encapsulated, so the kernel
// refuses to encapsulate it again (EALREADY); the second way leaves skb->protocol at the inner packet's.
static __always_inline int make_room(struct __sk_buff *skb, const int header, bool *again)
{
	__u64 flags = header == HEADER6 ? ENCAP(BPF_F_ADJ_ROOM_ENCAP_L3_IPV6) : ENCAP(BPF_F_ADJ_ROOM_ENCAP_L3_IPV4);
	int err = bpf_skb_adjust_room(skb, ROOM(header), BPF_ADJ_ROOM_MAC, flags);

	*again = err == -114;
	return *again ? bpf_skb_adjust_room(skb, ROOM(header), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) : err;
}

// Encapsulates a compartment's packet of the Ethernet type `proto` in an outer IP header of `header` bytes.
static __always_inline int encapsulate(struct __sk_buff *skb, const struct port *p, const struct record *r,
				       const struct host *h, __be16 proto, __u8 tos, __u32 flow, const int header)
{
	__u32 inside = skb->len, packets = segments(skb), vsid = r->vsid >> 8;
	void *data;
	struct ether *e;
	struct gre *gre;
	bool again;

	if (!skb->gso_size && inside - ETHER + ROOM(header) > h->mtu)
		return drop(skb, p->tenant, DOOR1_TOO_BIG);
	if (make_room(skb, header, &again))
		return drop(skb, p->tenant, DOOR1_KERNEL_REFUSED);
	data = reach(skb, INNER(header) + ETHER);
	if (data + INNER(header) + ETHER > end_of(skb))
		return drop(skb, p->tenant, DOOR1_KERNEL_REFUSED);
	if (header == HEADER6)
		outer6(data + ETHER, &h->local, &h->pa, tos, flow, skb->len - ETHER);
	else
		outer4(data + ETHER, h->local.w[3], h->pa.w[3], tos, skb->len - ETHER);
	((struct ether *)data)->proto = header == HEADER6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	gre = data + ETHER + header;
	gre->flags = bpf_htons(GRE_KEY_PRESENT);
	gre->proto = bpf_htons(GRE_ETHERNET);
	gre->key = bpf_htonl(vsid << 8 | (flow & 0xff));
	e = data + INNER(header);
	__builtin_memcpy(e->dst, r->mac, 6);
	__builtin_memcpy(e->src, p->flags & PORT_ROUTER && vsid != p->vsid ? p->router : p->mac, 6);
	e->proto = proto;
	count_out(skb, r->traffic, packets, inside);
	if (again && proto != (header == HEADER6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP))) {
		// Receiving the frame once more makes the kernel read the new type of it.
		skb->mark = AGAIN | (r->host & MARK_LOW);
		return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	}
	return send_to(h);
}
