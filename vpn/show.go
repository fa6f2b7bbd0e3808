package vpn

import "time"

// show merges what is declared, remembered of charon's SAs, and counted by the kernel.
func (t *tunnel) show(counted map[saKey]traffic, now time.Time) Tunnel {
	out := Tunnel{
		Tenant: t.tenant, Interface: t.want.Name, State: t.state(), Since: t.since,
		LastError: t.reason, LastErrorAt: t.reasonAt, Disabled: t.want.Disabled,
		Local: t.want.LocalAddress.String(), Peer: t.destination(), LocalID: t.want.LocalID, PeerID: t.want.RemoteID,
	}
	var newest child
	for _, c := range t.children {
		if newest.id == "" || c.age(now) < newest.age(now) {
			newest = c
		}
		out.count(c, t.ikes[c.ike].ifIDIn, counted)
	}
	if newest.id == "" {
		return out
	}
	if sa, ok := t.ikes[newest.ike]; ok {
		out.Local, out.Peer, out.LocalID, out.PeerID = sa.local, sa.peer, sa.localID, sa.peerID
		out.IKE, out.UniqueID = sa.algorithms, sa.id
	}
	out.ESP, out.Encapsulated = newest.algorithms, newest.encapsulated
	out.SPIIn, out.SPIOut = newest.spiIn, newest.spiOut
	out.RekeyInSeconds = int64((newest.rekeyIn - now.Sub(newest.at)) / time.Second)
	return out
}

// age is the time since the SA was installed.
func (c child) age(now time.Time) time.Duration { return c.installed + now.Sub(c.at) }

// count adds what the kernel counted of one CHILD_SA.
func (out *Tunnel) count(c child, ifID uint32, counted map[saKey]traffic) {
	in, sent := counted[saKey{ifID, hexNumber(c.spiIn)}], counted[saKey{ifID, hexNumber(c.spiOut)}]
	out.BytesIn, out.PacketsIn = out.BytesIn+in.bytes, out.PacketsIn+in.packets
	out.BytesOut, out.PacketsOut = out.BytesOut+sent.bytes, out.PacketsOut+sent.packets
}
