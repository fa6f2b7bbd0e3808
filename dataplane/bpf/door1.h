// SPDX-License-Identifier: Apache-2.0
// Door 1, on the provider network: by VSID into a compartment, by lookup record out of it.
#pragma once
#include "control.h"
#include "hairpin.h"
#include "rewrite.h"

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

// Hands the inner packet of a frame to the compartment.
static __always_inline int enter(struct __sk_buff *skb, const struct vsid *v, bool ipv6, const int header)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	__u32 packets = segments(skb);
	struct ether *e;
	__u8 from[6];
	void *data = (void *)(long)skb->data;

	if (data + INNER(header) + ETHER > end_of(skb))
		return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
	__builtin_memcpy(from, ((struct ether *)(data + INNER(header)))->src, 6);
	if (ipv6 != (header == HEADER6))
		flags |= ipv6 ? DECAP_TO_IPV6 : DECAP_TO_IPV4;
	if (bpf_skb_adjust_room(skb, -ROOM(header), BPF_ADJ_ROOM_MAC, flags))
		return drop(skb, v->tenant, DOOR1_KERNEL_REFUSED);
	e = (void *)(long)skb->data;
	if ((void *)(e + 1) > end_of(skb))
		return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
	__builtin_memcpy(e->dst, v->mac, 6);
	__builtin_memcpy(e->src, from, 6);
	e->proto = ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	count_in(skb, v->traffic, packets, skb->len);
	return bpf_redirect_peer(v->ifindex, 0);
}

// An inner IP packet that is whole and for the gateway: `routed` is whether it is addressed to the external router.
static __always_inline int accept(struct __sk_buff *skb, const struct vsid *v, const struct frame *f, bool routed,
				  bool ipv6, __u8 ecn, __u8 tos, const int header)
{
	if (routed && !(v->flags & VSID_THROUGH)) {
		int verdict = header == HEADER6 ? hairpin6(skb, v, f, tos) : hairpin4(skb, v, f, tos);

		if (verdict != HERE)
			return verdict;
	}
	tos &= 3;
	if (((tos == CE && ecn != CE) || (tos == ECT1 && ecn == ECT0)) && !carry_ecn(skb, INNER(header) + ETHER, tos))
		return drop(skb, v->tenant, DOOR1_INNER_CONGESTION);
	return enter(skb, v, ipv6, header);
}

// The inner frame, when its outer headers are accepted. `limit` is the room that they leave for the inner IP packet.
static __always_inline int inner(struct __sk_buff *skb, const struct vsid *v, const struct frame *f, __u32 limit,
				 __u8 tos, const int header)
{
	void *data = (void *)(long)skb->data, *end = end_of(skb);
	struct ether *e = data + INNER(header);
	void *ip = data + INNER(header) + ETHER;
	bool mine, routed;

	if (ip > end)
		return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
	mine = v->flags & VSID_INTERFACE && same_mac(e->dst, v->mac);
	routed = v->flags & VSID_ROUTER && v->ifindex && same_mac(e->dst, v->router);
	switch (bpf_ntohs(e->proto)) {
	case VLAN_8021Q:
	case VLAN_8021AD:
	case VLAN_OLD_QINQ:
		return drop(skb, v->tenant, DOOR1_INNER_VLAN);
	case ETH_P_ARP:
		if (!mine && !routed && !teaches(v, e))
			return misdelivered(skb, v, f);
		return inner_arp(skb, v, f);
	case ETH_P_IP: {
		struct iphdr *ip4 = ip;

		if (ip + sizeof(*ip4) <= end && from_host4(ip4, f) && is_control(skb, f->at + ETHER + sizeof(*ip4), false))
			return control(skb, v, f);
		if (!mine && !routed)
			return misdelivered(skb, v, f);
		if (ip + sizeof(*ip4) > end || !whole4(ip4, limit))
			return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
		return accept(skb, v, f, routed, false, ip4->tos & 3, tos, header);
	}
	case ETH_P_IPV6: {
		struct ipv6hdr *ip6 = ip;
		__u8 *type = ip + sizeof(*ip6);

		if (ip + sizeof(*ip6) <= end && from_host6(ip6, f) && is_control(skb, f->at + ETHER + sizeof(*ip6), true))
			return control(skb, v, f);
		if (!mine && !routed && !teaches(v, e))
			return misdelivered(skb, v, f);
		if (ip + sizeof(*ip6) > end || !whole6(ip6, limit))
			return drop(skb, v->tenant, DOOR1_INNER_LENGTH);
		if (ip6->nexthdr == ICMPV6 && (void *)(type + 1) <= end && *type >= ND_FIRST && *type <= ND_LAST)
			return inner_nd(skb, v, f, *type);
		if (!mine && !routed)
			return e->dst[0] & 1 ? drop(skb, v->tenant, DOOR1_INNER_MAC) : misdelivered(skb, v, f);
		return accept(skb, v, f, routed, true, traffic_class(ip6) & 3, tos, header);
	}
	}
	return mine || routed ? drop(skb, v->tenant, DOOR1_INNER_ETHERTYPE) : misdelivered(skb, v, f);
}

// A GRE packet to a provider address, of `length` bytes with its outer IP header.
static __always_inline int nvgre(struct __sk_buff *skb, struct frame *f, const struct local *to, __u32 length, __u8 tos,
				 const int header)
{
	struct gre *gre = (void *)(long)skb->data + ETHER + header;
	__u32 limit = ~0U;
	struct tenant_address from = { .ip = f->pa };
	struct vsid *v;

	if ((void *)(gre + 1) > end_of(skb))
		return drop(skb, 0, DOOR1_OUTER_LENGTH);
	if (!skb->gso_size) {
		if (length < ROOM(header) || length + ETHER > skb->len)
			return drop(skb, 0, DOOR1_OUTER_LENGTH);
		limit = length - ROOM(header);
	}
	if (gre->flags != bpf_htons(GRE_KEY_PRESENT))
		return drop(skb, 0, DOOR1_GRE_HEADER);
	if (gre->proto != bpf_htons(GRE_ETHERNET))
		return drop(skb, 0, DOOR1_GRE_PROTOCOL);
	f->vsid = bpf_ntohl(gre->key) >> 8;
	f->at = INNER(header);
	v = bpf_map_lookup_elem(&vsids, &f->vsid);
	if (!v)
		return drop(skb, 0, DOOR1_UNKNOWN_VSID);
	if (v->flags & VSID_BOUND ? !same(&v->provider, &f->local) : to->roles & ROLE_BOUND)
		return drop(skb, v->tenant, DOOR1_WRONG_PROVIDER);
	from.tenant = v->tenant;
	if (!bpf_map_lookup_elem(&providers, &from))
		return drop(skb, v->tenant, DOOR1_UNLISTED_PROVIDER);
	if (f->vlan) {
		if (bpf_skb_vlan_pop(skb))
			return drop(skb, v->tenant, DOOR1_KERNEL_REFUSED);
		reach(skb, INNER(header) + ETHER + HEADER4);
	}
	return inner(skb, v, f, limit, tos, header);
}

// The provider address that a frame is for; NULL where it is for none. `reason` is why it is dropped, if it is.
static __always_inline struct local *provider(struct __sk_buff *skb, struct frame *f, enum reason *reason)
{
	struct local *l = bpf_map_lookup_elem(&local, &f->local);
	__u32 vlan = skb->vlan_present ? skb->vlan_tci & VLAN_ID : 0;

	if (!l || !(l->roles & ROLE_PROVIDER))
		return 0;
	f->vlan = l->vlan;
	*reason = 0;
	// The frame of a trace cannot be tagged: a tag that a link took off is beside the frame.
	if (vlan != l->vlan && skb->mark != TRACE)
		*reason = DOOR1_WRONG_VLAN;
	else if (skb->pkt_type != TO_US)
		*reason = DOOR1_NOT_UNICAST;
	return l;
}

static __always_inline int wire4(struct __sk_buff *skb, struct iphdr *ip)
{
	struct frame f = {};
	enum reason reason;
	struct stand_in *own;
	struct local *to;
	__u8 *type = (void *)(ip + 1);

	if ((void *)(ip + 1) > end_of(skb) || ip->version != 4)
		return NEXT;
	f.local = mapped(ip->daddr);
	f.pa = mapped(ip->saddr);
	to = provider(skb, &f, &reason);
	if (!to)
		return NEXT;
	if (reason)
		return drop(skb, 0, reason);
	own = ip->protocol == PROTOCOL_GRE ? 0 : bpf_map_lookup_elem(&stand_ins, &f.local);
	if (own)
		return rewrite_in(skb, &f, own, false);
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT))
		return drop(skb, 0, DOOR1_OUTER_FRAGMENT);
	if (ip->ihl != 5)
		return drop(skb, 0, DOOR1_OUTER_OPTIONS);
	if (ip->protocol == PROTOCOL_GRE)
		return nvgre(skb, &f, to, bpf_ntohs(ip->tot_len), ip->tos, HEADER4);
	if (ip->protocol == PROTOCOL_ICMP && (void *)(type + 2) <= end_of(skb)) {
		// Echo and its reply: an operator's ping of the provider address.
		if (*type == 8 || *type == 0)
			return NEXT;
		if (*type == 3 && type[1] == 4)
			return drop(skb, 0, DOOR1_OUTER_TOO_BIG);
	}
	return drop(skb, 0, DOOR1_NOT_NVGRE);
}

static __always_inline int wire6(struct __sk_buff *skb, struct ipv6hdr *ip)
{
	struct frame f = {};
	enum reason reason;
	struct stand_in *own;
	struct local *to;
	__u8 *type = (void *)(ip + 1);

	if ((void *)(ip + 1) > end_of(skb) || ip->version != 6)
		return NEXT;
	f.local = plain(&ip->daddr);
	f.pa = plain(&ip->saddr);
	to = provider(skb, &f, &reason);
	if (!to)
		return NEXT;
	if (reason)
		return drop(skb, 0, reason);
	// The provider network's own neighbour discovery, which the kernel takes part in.
	if (ip->nexthdr == ICMPV6 && (void *)(type + 1) <= end_of(skb) && *type >= ND_FIRST && *type <= ND_LAST)
		return NEXT;
	own = ip->nexthdr == PROTOCOL_GRE ? 0 : bpf_map_lookup_elem(&stand_ins, &f.local);
	if (own)
		return rewrite_in(skb, &f, own, true);
	switch (ip->nexthdr) {
	case PROTOCOL_GRE:
		return nvgre(skb, &f, to, sizeof(*ip) + bpf_ntohs(ip->payload_len), traffic_class(ip), HEADER6);
	case ICMPV6:
		if ((void *)(type + 1) > end_of(skb))
			break;
		if (*type == 128 || *type == 129)
			return NEXT;
		if (*type == 2)
			return drop(skb, 0, DOOR1_OUTER_TOO_BIG);
		break;
	case 44:
		return drop(skb, 0, DOOR1_OUTER_FRAGMENT);
	case 0: case 43: case 60:
		return drop(skb, 0, DOOR1_OUTER_OPTIONS);
	}
	return drop(skb, 0, DOOR1_NOT_NVGRE);
}

// Everything that comes in on the provider network. What is not for a provider address is the kernel's.
SEC("tcx/ingress")
int door1_wire(struct __sk_buff *skb)
{
	void *data = reach(skb, INNER(HEADER4) + ETHER + HEADER4);
	struct ether *e = data;

	if (skb->pkt_type == TO_ANOTHER || (void *)(e + 1) > end_of(skb))
		return NEXT;
	if (e->proto == bpf_htons(ETH_P_IP))
		return wire4(skb, data + ETHER);
	if (e->proto != bpf_htons(ETH_P_IPV6))
		return NEXT;
	data = reach(skb, INNER(HEADER6) + ETHER + HEADER6 + 1);
	return wire6(skb, data + ETHER);
}

// A compartment asks for the MAC address of a customer address: the records know, and the wire is not asked.
static __noinline int port_arp(struct __sk_buff *skb, const struct port *p)
{
	struct tenant_address to = { .tenant = p->tenant };
	struct { __u16 align; struct ether ether; struct arp arp; } q;
	struct frame f = { .vsid = p->vsid };
	struct record r;

	if (bpf_skb_load_bytes(skb, 0, &q.ether, ETHER + ARP_LENGTH) || !is_request(&q.arp) || is_gratuitous(&q.arp))
		return drop(skb, p->tenant, DOOR1_NEIGHBOUR);
	to.ip = arp_target(&q.arp);
	if (!find_record(&to, &r)) {
		if (p->flags & PORT_LEARN)
			emit(skb, p->tenant, EVENT_WANTED, &f);
		return drop(skb, p->tenant, DOOR1_NEIGHBOUR);
	}
	answer_arp(&q.ether, &q.arp, r.mac);
	if (bpf_skb_store_bytes(skb, 0, &q.ether, ETHER + ARP_LENGTH, 0))
		return drop(skb, p->tenant, DOOR1_KERNEL_REFUSED);
	return bpf_redirect(skb->ifindex, 0);
}

static __noinline int port_nd(struct __sk_buff *skb, const struct port *p)
{
	struct tenant_address to = { .tenant = p->tenant };
	struct frame f = { .vsid = p->vsid };
	struct record r;

	if (!solicitation(skb, 0, &to.ip))
		return drop(skb, p->tenant, DOOR1_LINK_SCOPE);
	if (!find_record(&to, &r)) {
		if (p->flags & PORT_LEARN)
			emit(skb, p->tenant, EVENT_WANTED, &f);
		return drop(skb, p->tenant, DOOR1_NEIGHBOUR);
	}
	if (!answer_solicitation(skb, 0, r.mac))
		return drop(skb, p->tenant, DOOR1_KERNEL_REFUSED);
	return bpf_redirect(skb->ifindex, 0);
}

// No record and no route: the daemon may find out where the address is.
static __noinline int unknown_address(struct __sk_buff *skb, const struct port *p)
{
	struct frame f = { .vsid = p->vsid };

	if (p->flags & PORT_LEARN)
		emit(skb, p->tenant, EVENT_WANTED, &f);
	return drop(skb, p->tenant, DOOR1_NO_RECORD);
}

static __always_inline int received_again(struct __sk_buff *skb, const struct port *p)
{
	__u32 host = skb->mark & MARK_LOW;
	struct host *h = bpf_map_lookup_elem(&hosts, &host);

	skb->mark = 0;
	if (!h || !h->ifindex)
		return drop(skb, p->tenant, DOOR1_NOT_READY);
	return send_to(h);
}

// Everything that a compartment sends into its virtual network.
SEC("tcx/ingress")
int door1_tenant(struct __sk_buff *skb)
{
	void *data = reach(skb, ETHER + HEADER4), *end = end_of(skb);
	__u32 link = skb->ifindex, flow;
	struct port *p = bpf_map_lookup_elem(&ports, &link);
	struct tenant_address to = {};
	struct ether *e = data;
	struct record r;
	struct host *h;
	__be16 proto;
	__u8 tos;

	if (!p)
		return drop(skb, 0, DOOR1_UNKNOWN_LINK);
	if ((skb->mark & ~MARK_LOW) == AGAIN)
		return received_again(skb, p);
	if (skb->vlan_present || (void *)(e + 1) > end)
		return drop(skb, p->tenant, DOOR1_NOT_IP);
	to.tenant = p->tenant;
	proto = e->proto;
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETHER;

		if ((void *)(ip + 1) > end || ip->version != 4)
			return drop(skb, p->tenant, DOOR1_MALFORMED);
		to.ip = mapped(ip->daddr);
		tos = ip->tos;
		flow = flow4(ip, end);
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip;
		__u8 *type;

		data = reach(skb, ETHER + HEADER6 + 4);
		end = end_of(skb);
		ip = data + ETHER;
		type = (void *)(ip + 1);
		if ((void *)(ip + 1) > end || ip->version != 6)
			return drop(skb, p->tenant, DOOR1_MALFORMED);
		if (ip->nexthdr == ICMPV6 && (void *)(type + 1) <= end && *type >= ND_FIRST && *type <= ND_LAST)
			return port_nd(skb, p);
		to.ip = plain(&ip->daddr);
		tos = traffic_class(ip);
		flow = flow6(ip, end);
	} else if (proto == bpf_htons(ETH_P_ARP)) {
		return port_arp(skb, p);
	} else {
		return drop(skb, p->tenant, DOOR1_NOT_IP);
	}
	if (link_scope(&to.ip))
		return drop(skb, p->tenant, DOOR1_LINK_SCOPE);
	if (!find_record(&to, &r)) {
		// Under the rule rewrite, what lies behind a customer address has no provider address.
		if (!find_route(&to, &r) || r.vsid & RECORD_REWRITE)
			return unknown_address(skb, p);
	} else if (r.vsid & RECORD_REWRITE) {
		return rewrite_out(skb, p, &r, proto == bpf_htons(ETH_P_IPV6));
	}
	h = bpf_map_lookup_elem(&hosts, &r.host);
	if (!h || !h->ifindex)
		return drop(skb, p->tenant, DOOR1_NOT_READY);
	if (h->flags & HOST_IPV6)
		return encapsulate(skb, p, &r, h, proto, tos, flow, HEADER6);
	return encapsulate(skb, p, &r, h, proto, tos, flow, HEADER4);
}
