package nft

import (
	"encoding/binary"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// icmpxHostUnreachable is "host unreachable" of either family: type 3 code 1 of ICMP (RFC 792) and type 1 code 3,
// "address unreachable", of ICMPv6 (RFC 4443, 3.1).
const icmpxHostUnreachable = 2

// ToAny matches packets that leave by a link named in the set.
func ToAny(set string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg1},
		&expr.Lookup{SourceRegister: reg1, SetName: set},
	}
}

// Marked matches packets with this mark.
func Marked(mark uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: binaryutil.NativeEndian.PutUint32(mark)},
	}
}

// Queue leaves the packet to whoever has bound the queue of that number (NFQUEUE). While nobody has, it passes.
func Queue(number uint16) []expr.Any {
	return []expr.Any{&expr.Queue{Num: number, Flag: expr.QueueFlagBypass}}
}

// QueueByTarget is Queue for a kernel that was built without nftables' own queue expression (CONFIG_NFT_QUEUE), which
// [Apply] answers with ENOENT, but has that of iptables.
func QueueByTarget(number uint16) []expr.Any {
	// struct xt_NFQ_info_v2 of linux/netfilter/xt_NFQUEUE.h: number, how many queues, bypass.
	var info xt.Unknown
	for _, field := range []uint16{number, 1, 1} {
		info = binary.NativeEndian.AppendUint16(info, field)
	}
	return []expr.Any{&expr.Target{Name: "NFQUEUE", Rev: 2, Info: &info}}
}

// RejectAsUnreachable counts the packet under a reason, drops it and tells its sender that the host is unreachable. The
// hooks input, forward and output can do this.
func RejectAsUnreachable(counter string) []expr.Any {
	return append(Count(counter), &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: icmpxHostUnreachable})
}
