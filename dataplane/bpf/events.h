// SPDX-License-Identifier: Apache-2.0
// What the daemon is told of. Each tenant has an allowance of its own for each kind, so that a flood of one costs
// neither the others nor the daemon.
#pragma once
#include "packet.h"

#define EVENT_GAP 10000000ULL           // between two events of a kind: 100 a second
#define EVENT_BURST (50 * EVENT_GAP)    // that many may come at once

// A frame that came in on the provider network, as far as it was understood.
struct frame {
	struct address pa;      // the sender's provider address
	struct address local;   // ours
	__u32 vsid;
	__u32 at;               // where the inner Ethernet header starts
	__u32 vlan;             // of our provider address, 0 for none
};

static __always_inline bool may_tell(__u32 tenant, enum event_kind kind)
{
	struct allowance *a = bpf_map_lookup_elem(&allowances, &tenant);
	__u64 now = bpf_ktime_get_ns(), due;

	if (!a || kind >= EVENT_KINDS)
		return false;
	due = a->due[kind];
	if (due > now + EVENT_BURST)
		return false;
	a->due[kind] = (due > now ? due : now) + EVENT_GAP;
	return true;
}

// Tells the daemon of the frame that starts at f->at. False where it cannot, or the tenant's allowance is used up.
static __noinline bool emit(struct __sk_buff *skb, __u32 tenant, enum event_kind kind, const struct frame *f)
{
	struct event *e;
	__u32 length = skb->len - f->at;

	if (skb->mark == TRACE)
		return true;
	if (skb->len <= f->at || !may_tell(tenant, kind))
		return false;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return false;
	e->kind = kind;
	e->tenant = tenant;
	e->vsid = f->vsid;
	e->pa = f->pa;
	e->local = f->local;
	e->zero = 0;
	if (length > EVENT_FRAME)
		length = EVENT_FRAME;
	e->length = length;
	asm volatile("" : "+r"(length)); // the compiler knows the bounds and would leave them out; the verifier wants them
	if (length < 1 || length > EVENT_FRAME || bpf_skb_load_bytes(skb, f->at, e->frame, length) ||
	    bpf_skb_load_bytes(skb, 6, e->nic, sizeof(e->nic))) {
		bpf_ringbuf_discard(e, 0);
		return false;
	}
	bpf_ringbuf_submit(e, 0);
	return true;
}
