package vpn

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"bulkhead/internal/drops"
)

// Drops reads why IPsec in the caller's namespace, the Default compartment, dropped packets. The kernel counts per
// reason and not per tenant; the reasons are its names (Documentation/networking/xfrm_proc.rst) in kebab-case, such as
// in-no-pols. A kernel without IPsec has none.
func Drops() ([]drops.Drop, error) {
	f, err := os.Open("/proc/thread-self/net/xfrm_stat")
	if os.IsNotExist(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read the IPsec counters: %w", err)
	}
	defer f.Close()
	return parseDrops(f)
}

// parseDrops parses the lines of xfrm_stat: a name such as XfrmInNoPols and a number.
func parseDrops(r io.Reader) ([]drops.Drop, error) {
	var found []drops.Drop
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 {
			return nil, fmt.Errorf("read the IPsec counters: unexpected line %q", lines.Text())
		}
		packets, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the IPsec counters: %w", err)
		}
		found = append(found, drops.Drop{
			Where: "ipsec", Reason: kebab(strings.TrimPrefix(fields[0], "Xfrm")), Packets: packets,
		})
	}
	return found, lines.Err()
}

func kebab(camel string) string {
	var b strings.Builder
	for i, r := range camel {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
