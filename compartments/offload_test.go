package compartments_test

import "testing"

func TestAVirtualNICDoesNoESP(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	g.set(t, ns, contoso(t))
	does, err := g.OffloadsESP("bhi6001")
	if err != nil || does {
		t.Errorf("bhi6001 does ESP: %v, %v", does, err)
	}
	if _, err := g.OffloadsESP("none0"); err == nil {
		t.Error("a NIC that is not there was asked without an error")
	}
}
