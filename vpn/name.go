package vpn

import (
	"slices"
	"strings"
)

// nameSeparator keeps the tenant and the interface apart in the name of a connection at charon. Neither a tenant nor an
// interface can contain it, as both are names of files or devices, and swanctl makes no such names.
const nameSeparator = "/"

// What follows the name of an interface at charon where it has more than one object of a kind there.
const (
	// previousKey is the second of two pre-shared keys.
	previousKey = nameSeparator + "previous"
	// answering is the connection for a peer that dials, where it takes another one to dial the peer.
	answering = nameSeparator + "answer"
)

// connName is the name under which charon knows a tenant's interface: of its connection, its secret and its IKE_SAs.
func connName(tenant, iface string) string { return tenant + nameSeparator + iface }

// splitName finds the tenant and the interface in the name of any object at charon. Names that are not ours give false.
func splitName(name string) (tenant, iface string, ok bool) {
	parts := strings.Split(name, nameSeparator)
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return "", "", false
	}
	return parts[0], parts[1], true
}

// baseName is the name of the interface that an object at charon belongs to, and the name itself where that is not ours.
func baseName(name string) string {
	if tenant, iface, ok := splitName(name); ok {
		return connName(tenant, iface)
	}
	return name
}
