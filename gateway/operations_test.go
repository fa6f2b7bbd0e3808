package gateway

import (
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every trace in docs/operations.md is what the command prints, but for the widths of columns.
func TestTheTracesInTheDocumentsAreTrue(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	must(t, err)
	examples := regexp.MustCompile("(?s)\\$ bulkhead trace ([^\n]*)\n(.*?)\n```").FindAllStringSubmatch(string(text), -1)
	if len(examples) < 3 {
		t.Fatalf("docs/operations.md has %d traces", len(examples))
	}
	d := newTraced(t, tracedYAML)
	for _, example := range examples {
		r := TraceRequest{Protocol: "icmp", SourcePort: 40000}
		words := strings.Fields(example[1])
		for i := 0; i < len(words); i += 2 {
			value := words[i+1]
			switch words[i] {
			case "--tenant":
				r.Tenant = value
			case "--from":
				r.From = netip.MustParseAddr(value)
			case "--to":
				r.To = netip.MustParseAddr(value)
			case "--protocol":
				r.Protocol = value
			case "--dport":
				port, err := strconv.ParseUint(value, 10, 16)
				must(t, err)
				r.DestinationPort = uint16(port)
			case "--provider-address":
				r.ProviderAddress = netip.MustParseAddr(value)
			default:
				t.Fatalf("%s: this test does not know the flag %s", example[1], words[i])
			}
		}
		trace, err := d.Trace(t.Context(), r)
		must(t, err)
		got := []string{"TENANT WHERE PACKET WHAT HAPPENS"}
		for _, s := range trace.Steps {
			tenant := s.Tenant
			if tenant == "" {
				tenant = "-"
			}
			got = append(got, strings.Join([]string{tenant, s.Where, s.Packet, s.Text}, " "))
		}
		verdict := "verdict: " + string(trace.Verdict)
		if trace.Reason != "" {
			verdict += " at " + trace.Where + ": " + trace.Reason
		}
		got = append(got, verdict)
		var want []string
		for line := range strings.Lines(example[2]) {
			want = append(want, strings.Join(strings.Fields(line), " "))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s prints\n%s\nbut the document says\n%s", example[1], strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
