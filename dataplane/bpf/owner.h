// SPDX-License-Identifier: Apache-2.0
// Whose a packet is at door 2: what it says of addresses and ports, and who owns those.
#pragma once
#include "neighbour.h"

#define TCP 6
#define UDP 17
#define ICMP 1
#define EXTENSIONS 6            // IPv6 extension headers that are looked behind

enum kind {
	KIND_PORTS,             // has ports, or an ICMP id in place of both
	KIND_PORTLESS,
	KIND_FRAGMENT,          // a later fragment
	KIND_ERROR,             // an ICMP error, with a packet embedded
	KIND_NEIGHBOUR,         // IPv6 neighbour discovery
	KIND_BAD,               // truncated or malformed
};

struct packet {
	struct address src, dst;
	__be16 sport, dport;
	__u16 inside;           // where an error's embedded packet starts, or what UDP carries
	__u8 proto;
	__u8 kind;
};

static __always_inline __u8 icmp_kind(__u8 type)
{
	switch (type) {
	case 0: case 8:                 // echo
	case 13: case 14:               // timestamp
	case 15: case 16:               // information
	case 17: case 18:               // address mask
		return KIND_PORTS;
	case 3: case 4: case 5: case 11: case 12:
		return KIND_ERROR;
	}
	return KIND_PORTLESS;
}

static __always_inline __u8 icmpv6_kind(__u8 type)
{
	if (type >= 1 && type <= 4)
		return KIND_ERROR;
	if (type == 128 || type == 129)
		return KIND_PORTS;
	return type >= ND_FIRST && type <= ND_LAST ? KIND_NEIGHBOUR : KIND_PORTLESS;
}

// The transport header at `off`.
static __always_inline __u8 transport(struct __sk_buff *skb, __u32 off, struct packet *p, bool ipv6)
{
	struct { __u8 type, code; __be16 checksum, id, more; } icmp;
	__be16 ports[2];

	if (p->proto == TCP || p->proto == UDP) {
		if (bpf_skb_load_bytes(skb, off, ports, sizeof(ports)))
			return KIND_BAD;
		p->sport = ports[0];
		p->dport = ports[1];
		p->inside = off + 8; // of UDP
		return KIND_PORTS;
	}
	if (p->proto != (ipv6 ? ICMPV6 : ICMP))
		return KIND_PORTLESS;
	if (bpf_skb_load_bytes(skb, off, &icmp, sizeof(icmp)))
		return KIND_BAD;
	p->sport = p->dport = icmp.id;
	p->inside = off + sizeof(icmp);
	return ipv6 ? icmpv6_kind(icmp.type) : icmp_kind(icmp.type);
}

static __always_inline __u8 parse4(struct __sk_buff *skb, __u32 off, struct packet *p, bool embedded)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return KIND_BAD;
	p->src = mapped(ip.saddr);
	p->dst = mapped(ip.daddr);
	p->proto = ip.protocol;
	if (ip.ihl < 5)
		return KIND_BAD;
	if (!embedded && !skb->gso_size &&
	    (bpf_ntohs(ip.tot_len) < ip.ihl * 4 || off + bpf_ntohs(ip.tot_len) > skb->len))
		return KIND_BAD;
	if (ip.frag_off & bpf_htons(IPV4_OFFSET))
		return KIND_FRAGMENT;
	return transport(skb, off + ip.ihl * 4, p, false);
}

static __always_inline __u8 parse6(struct __sk_buff *skb, __u32 off, struct packet *p, bool embedded)
{
	struct { __u8 next, length; __be16 offset; __be32 id; } extension;
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return KIND_BAD;
	p->src = plain(&ip.saddr);
	p->dst = plain(&ip.daddr);
	p->proto = ip.nexthdr;
	if (is_mapped(&ip.saddr) || is_mapped(&ip.daddr))
		return KIND_BAD;
	if (!embedded && !skb->gso_size && off + sizeof(ip) + bpf_ntohs(ip.payload_len) > skb->len)
		return KIND_BAD;
	off += sizeof(ip);
	for (int i = 0; i < EXTENSIONS; i++) {
		// Hop-by-hop, routing, fragment, destination options; nothing else can stand before a transport header here.
		if (p->proto != 0 && p->proto != 43 && p->proto != 44 && p->proto != 60)
			return transport(skb, off, p, true);
		if (bpf_skb_load_bytes(skb, off, &extension, sizeof(extension)))
			return KIND_BAD;
		if (p->proto == 44) {
			p->proto = extension.next;
			if (extension.offset & bpf_htons(0xfff8))
				return KIND_FRAGMENT;
			off += sizeof(extension);
			continue;
		}
		p->proto = extension.next;
		off += (extension.length + 1) * 8;
	}
	return KIND_BAD;
}

// Reads the IP packet at `off`. An embedded packet may be cut short.
static __noinline int parse(struct __sk_buff *skb, __u32 off, struct packet *p, bool embedded)
{
	__u8 first;

	__builtin_memset(p, 0, sizeof(*p));
	p->kind = KIND_BAD;
	if (bpf_skb_load_bytes(skb, off, &first, 1))
		return 0;
	if (first >> 4 == 4)
		p->kind = parse4(skb, off, p, embedded);
	else if (first >> 4 == 6)
		p->kind = parse6(skb, off, p, embedded);
	return 0;
}

// What is known of a whole address; NULL where it is none of ours.
static __always_inline struct owner *whole_address(const struct address *ip)
{
	struct owner_key key = { .prefixlen = WHOLE_ADDRESS, .ip = *ip };

	return bpf_map_lookup_elem(&owners, &key);
}

// The owner of (address, protocol, port). NULL with a reason where the address is ours but nobody has that part of it;
// NULL without one where the address is none of ours.
static __noinline struct owner *owner_of(const struct address *ip, __u8 proto, __be16 port, __u8 kind, __u32 *reason)
{
	struct owner *o = whole_address(ip);

	*reason = 0;
	if (!o || o->flags & OWNER_TENANT)
		return o;
	if (!(o->flags & OWNER_SHARED)) {
		*reason = DOOR2_UNOWNED_ADDRESS;
		return 0;
	}
	if (kind == KIND_PORTS) {
		struct owner_key key = { .prefixlen = WHOLE_KEY, .ip = *ip, .proto = proto, .port = port };

		o = bpf_map_lookup_elem(&owners, &key);
		if (o && o->flags & OWNER_TENANT)
			return o;
	}
	*reason = kind == KIND_FRAGMENT ? DOOR2_FRAGMENT : DOOR2_UNOWNED_PORT;
	return 0;
}

// Who receives the packet: the owner of its destination or, for an ICMP error, of the embedded packet's source.
static __noinline struct owner *receiver(struct __sk_buff *skb, const struct packet *p, __u32 *reason)
{
	struct packet e;

	*reason = 0;
	if (p->kind != KIND_ERROR || !whole_address(&p->dst))
		return owner_of(&p->dst, p->proto, p->dport, p->kind, reason);
	parse(skb, p->inside, &e, true);
	if (e.kind == KIND_BAD || !same(&e.src, &p->dst)) {
		*reason = DOOR2_ICMP_EMBEDDED;
		return 0;
	}
	return owner_of(&e.src, e.proto, e.sport, e.kind, reason);
}

// The reason why the tenant may not send the packet, 0 if it may. What an ICMP error tells of is a packet that was sent
// to the tenant, so the embedded destination is the tenant's too.
static __noinline __u32 sender(struct __sk_buff *skb, const struct packet *p, __u32 tenant)
{
	struct owner *o;
	struct packet e;
	__u32 reason;

	if (p->kind != KIND_ERROR) {
		o = owner_of(&p->src, p->proto, p->sport, p->kind, &reason);
		if (o && o->tenant == tenant)
			return 0;
		return !o && reason == DOOR2_FRAGMENT ? DOOR2_FRAGMENT : DOOR2_SOURCE_NOT_OWNED;
	}
	o = whole_address(&p->src);
	parse(skb, p->inside, &e, true);
	if (!o || e.kind == KIND_BAD)
		return DOOR2_SOURCE_NOT_OWNED;
	if (o->flags & OWNER_TENANT ? o->tenant != tenant : !same(&p->src, &e.dst))
		return DOOR2_SOURCE_NOT_OWNED;
	o = owner_of(&e.dst, e.proto, e.dport, e.kind, &reason);
	return o && o->tenant == tenant ? 0 : DOOR2_SOURCE_NOT_OWNED;
}
