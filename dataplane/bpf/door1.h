// SPDX-License-Identifier: Apache-2.0
// Door 1, on the provider network: by VSID into a compartment, by lookup record out of it.
#pragma once
#include "neighbour.h"
#include "nvgre.h"

#define DOOR1_REACH (INNER4 + ETHER + 40 + 32)
// A mark that no packet from a compartment carries: leaving a namespace clears it.
#define AGAIN 0x62686431

// Sends what answers an NVGRE packet back to where that came from.
static __always_inline int reply4(struct __sk_buff *skb)
{
	void *data = reach(skb, INNER4 + ETHER);
	struct ether *e = data;
	struct iphdr *ip = data + ETHER;
	__u8 mac[6];

	if (data + INNER4 + ETHER > end_of(skb))
		return NEXT;
	__builtin_memcpy(mac, e->dst, 6);
	__builtin_memcpy(e->dst, e->src, 6);
	__builtin_memcpy(e->src, mac, 6);
	outer4(ip, ip->daddr, ip->saddr, 0, skb->len - ETHER);
	return bpf_redirect(skb->ifindex, 0);
}

static __always_inline int inner_arp(struct __sk_buff *skb, struct vsid *v, __u32 number)
{
	void *data = (void *)(long)skb->data;
	struct ether *e = data + INNER4;
	struct arp *a = data + INNER4 + ETHER;
	struct vsid_address key = { .vsid = number };

	if (data + INNER4 + ETHER + ARP_LENGTH > end_of(skb))
		return drop(skb, v->tenant, DOOR1_INNER_ARP);
	key.ip = arp_target(a);
	if (!is_request(a) || is_gratuitous(a) || !bpf_map_lookup_elem(&interfaces, &key))
		return drop(skb, v->tenant, DOOR1_INNER_ARP);
	answer_arp(e, a, v->mac);
	return reply4(skb);
}

static __always_inline int inner_nd(struct __sk_buff *skb, struct vsid *v, __u32 number)
{
	struct vsid_address key = { .vsid = number };

	if (!solicitation(skb, INNER4, &key.ip) || !bpf_map_lookup_elem(&interfaces, &key))
		return drop(skb, v->tenant, DOOR1_INNER_ND);
	if (!answer_solicitation(skb, INNER4, v->mac))
		return drop(skb, v->tenant, DOOR1_KERNEL_REFUSED);
	return reply4(skb);
}

// Whether the inner IP packet is whole, within `limit` bytes of outer payload (or any number, for a GSO packet).
static __always_inline bool whole4(struct iphdr *ip, __u32 limit)
{
	__u32 length = bpf_ntohs(ip->tot_len);

	return ip->version == 4 && ip->ihl >= 5 && (limit == ~0U || (length >= ip->ihl * 4 && length <= limit));
}

static __always_inline bool whole6(struct ipv6hdr *ip, __u32 limit)
{
	return ip->version == 6 && (limit == ~0U || sizeof(*ip) + bpf_ntohs(ip->payload_len) <= limit);
}

// Hands the inner packet of a frame to the compartment, whose interface it names.
static __always_inline int enter(struct __sk_buff *skb, struct vsid *v, bool ipv6)
{
	struct ether *e;
	__u8 from[6];
	void *data = (void *)(long)skb->data;

	if (data + INNER4 + ETHER > end_of(skb))
		return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
	__builtin_memcpy(from, ((struct ether *)(data + INNER4))->src, 6);
	if (bpf_skb_adjust_room(skb, -ROOM4, BPF_ADJ_ROOM_MAC, DECAP4 | (ipv6 ? DECAP_TO_IPV6 : 0)))
		return drop(skb, v->tenant, DOOR1_KERNEL_REFUSED);
	e = (void *)(long)skb->data;
	if ((void *)(e + 1) > end_of(skb))
		return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
	__builtin_memcpy(e->dst, v->mac, 6);
	__builtin_memcpy(e->src, from, 6);
	e->proto = ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	count_in(v->traffic, skb->len);
	return bpf_redirect_peer(v->ifindex, 0);
}

// The inner frame, when its outer headers are accepted. `limit` is the room that they leave for the inner IP packet.
static __always_inline int inner(struct __sk_buff *skb, struct vsid *v, __u32 number, __u32 limit)
{
	void *data = (void *)(long)skb->data, *end = end_of(skb);
	struct ether *e = data + INNER4;
	void *ip = data + INNER4 + ETHER;
	bool mine;

	if (ip > end)
		return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
	mine = same_mac(e->dst, v->mac);
	switch (bpf_ntohs(e->proto)) {
	case VLAN_8021Q:
	case VLAN_8021AD:
	case VLAN_OLD_QINQ:
		return drop(skb, v->tenant, DOOR1_INNER_VLAN);
	case ETH_P_ARP:
		if (!mine && !(e->dst[0] & 1))
			return drop(skb, v->tenant, DOOR1_INNER_MAC);
		return inner_arp(skb, v, number);
	case ETH_P_IP:
		if (!mine)
			return drop(skb, v->tenant, DOOR1_INNER_MAC);
		if (ip + sizeof(struct iphdr) > end || !whole4(ip, limit))
			return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
		return enter(skb, v, false);
	case ETH_P_IPV6: {
		struct ipv6hdr *ip6 = ip;
		__u8 *type = ip + sizeof(*ip6);

		if (!mine && !(e->dst[0] & 1))
			return drop(skb, v->tenant, DOOR1_INNER_MAC);
		if (ip + sizeof(*ip6) > end || !whole6(ip6, limit))
			return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
		if (ip6->nexthdr == ICMPV6 && (void *)(type + 1) <= end && *type >= ND_FIRST && *type <= ND_LAST)
			return inner_nd(skb, v, number);
		if (!mine)
			return drop(skb, v->tenant, DOOR1_INNER_MAC);
		return enter(skb, v, true);
	}
	}
	return drop(skb, v->tenant, mine ? DOOR1_INNER_ETHERTYPE : DOOR1_INNER_MAC);
}

static __always_inline int nvgre4(struct __sk_buff *skb, struct iphdr *ip)
{
	struct gre *gre = (void *)(ip + 1);
	__u32 length = bpf_ntohs(ip->tot_len), limit = ~0U, number;
	struct tenant_address from = { .ip = mapped(ip->saddr) };
	struct vsid *v;

	if ((void *)(gre + 1) > end_of(skb))
		return drop(skb, 0, DOOR1_OUTER_LENGTH);
	if (!skb->gso_size) {
		if (length < ROOM4 || length + ETHER > skb->len)
			return drop(skb, 0, DOOR1_OUTER_LENGTH);
		limit = length - ROOM4;
	}
	if (gre->flags != bpf_htons(GRE_KEY_PRESENT))
		return drop(skb, 0, DOOR1_GRE_HEADER);
	if (gre->proto != bpf_htons(GRE_ETHERNET))
		return drop(skb, 0, DOOR1_GRE_PROTOCOL);
	number = bpf_ntohl(gre->key) >> 8;
	v = bpf_map_lookup_elem(&vsids, &number);
	if (!v)
		return drop(skb, 0, DOOR1_UNKNOWN_VSID);
	from.tenant = v->tenant;
	if (!bpf_map_lookup_elem(&providers, &from))
		return drop(skb, v->tenant, DOOR1_UNLISTED_PROVIDER);
	return inner(skb, v, number, limit);
}

// Everything that comes in on the provider network. What is not for a provider address is the kernel's.
SEC("tcx/ingress")
int door1_wire(struct __sk_buff *skb)
{
	void *data = reach(skb, DOOR1_REACH);
	struct ether *e = data;
	struct iphdr *ip = data + ETHER;
	struct address to;
	enum role *role;

	if (skb->vlan_present || skb->pkt_type == TO_ANOTHER || (void *)(ip + 1) > end_of(skb))
		return NEXT;
	if (e->proto != bpf_htons(ETH_P_IP) || ip->version != 4)
		return NEXT;
	to = mapped(ip->daddr);
	role = bpf_map_lookup_elem(&local, &to);
	if (!role || !(*role & ROLE_PROVIDER))
		return NEXT;
	if (skb->pkt_type != TO_US)
		return drop(skb, 0, DOOR1_NOT_UNICAST);
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT))
		return drop(skb, 0, DOOR1_OUTER_FRAGMENT);
	if (ip->ihl != 5)
		return drop(skb, 0, DOOR1_OUTER_OPTIONS);
	if (ip->protocol == PROTOCOL_GRE)
		return nvgre4(skb, ip);
	if (ip->protocol == PROTOCOL_ICMP) {
		__u8 *type = (void *)(ip + 1);

		// Echo and its reply: an operator's ping of the provider address.
		if ((void *)(type + 1) <= end_of(skb) && (*type == 8 || *type == 0))
			return NEXT;
	}
	return drop(skb, 0, DOOR1_NOT_NVGRE);
}

// Adds room for the outer headers. A packet that was decapsulated before still counts as encapsulated, so the kernel
// refuses to encapsulate it again (EALREADY); the second way leaves skb->protocol at the inner packet's.
static __always_inline int make_room(struct __sk_buff *skb, bool *again)
{
	int err = bpf_skb_adjust_room(skb, ROOM4, BPF_ADJ_ROOM_MAC, ENCAP4);

	*again = err == -114;
	return *again ? bpf_skb_adjust_room(skb, ROOM4, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) : err;
}

static __always_inline int leave(struct __sk_buff *skb, struct gateway *g, struct port *p, struct record *r, __u8 tos)
{
	__u32 inside = skb->len, flow = bpf_get_hash_recalc(skb);
	__be16 proto;
	bool again;
	void *data = (void *)(long)skb->data;
	struct ether *e = data;

	if ((void *)(e + 1) > end_of(skb))
		return drop(skb, p->tenant, DOOR1_MALFORMED);
	proto = e->proto;
	if (make_room(skb, &again))
		return drop(skb, p->tenant, DOOR1_KERNEL_REFUSED);
	data = reach(skb, INNER4 + ETHER);
	if (data + INNER4 + ETHER > end_of(skb))
		return drop(skb, p->tenant, DOOR1_KERNEL_REFUSED);
	outer4(data + ETHER, g->provider4, r->pa.w[3], tos, skb->len - ETHER);
	struct gre *gre = data + ETHER + sizeof(struct iphdr);
	gre->flags = bpf_htons(GRE_KEY_PRESENT);
	gre->proto = bpf_htons(GRE_ETHERNET);
	gre->key = bpf_htonl(r->vsid << 8 | (flow & 0xff));
	e = data + INNER4;
	__builtin_memcpy(e->dst, r->mac, 6);
	__builtin_memcpy(e->src, p->mac, 6);
	e->proto = proto;
	((struct ether *)data)->proto = bpf_htons(ETH_P_IP);
	count_out(p->traffic, inside);
	if (again && proto == bpf_htons(ETH_P_IPV6)) {
		// Receiving the frame once more makes the kernel read the new, IPv4, type of it.
		skb->mark = AGAIN;
		return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	}
	return bpf_redirect_neigh(g->backend, 0, 0, 0);
}

// Everything that a compartment sends into its virtual network.
SEC("tcx/ingress")
int door1_tenant(struct __sk_buff *skb)
{
	void *data = reach(skb, ETHER + sizeof(struct ipv6hdr)), *end = end_of(skb);
	struct gateway *g = the_gateway();
	__u32 link = skb->ifindex;
	struct port *p = bpf_map_lookup_elem(&ports, &link);
	struct tenant_address to = {};
	struct ether *e = data;
	struct record *r;
	__u8 tos;

	if (!p)
		return drop(skb, 0, DOOR1_UNKNOWN_LINK);
	if (!g || !g->backend || !g->provider4)
		return drop(skb, p->tenant, DOOR1_NOT_READY);
	if (skb->mark == AGAIN) {
		skb->mark = 0;
		return bpf_redirect_neigh(g->backend, 0, 0, 0);
	}
	if (skb->vlan_present || (void *)(e + 1) > end)
		return drop(skb, p->tenant, DOOR1_NOT_IP);
	to.tenant = p->tenant;
	if (e->proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETHER;

		if ((void *)(ip + 1) > end || ip->version != 4)
			return drop(skb, p->tenant, DOOR1_MALFORMED);
		to.ip = mapped(ip->daddr);
		tos = ip->tos;
	} else if (e->proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + ETHER;

		if ((void *)(ip + 1) > end || ip->version != 6)
			return drop(skb, p->tenant, DOOR1_MALFORMED);
		to.ip = plain(&ip->daddr);
		tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	} else {
		return drop(skb, p->tenant, DOOR1_NOT_IP);
	}
	if (link_scope(&to.ip))
		return drop(skb, p->tenant, DOOR1_LINK_SCOPE);
	r = bpf_map_lookup_elem(&records, &to);
	if (!r)
		return drop(skb, p->tenant, DOOR1_NO_RECORD);
	return leave(skb, g, p, r, tos);
}
