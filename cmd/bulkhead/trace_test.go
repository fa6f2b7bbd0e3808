package main

import (
	"strings"
	"testing"

	"bulkhead/gateway"
)

func TestTraceIsPrintedAsItsStepsAndTheVerdict(t *testing.T) {
	var out strings.Builder
	err := printTrace(&out, &gateway.Trace{
		Steps: []gateway.TraceStep{
			{Where: "Internet", Packet: "udp 65.10.10.100:40000 > 131.107.10.12:9", Text: "arrives at the external link"},
			{Tenant: "Contoso", Where: "nat", Packet: "udp 65.10.10.100:40000 > 131.107.10.12:9", Text: "drops it: from-internet"},
		},
		Verdict: gateway.VerdictDropped, Tenant: "Contoso", Where: "nat", Reason: "from-internet",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `TENANT   WHERE     PACKET                                    WHAT HAPPENS
-        Internet  udp 65.10.10.100:40000 > 131.107.10.12:9  arrives at the external link
Contoso  nat       udp 65.10.10.100:40000 > 131.107.10.12:9  drops it: from-internet
verdict: dropped at nat: from-internet
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestTraceRefusesWhatIsNoAddress(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--from x --to 10.0.0.1", "--from"}, {"--from 10.0.0.1 --to 10.0.0.0/24", "--to"},
		{"--from 10.0.0.1 --to 10.0.0.2 --provider-address x", "--provider-address"},
		{"--from 10.0.0.1 --to 10.0.0.2 -o xml", "--output"}, {"--from 10.0.0.1", `"to"`},
	} {
		root := rootCommand()
		root.SetArgs(append([]string{"trace", "--run-dir", t.TempDir(), "--tenant", "Contoso"}, strings.Fields(c.args)...))
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one about %s", c.args, err, c.want)
		}
	}
}
