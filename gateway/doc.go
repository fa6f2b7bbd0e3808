// Package gateway is the conductor. It translates a declaration ([configs.Config]) into the desired state of each
// capability (a pure function with goldens), applies it tenant by tenant, passes on what events mean to others, and
// reads the state back from the kernel and from charon for show.
//
// It knows what is to be done, in which order and for whom, and nothing of how: no netlink, nftables, eBPF or VICI.
package gateway
