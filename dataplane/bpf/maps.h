// SPDX-License-Identifier: Apache-2.0
// What both doors know. Everything here is pinned and outlives the daemon: a change of meaning or layout raises LAYOUT.
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "reasons.h"

enum layout {
	LAYOUT = 1,
};

// An IP address in network order; IPv4 as ::ffff:a.b.c.d.
struct address {
	__be32 w[4];
};

// The gateway's own side. One entry; all zero until it is set.
struct gateway {
	enum layout layout;     // LAYOUT of the programs that the maps were made for
	__u32 backend;          // ifindex of the link on the provider network
	__u32 external;         // ifindex of the link on the Internet
	__be32 provider4;       // the IPv4 provider address that we send from
	__u8 external_mac[6];
	__u16 pad;
};

// The gateway's own addresses, in roles.
enum role {
	ROLE_PROVIDER = 1,      // NVGRE is received on it
	ROLE_OWN = 2,           // tenants may not send to it through door 2
};

struct vsid {
	__u32 tenant;
	__u32 ifindex;          // the Default side of the internal interface
	__u32 traffic;          // index in `traffic`
	__u8 mac[6];            // of the internal interface
	__u16 pad;
};

// A link from a compartment, on its Default side.
struct port {
	__u32 tenant;
	__u32 traffic;          // index in `traffic`
	__u8 mac[6];            // of the compartment's end
	__u16 pad;
};

struct vsid_address {
	__u32 vsid;
	struct address ip;
};

struct tenant_address {
	__u32 tenant;
	struct address ip;
};

struct record {
	struct address pa;
	__u32 vsid;
	__u8 mac[6];
	__u16 pad;
};

// A public address in whole (prefixlen 128), or a range of its ports or ICMP ids (longer).
struct owner_key {
	__u32 prefixlen;
	struct address ip;
	__u8 proto;
	__u8 zero;
	__be16 port;
};

#define WHOLE_ADDRESS 128
#define WHOLE_KEY 160

enum owner_flags {
	OWNER_TENANT = 1,       // a tenant owns it
	OWNER_SHARED = 2,       // tenants own ports of it
	OWNER_POOL = 4,         // of the pool that tenants may own addresses from
};

struct owner {
	__u32 tenant;
	__u32 ifindex;          // the Default side of the tenant's external link
	__u32 traffic;          // index in `traffic`
	__u8 mac[6];            // of the compartment's end
	__u16 pad;
	enum owner_flags flags;
};

struct drop_key {
	__u32 tenant;           // 0 where none can be told
	enum reason reason;
};

struct count {
	__u64 packets;
	__u64 bytes;
};

struct traffic {
	struct count in;        // into the compartment
	struct count out;
};

struct tenant_id {
	__u8 routing_domain[16];
};

struct tenant {
	__u32 id;
	__u8 name[64];
};

#define MAP(NAME, TYPE, KEY, VALUE, ENTRIES, FLAGS) \
	struct { \
		__uint(type, TYPE); \
		__type(key, KEY); \
		__type(value, VALUE); \
		__uint(max_entries, ENTRIES); \
		__uint(map_flags, FLAGS); \
		__uint(pinning, LIBBPF_PIN_BY_NAME); \
	} NAME SEC(".maps")

// Tables that can grow large take memory as they fill (NO_PREALLOC).
MAP(gateway, BPF_MAP_TYPE_ARRAY, __u32, struct gateway, 1, 0);
MAP(local, BPF_MAP_TYPE_HASH, struct address, enum role, 1024, BPF_F_NO_PREALLOC);
MAP(tenants, BPF_MAP_TYPE_HASH, struct tenant_id, struct tenant, 16384, BPF_F_NO_PREALLOC);
MAP(vsids, BPF_MAP_TYPE_HASH, __u32, struct vsid, 16384, BPF_F_NO_PREALLOC);
MAP(ports, BPF_MAP_TYPE_HASH, __u32, struct port, 32768, BPF_F_NO_PREALLOC);
MAP(interfaces, BPF_MAP_TYPE_HASH, struct vsid_address, __u32, 65536, BPF_F_NO_PREALLOC);
MAP(providers, BPF_MAP_TYPE_HASH, struct tenant_address, __u32, 1 << 20, BPF_F_NO_PREALLOC);
MAP(records, BPF_MAP_TYPE_HASH, struct tenant_address, struct record, 1 << 21, BPF_F_NO_PREALLOC);
MAP(owners, BPF_MAP_TYPE_LPM_TRIE, struct owner_key, struct owner, 1 << 20, BPF_F_NO_PREALLOC);
MAP(drops, BPF_MAP_TYPE_PERCPU_HASH, struct drop_key, struct count, 1 << 17, BPF_F_NO_PREALLOC);
MAP(traffic, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct traffic, 16384, 0);
