//go:build vm

package capture_test

import (
	"testing"

	"github.com/vishvananda/netlink"
)

func TestPacketsOfSiteToSiteInterfacesBeginWithIP(t *testing.T) {
	tunnelled(t, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "IfCe1"
		return netlink.LinkAdd(&netlink.Xfrmi{LinkAttrs: attrs, Ifid: 1})
	})
}
