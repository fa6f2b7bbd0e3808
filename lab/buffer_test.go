package lab_test

import (
	"net/netip"
	"testing"
	"time"

	"bulkhead/internal/testenv"
	"bulkhead/lab"
)

// A burst that the reader is not awake for must not be lost on the way out of the kernel.
func TestSocketsKeepABurstUntilItIsRead(t *testing.T) {
	const burst = 2000
	node := &lab.Node{Name: "alone", NS: testenv.Namespace(t)}
	if _, err := node.Run(t.Context(), "ip", "link", "set", "lo", "up"); err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort("127.0.0.1:7")
	server, err := node.ListenPacket(at)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := node.Dial(t.Context(), "udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range burst {
		if _, err := client.Write(make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for n := range burst {
		if _, _, err := server.ReadFromUDPAddrPort(make([]byte, 64)); err != nil {
			t.Fatalf("after %d of %d packets: %v", n, burst, err)
		}
	}
}
