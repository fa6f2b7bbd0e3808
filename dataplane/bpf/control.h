// SPDX-License-Identifier: Apache-2.0
// Inner frames that are no traffic: ARP and neighbour discovery, answered for the gateway's own addresses and shown to
// the daemon where it learns; the control messages of [MS-NVGREE]; and frames for machines that are not here.
#pragma once
#include "events.h"
#include "neighbour.h"
#include "nvgre.h"

// Type and code of REDIRECT and UNREACHABLE, as ICMP and as ICMPv6 ([MS-NVGREE] sections 2.2.1 and 2.2.2).
enum control_message {
	REDIRECT4 = 5 << 8 | 10,
	UNREACHABLE4 = 3 << 8 | 10,
	REDIRECT6 = 137 << 8 | 1,
	UNREACHABLE6 = 1 << 8 | 1,
};

// Control messages come from a host itself: the inner source is the sender's provider address, which no tenant has.
static __always_inline bool from_host4(const struct iphdr *ip, const struct frame *f)
{
	return ip->protocol == PROTOCOL_ICMP && ip->saddr == f->pa.w[3] && f->pa.w[2] == bpf_htonl(0xffff);
}

static __always_inline bool from_host6(const struct ipv6hdr *ip, const struct frame *f)
{
	struct address from;

	if (ip->nexthdr != ICMPV6)
		return false;
	from = plain(&ip->saddr);
	return same(&from, &f->pa);
}

static __noinline bool is_control(struct __sk_buff *skb, __u32 at, bool ipv6)
{
	__u8 m[2];
	__u32 what;

	if (bpf_skb_load_bytes(skb, at, m, sizeof(m)))
		return false;
	what = m[0] << 8 | m[1];
	return ipv6 ? what == REDIRECT6 || what == UNREACHABLE6 : what == REDIRECT4 || what == UNREACHABLE4;
}

static __noinline int control(struct __sk_buff *skb, const struct vsid *v, const struct frame *f)
{
	return emit(skb, v->tenant, EVENT_CONTROL, f) ? DROP : drop(skb, v->tenant, DOOR1_TOO_MANY);
}

// Whether ARP and neighbour discovery in the frame are looked at although it is for another machine: to all of them, or
// in a virtual subnet where the daemon learns, since the answers to its questions go to whom it asked as.
static __always_inline bool teaches(const struct vsid *v, const struct ether *e)
{
	return e->dst[0] & 1 || v->flags & VSID_LEARN;
}

// Sends what answers an NVGRE packet back to where that came from.
static __noinline int reply(struct __sk_buff *skb, const struct frame *f)
{
	void *data = reach(skb, INNER(HEADER6));
	struct ether *e = data;
	__u8 mac[6];

	if (data + INNER(HEADER6) > end_of(skb))
		return NEXT;
	__builtin_memcpy(mac, e->dst, 6);
	__builtin_memcpy(e->dst, e->src, 6);
	__builtin_memcpy(e->src, mac, 6);
	if (f->at == INNER(HEADER6))
		outer6(data + ETHER, &f->local, &f->pa, 0, f->vsid, skb->len - ETHER);
	else
		outer4(data + ETHER, f->local.w[3], f->pa.w[3], 0, skb->len - ETHER);
	if (f->vlan && bpf_skb_vlan_push(skb, bpf_htons(VLAN_8021Q), f->vlan))
		return drop(skb, 0, DOOR1_KERNEL_REFUSED);
	return bpf_redirect(skb->ifindex, 0);
}

// The MAC address that the gateway has at one of its addresses in a virtual subnet; NULL where that is none of its.
static __always_inline const __u8 *own_mac(const struct vsid *v, const struct vsid_address *asked)
{
	struct interface *i = bpf_map_lookup_elem(&interfaces, asked);

	if (!i)
		return 0;
	return i->flags & INTERFACE_ROUTER ? v->router : v->mac;
}

// A message that is not answered: the daemon has it, or nobody wants it.
static __always_inline int unanswered(struct __sk_buff *skb, const struct vsid *v, bool told, enum reason otherwise)
{
	if (told)
		return DROP;
	return drop(skb, v->tenant, v->flags & VSID_LEARN ? DOOR1_TOO_MANY : otherwise);
}

static __noinline int inner_arp(struct __sk_buff *skb, const struct vsid *v, const struct frame *f)
{
	struct vsid_address key = { .vsid = f->vsid };
	struct { __u16 align; struct ether ether; struct arp arp; } q;
	const __u8 *mac = 0;
	bool told;

	if (bpf_skb_load_bytes(skb, f->at, &q.ether, ETHER + ARP_LENGTH))
		return drop(skb, v->tenant, DOOR1_INNER_ARP);
	told = v->flags & VSID_LEARN && emit(skb, v->tenant, EVENT_NEIGHBOUR, f);
	if (is_request(&q.arp) && !is_gratuitous(&q.arp)) {
		key.ip = arp_target(&q.arp);
		mac = own_mac(v, &key);
	}
	if (!mac)
		return unanswered(skb, v, told, DOOR1_INNER_ARP);
	answer_arp(&q.ether, &q.arp, mac);
	if (bpf_skb_store_bytes(skb, f->at, &q.ether, ETHER + ARP_LENGTH, 0))
		return drop(skb, v->tenant, DOOR1_KERNEL_REFUSED);
	return reply(skb, f);
}

static __noinline int inner_nd(struct __sk_buff *skb, const struct vsid *v, const struct frame *f, __u8 type)
{
	struct vsid_address key = { .vsid = f->vsid };
	const __u8 *mac = 0;
	bool told;

	if (type != ND_SOLICITATION && type != ND_ADVERTISEMENT)
		return drop(skb, v->tenant, DOOR1_INNER_ND);
	told = v->flags & VSID_LEARN && emit(skb, v->tenant, EVENT_NEIGHBOUR, f);
	if (solicitation(skb, f->at, &key.ip))
		mac = own_mac(v, &key);
	if (!mac)
		return unanswered(skb, v, told, DOOR1_INNER_ND);
	if (!answer_solicitation(skb, f->at, mac))
		return drop(skb, v->tenant, DOOR1_KERNEL_REFUSED);
	return reply(skb, f);
}

// A frame for a MAC address that is not the gateway's: the daemon tells the sender where the machine is, if it knows.
static __noinline int misdelivered(struct __sk_buff *skb, const struct vsid *v, const struct frame *f)
{
	__u8 first;

	if (!bpf_skb_load_bytes(skb, f->at, &first, 1) && !(first & 1))
		emit(skb, v->tenant, EVENT_MISDELIVERED, f);
	return drop(skb, v->tenant, DOOR1_INNER_MAC);
}
