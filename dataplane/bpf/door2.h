// SPDX-License-Identifier: Apache-2.0
// Door 2, on the Internet: by public address, and port where tenants share one, into a compartment and out of it.
#pragma once
#include "policer.h"

#define DOOR2_REACH (ETHER + 40)

// Gives the packet to its owner. The short way in is open to what was received, not to what a compartment still sends.
static __always_inline int deliver(struct __sk_buff *skb, struct owner *o, bool received)
{
	struct ether *e = reach(skb, ETHER);

	if ((void *)(e + 1) > end_of(skb))
		return drop(skb, o->tenant, DOOR2_MALFORMED);
	__builtin_memcpy(e->dst, o->mac, 6);
	count_in(skb, o->traffic, segments(skb), skb->len);
	return received ? bpf_redirect_peer(o->ifindex, 0) : bpf_redirect(o->ifindex, 0);
}

// Whether a tenant has the address or ports of it, so that the gateway answers for it on the external link.
static __always_inline bool answers_for(const struct address *ip)
{
	struct owner *o = whole_address(ip);

	return o && o->flags & (OWNER_TENANT | OWNER_SHARED);
}

static __always_inline int external_arp(struct __sk_buff *skb, struct gateway *g)
{
	void *data = reach(skb, ETHER + ARP_LENGTH);
	struct ether *e = data;
	struct arp *a = data + ETHER;
	struct address target;

	if (data + ETHER + ARP_LENGTH > end_of(skb) || !is_request(a) || is_gratuitous(a))
		return NEXT;
	target = arp_target(a);
	if (!answers_for(&target))
		return NEXT;
	answer_arp(e, a, g->external_mac);
	return bpf_redirect(skb->ifindex, 0);
}

// Neighbour discovery on the external link: ours to answer for tenants' addresses, the kernel's for all others.
static __always_inline int external_nd(struct __sk_buff *skb, struct gateway *g, struct packet *p)
{
	struct address target;

	if (solicitation(skb, 0, &target) && answers_for(&target)) {
		if (!answer_solicitation(skb, 0, g->external_mac))
			return drop(skb, 0, DOOR2_KERNEL_REFUSED);
		return bpf_redirect(skb->ifindex, 0);
	}
	return whole_address(&p->dst) ? drop(skb, 0, DOOR2_NEIGHBOUR) : NEXT;
}

// Whether the frame says that it is IP, of the version that the packet in it says.
static __always_inline bool is_ip(struct ether *e, void *end)
{
	__u8 *first = (void *)(e + 1);

	if ((void *)(first + 1) > end)
		return false;
	return (e->proto == bpf_htons(ETH_P_IP) && *first >> 4 == 4) ||
	       (e->proto == bpf_htons(ETH_P_IPV6) && *first >> 4 == 6);
}

// Everything that comes in from the Internet. What is for no address of tenants or of the pool is the kernel's,
// unless it is ESP beyond what its peer may send.
SEC("tcx/ingress")
int door2_wire(struct __sk_buff *skb)
{
	struct ether *e = reach(skb, DOOR2_REACH);
	struct gateway *g = the_gateway();
	struct packet p;
	struct owner *o;
	__u32 reason;

	if (skb->vlan_present || skb->pkt_type == TO_ANOTHER || !g || (void *)(e + 1) > end_of(skb))
		return NEXT;
	if (e->proto == bpf_htons(ETH_P_ARP))
		return external_arp(skb, g);
	if (!is_ip(e, end_of(skb)))
		return NEXT;
	parse(skb, ETHER, &p, false);
	if (p.kind == KIND_NEIGHBOUR)
		return external_nd(skb, g, &p);
	o = whole_address(&p.dst);
	if (!o)
		return own(skb, &p);
	if (skb->pkt_type != TO_US)
		return drop(skb, o->tenant, DOOR2_NOT_UNICAST);
	if (p.kind == KIND_BAD)
		return drop(skb, o->tenant, DOOR2_MALFORMED);
	o = receiver(skb, &p, &reason);
	if (!o)
		return drop(skb, 0, reason);
	return deliver(skb, o, true);
}

// Everything that a compartment sends to the Internet.
SEC("tcx/ingress")
int door2_tenant(struct __sk_buff *skb)
{
	struct ether *e = reach(skb, DOOR2_REACH);
	struct gateway *g = the_gateway();
	__u32 link = skb->ifindex, reason;
	struct port *in = bpf_map_lookup_elem(&ports, &link);
	struct packet p;
	struct owner *o;

	if (!in)
		return drop(skb, 0, DOOR2_UNKNOWN_LINK);
	if (skb->vlan_present || (void *)(e + 1) > end_of(skb) || !is_ip(e, end_of(skb)))
		return drop(skb, in->tenant, DOOR2_NOT_IP);
	parse(skb, ETHER, &p, false);
	if (p.kind == KIND_BAD)
		return drop(skb, in->tenant, DOOR2_MALFORMED);
	if (p.kind == KIND_NEIGHBOUR || link_scope(&p.dst))
		return drop(skb, in->tenant, DOOR2_LINK_SCOPE);
	reason = sender(skb, &p, in->tenant);
	if (reason)
		return drop(skb, in->tenant, reason);
	if (bpf_map_lookup_elem(&local, &p.dst))
		return drop(skb, in->tenant, DOOR2_TO_GATEWAY);
	o = receiver(skb, &p, &reason);
	if (reason)
		return drop(skb, in->tenant, reason);
	if (!o && (!g || !g->external))
		return drop(skb, in->tenant, DOOR2_NOT_READY);
	count_out(skb, in->traffic, segments(skb), skb->len);
	if (o)
		return deliver(skb, o, false);
	return bpf_redirect_neigh(g->external, 0, 0, 0);
}
