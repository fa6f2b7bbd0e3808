// SPDX-License-Identifier: Apache-2.0
// What both doors know. Everything here is pinned and outlives the daemon: a change of meaning or layout raises LAYOUT.
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "reasons.h"

enum layout {
	LAYOUT = 2,
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
	__u8 external_mac[6];
	__u16 pad;
};

// The gateway's own addresses, in roles.
enum role {
	ROLE_PROVIDER = 1,      // NVGRE is received on it
	ROLE_OWN = 2,           // tenants may not send to it through door 2
	ROLE_BOUND = 4,         // a provider address of the virtual subnets that name it, and of no others
};

struct local {
	__u32 roles;
	__u32 vlan;             // of outer frames to a provider address, 0 for none
};

// Another machine on the provider network, seen from one of the gateway's own provider addresses. Programs need no
// route: where to send is looked up when the entry is made.
struct host {
	struct address pa;
	struct address local;   // ours, which is sent from
	struct address next_hop; // the host itself, or the router towards it
	__u32 ifindex;          // of the link that sends; 0: none, or the host is the gateway itself
	__u16 mtu;              // largest outer IP packet, bytes
	__u8 flags;             // enum host_flags
	__u8 pad;
};

enum host_flags {
	HOST_IPV6 = 1,          // the provider addresses are IPv6
	HOST_BOUND = 2,         // the virtual subnets that send from `local` name it
};

enum vsid_flags {
	VSID_INTERFACE = 1,     // the gateway has an interface of its own in it, with `mac`
	VSID_ROUTER = 2,        // external-router mode: the gateway is the default gateway, with `router` as MAC address
	VSID_THROUGH = 4,       // what is routed goes through the compartment, which has filters
	VSID_LEARN = 8,         // there are hosts with L2Only records in it
	VSID_BOUND = 16,        // uses `provider` and no other
};

// A virtual subnet, also where the gateway has no interface in it.
struct vsid {
	__u32 tenant;
	__u32 ifindex;          // Default side of the internal interface that leads into the compartment; 0: none
	struct address provider;
	__u16 traffic;          // index in `traffic`
	__u16 flags;
	__u8 mac[6];            // of the internal interface that `ifindex` leads to
	__u8 router[6];
};

enum port_flags {
	PORT_ROUTER = 1,        // external-router mode: frames to other virtual subnets come from `router`
	PORT_LEARN = 2,         // unknown customer addresses may be learned
};

// A link from a compartment, on its Default side.
struct port {
	__u32 tenant;
	__u32 vsid;             // of an internal interface; 0 for the external link
	__u16 traffic;          // index in `traffic`
	__u16 flags;
	__u8 mac[6];            // of the compartment's end
	__u8 router[6];
};

struct vsid_address {
	__u32 vsid;
	struct address ip;
};

enum interface_flags {
	INTERFACE_ROUTER = 1,   // the address of the default gateway, with the router's MAC address
};

// An address that the gateway answers for inside a virtual subnet.
struct interface {
	__u32 tenant;
	__u32 flags;
	struct address provider; // that stands for it under the rule rewrite; all zero: none
};

// What a provider address stands for under the rule rewrite.
struct stand_in {
	__u32 tenant;
	__u32 vsid;
	struct address ca;
};

struct vsid_mac {
	__u32 vsid;
	__u8 mac[6];
	__u16 zero;
};

// A machine whose MAC address is known and whose customer address may be learned.
struct l2only {
	__u32 tenant;
	__u32 host;             // index in `hosts`
};

struct tenant_address {
	__u32 tenant;
	struct address ip;
};

// In the low byte of a record's `vsid`.
enum record_flags {
	RECORD_TYPE = 3,        // mask of what the policy calls the record; the numbers are those of Go's RecordType
	RECORD_REWRITE = 4,     // rule: IP rewrite, not encapsulation
	RECORD_STALE = 8,       // its host said that it does not have the address
	RECORD_MOVED = 16,      // its former host said where the address is now; `declared` has what policy says
};

struct record {
	__u32 host;             // index in `hosts`
	__u32 vsid;             // VSID in the high 24 bits, as in a GRE key; enum record_flags in the low 8
	__u8 mac[6];
	__u16 traffic;          // index in `traffic`, of the virtual subnet
};

struct route_key {
	__u32 prefixlen;
	__u32 tenant;
	struct address ip;
};

#define TENANT_BITS 32

enum route_flags {
	ROUTE_ON_LINK = 1,      // destinations in the prefix have records of their own or are unknown
	ROUTE_HERE = 2,         // the next hop is the gateway itself
};

// A customer route: the one with the lowest metric, where a prefix has several.
struct route {
	struct address next_hop; // a customer address
	__u32 vsid;
	__u32 metric;
	__u32 flags;
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

// How fast a peer's ESP may come.
struct policer {
	__u64 due;              // ns of the kernel's clock: when what was sent would have passed at the rate
	__u64 price;            // of an octet, in ns << 10
	__u64 depth;            // ns that `due` may be ahead: the burst; network control may send as much again
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

enum event_kind {
	EVENT_NEIGHBOUR = 0,    // ARP or neighbour discovery from a virtual subnet, which may teach where an address is
	EVENT_WANTED = 1,       // a packet or question from a compartment for an unknown customer address
	EVENT_CONTROL = 2,      // a control message of [MS-NVGREE]
	EVENT_MISDELIVERED = 3, // a frame for a machine that is not here
	EVENT_KINDS = 4,
};

#define EVENT_FRAME 256

// What the daemon is told of, in the ring `events`.
struct event {
	enum event_kind kind;
	__u32 tenant;
	__u32 vsid;             // of the frame; of the interface that it came from, for EVENT_WANTED
	__u32 length;           // of the inner frame, as far as it is here
	struct address pa;      // the sender's, and ours that it was sent to; zero for EVENT_WANTED
	struct address local;
	__u8 nic[6];            // the sender's MAC address on the provider network, or the router's
	__u16 zero;
	__u8 frame[EVENT_FRAME]; // from its Ethernet header on
};

// How many events a tenant may still raise: when the next of each kind is due, in nanoseconds of the kernel's clock.
struct allowance {
	__u64 due[EVENT_KINDS];
};

// Marks of packets. Leaving a namespace clears them, so none comes from a compartment or from a wire.
enum mark {
	TRACE = 0x62687472,     // a test run of the daemon's: counts nothing, tells of nothing
	TRACE_RESULT = 0x62680000, // what a dropped TRACE becomes, with the reason in the low half
	AGAIN = 0x61670000,     // encapsulated and received anew, with the host's index in the low half
};

// Keeps in the object's type information what Go reads and no map or function names.
const struct {
	enum role role;
	enum host_flags host;
	enum vsid_flags vsid;
	enum port_flags port;
	enum interface_flags interface;
	enum record_flags record;
	enum route_flags route;
	enum mark mark;
	struct event event;
} *types_for_go __attribute__((unused));

#define MAP(NAME, TYPE, KEY, VALUE, ENTRIES, FLAGS) \
	struct { \
		__uint(type, TYPE); \
		__type(key, KEY); \
		__type(value, VALUE); \
		__uint(max_entries, ENTRIES); \
		__uint(map_flags, FLAGS); \
		__uint(pinning, LIBBPF_PIN_BY_NAME); \
	} NAME SEC(".maps")

#define TENANTS 16384
#define HOSTS 65536

// Tables that can grow large take memory as they fill (NO_PREALLOC).
MAP(gateway, BPF_MAP_TYPE_ARRAY, __u32, struct gateway, 1, 0);
MAP(local, BPF_MAP_TYPE_HASH, struct address, struct local, 1024, BPF_F_NO_PREALLOC);
MAP(hosts, BPF_MAP_TYPE_ARRAY, __u32, struct host, HOSTS, 0);
MAP(tenants, BPF_MAP_TYPE_HASH, struct tenant_id, struct tenant, TENANTS, BPF_F_NO_PREALLOC);
MAP(vsids, BPF_MAP_TYPE_HASH, __u32, struct vsid, 65536, BPF_F_NO_PREALLOC);
MAP(ports, BPF_MAP_TYPE_HASH, __u32, struct port, 32768, BPF_F_NO_PREALLOC);
MAP(interfaces, BPF_MAP_TYPE_HASH, struct vsid_address, struct interface, 65536, BPF_F_NO_PREALLOC);
MAP(providers, BPF_MAP_TYPE_HASH, struct tenant_address, __u32, 1 << 20, BPF_F_NO_PREALLOC);
MAP(records, BPF_MAP_TYPE_HASH, struct tenant_address, struct record, 1 << 21, BPF_F_NO_PREALLOC);
MAP(declared, BPF_MAP_TYPE_HASH, struct tenant_address, __u32, 1 << 16, BPF_F_NO_PREALLOC);
MAP(l2only, BPF_MAP_TYPE_HASH, struct vsid_mac, struct l2only, 1 << 18, BPF_F_NO_PREALLOC);
MAP(stand_ins, BPF_MAP_TYPE_HASH, struct address, struct stand_in, 65536, BPF_F_NO_PREALLOC);
MAP(rewrites, BPF_MAP_TYPE_HASH, struct tenant_address, struct stand_in, 1 << 18, BPF_F_NO_PREALLOC);
MAP(routes, BPF_MAP_TYPE_LPM_TRIE, struct route_key, struct route, 1 << 18, BPF_F_NO_PREALLOC);
MAP(owners, BPF_MAP_TYPE_LPM_TRIE, struct owner_key, struct owner, 1 << 20, BPF_F_NO_PREALLOC);
MAP(policers, BPF_MAP_TYPE_HASH, struct address, struct policer, 65536, BPF_F_NO_PREALLOC);
MAP(drops, BPF_MAP_TYPE_PERCPU_HASH, struct drop_key, struct count, 1 << 17, BPF_F_NO_PREALLOC);
MAP(traffic, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct traffic, 65536, 0);
MAP(allowances, BPF_MAP_TYPE_ARRAY, __u32, struct allowance, TENANTS, 0);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} events SEC(".maps");
