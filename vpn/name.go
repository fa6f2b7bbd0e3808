package vpn

import "strings"

// nameSeparator keeps the tenant and the interface apart in the name of a connection at charon. Neither a tenant nor an
// interface can contain it, as both are names of files or devices, and swanctl makes no such names.
const nameSeparator = "/"

// connName is the name under which charon knows a tenant's interface: of its connection, its secret and its IKE_SAs.
func connName(tenant, iface string) string { return tenant + nameSeparator + iface }

// splitName is the reverse of connName. Names that are not ours give false.
func splitName(name string) (tenant, iface string, ok bool) {
	tenant, iface, ok = strings.Cut(name, nameSeparator)
	if !ok || tenant == "" || iface == "" || strings.Contains(iface, nameSeparator) {
		return "", "", false
	}
	return tenant, iface, true
}
