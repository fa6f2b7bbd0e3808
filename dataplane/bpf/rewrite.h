// SPDX-License-Identifier: Apache-2.0
// IP rewrite: nothing is encapsulated. Each customer address has a provider address to itself, which stands for it on
// the provider network; only the addresses change, and the checksums with them.
#pragma once
#include "encap.h"

#define REWRITE_HEADERS 6       // IPv6 extension headers that are looked behind

// Where the transport header starts whose checksum covers the addresses; 0 where the packet has none, as a later
// fragment. `proto` becomes its protocol.
static __noinline __u32 transport_at(struct __sk_buff *skb, __u8 *proto)
{
	struct { __u8 next, length; __be16 offset; } extension;
	__u32 off = ETHER + sizeof(struct ipv6hdr);
	struct ipv6hdr ip6;
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ETHER, &ip, sizeof(ip)))
		return 0;
	*proto = ip.protocol;
	if (ip.version == 4)
		return ip.frag_off & bpf_htons(IPV4_OFFSET) ? 0 : ETHER + ip.ihl * 4;
	if (bpf_skb_load_bytes(skb, ETHER, &ip6, sizeof(ip6)))
		return 0;
	*proto = ip6.nexthdr;
	for (int i = 0; i < REWRITE_HEADERS; i++) {
		if (*proto != 0 && *proto != 43 && *proto != 44 && *proto != 60)
			return off;
		if (bpf_skb_load_bytes(skb, off, &extension, sizeof(extension)))
			return 0;
		if (*proto == 44 && extension.offset & bpf_htons(0xfff8))
			return 0;
		off += *proto == 44 ? 8 : (extension.length + 1) * 8;
		*proto = extension.next;
	}
	return 0;
}

// The checksum of the transport header, after `difference` in the addresses.
static __always_inline bool mend_transport(struct __sk_buff *skb, __s64 difference)
{
	__u64 flags = BPF_F_PSEUDO_HDR;
	__u8 proto = 0;
	__u32 off = transport_at(skb, &proto);
	__be16 check;

	if (!off)
		return true;
	switch (proto) {
	case 6:
		off += 16;
		break;
	case 17:
		off += 6;
		flags |= BPF_F_MARK_MANGLED_0;
		break;
	case 58:
		off += 2;
		break;
	default:
		return true;
	}
	if (bpf_skb_load_bytes(skb, off, &check, sizeof(check)))
		return true; // a first fragment that is cut so short that it has none
	return !bpf_l4_csum_replace(skb, off, 0, difference, flags);
}

// Writes new addresses into the IP packet. Packet pointers are stale afterwards.
static __noinline bool readdress(struct __sk_buff *skb, bool ipv6, const struct address *from, const struct address *to)
{
	struct address old[2], new[2] = { *from, *to };
	__be32 old4[2], new4[2] = { from->w[3], to->w[3] };
	__s64 difference;

	if (ipv6) {
		if (bpf_skb_load_bytes(skb, ETHER + 8, old, sizeof(old)))
			return false;
		difference = bpf_csum_diff(old[0].w, sizeof(old), new[0].w, sizeof(new), 0);
		// With no header checksum to make up for them, the addresses change the sum that a NIC took of the packet.
		return difference >= 0 && mend_transport(skb, difference) &&
		       !bpf_skb_store_bytes(skb, ETHER + 8, new, sizeof(new), BPF_F_RECOMPUTE_CSUM);
	}
	if (bpf_skb_load_bytes(skb, ETHER + 12, old4, sizeof(old4)))
		return false;
	difference = bpf_csum_diff(old4, sizeof(old4), new4, sizeof(new4), 0);
	return difference >= 0 && mend_transport(skb, difference) &&
	       !bpf_l3_csum_replace(skb, ETHER + 10, 0, difference, 0) &&
	       !bpf_skb_store_bytes(skb, ETHER + 12, new4, sizeof(new4), 0);
}

// A compartment's packet to a customer address with the rule rewrite. Its source must be an address of the interface
// that has a provider address to itself.
static __noinline int rewrite_out(struct __sk_buff *skb, const struct port *p, const struct record *r, bool ipv6)
{
	struct vsid_address from = { .vsid = p->vsid };
	struct host *h = bpf_map_lookup_elem(&hosts, &r->host);
	__u32 host = r->host, packets = segments(skb);
	struct interface *i;
	struct in6_addr ip6;
	__be32 ip;

	if (!h || !h->ifindex)
		return drop(skb, p->tenant, DOOR1_NOT_READY);
	if (bpf_skb_load_bytes(skb, ipv6 ? ETHER + 8 : ETHER + 12, ipv6 ? (void *)&ip6 : (void *)&ip, ipv6 ? 16 : 4))
		return drop(skb, p->tenant, DOOR1_MALFORMED);
	from.ip = ipv6 ? plain(&ip6) : mapped(ip);
	i = bpf_map_lookup_elem(&interfaces, &from);
	if (!i || i->tenant != p->tenant || same(&i->provider, &(struct address){}))
		return drop(skb, p->tenant, DOOR1_NO_STAND_IN);
	if (!skb->gso_size && skb->len - ETHER > h->mtu)
		return drop(skb, p->tenant, DOOR1_TOO_BIG);
	count_out(skb, r->traffic, packets, skb->len);
	if (!readdress(skb, ipv6, &i->provider, &h->pa))
		return drop(skb, p->tenant, DOOR1_KERNEL_REFUSED);
	h = bpf_map_lookup_elem(&hosts, &host);
	return h ? send_to(h) : DROP;
}

// A packet to a provider address of ours that stands for a customer address: from one that stands for another customer
// address of the tenant's.
static __noinline int rewrite_in(struct __sk_buff *skb, const struct frame *f, const struct stand_in *own, bool ipv6)
{
	struct tenant_address sender = { .tenant = own->tenant, .ip = f->pa };
	struct stand_in *from = bpf_map_lookup_elem(&rewrites, &sender);
	struct vsid *v = bpf_map_lookup_elem(&vsids, &own->vsid);
	struct ether *e;

	if (!from)
		return drop(skb, own->tenant, DOOR1_UNLISTED_PROVIDER);
	if (!v || v->tenant != own->tenant || !(v->flags & VSID_INTERFACE))
		return drop(skb, own->tenant, DOOR1_UNKNOWN_VSID);
	if (f->vlan && bpf_skb_vlan_pop(skb))
		return drop(skb, own->tenant, DOOR1_KERNEL_REFUSED);
	if (!readdress(skb, ipv6, &from->ca, &own->ca))
		return drop(skb, own->tenant, DOOR1_KERNEL_REFUSED);
	e = reach(skb, ETHER);
	if ((void *)(e + 1) > end_of(skb))
		return drop(skb, own->tenant, DOOR1_KERNEL_REFUSED);
	__builtin_memcpy(e->dst, v->mac, 6);
	count_in(skb, v->traffic, segments(skb), skb->len);
	return bpf_redirect_peer(v->ifindex, 0);
}
