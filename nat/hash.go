package nat

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// hashClass is the class, of so many, that the kernel's hash of a source address falls into: what sourceHash matches.
func hashClass(source netip.Addr, classes uint32) uint32 {
	return uint32(uint64(jhash(source.AsSlice(), hashSeed)) * uint64(classes) >> 32)
}

// jhash is Bob Jenkins' lookup3 hash as the kernel computes it (include/linux/jhash.h), of 4 or 16 octets.
func jhash(key []byte, seed uint32) uint32 {
	a := 0xdeadbeef + uint32(len(key)) + seed
	b, c := a, a
	if len(key) > 12 {
		a += binary.NativeEndian.Uint32(key)
		b += binary.NativeEndian.Uint32(key[4:])
		c += binary.NativeEndian.Uint32(key[8:])
		for _, shift := range [][3]int{{4, 6, 8}, {16, 19, 4}} {
			a -= c
			a ^= bits.RotateLeft32(c, shift[0])
			c += b
			b -= a
			b ^= bits.RotateLeft32(a, shift[1])
			a += c
			c -= b
			c ^= bits.RotateLeft32(b, shift[2])
			b += a
		}
		key = key[12:]
	}
	a += binary.LittleEndian.Uint32(key)
	c ^= b
	c -= bits.RotateLeft32(b, 14)
	a ^= c
	a -= bits.RotateLeft32(c, 11)
	b ^= a
	b -= bits.RotateLeft32(a, 25)
	c ^= b
	c -= bits.RotateLeft32(b, 16)
	a ^= c
	a -= bits.RotateLeft32(c, 4)
	b ^= a
	b -= bits.RotateLeft32(a, 14)
	c ^= b
	c -= bits.RotateLeft32(b, 24)
	return c
}
