package scenario

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// maps reads what the doors go by: the contents of every pinned map but those that count per CPU, and queues.
func (w *World) maps() (map[string]string, error) {
	pins, err := filepath.Glob(filepath.Join(w.RunDir, "bpf", "maps", "*"))
	if err == nil && len(pins) == 0 {
		err = errors.New("no map is pinned")
	}
	if err != nil {
		return nil, err
	}
	contents := map[string]string{}
	for _, pin := range pins {
		m, err := ebpf.LoadPinnedMap(pin, &ebpf.LoadPinOptions{ReadOnly: true})
		if err != nil {
			return nil, fmt.Errorf("read the map pinned at %s: %w", pin, err)
		}
		skip := 0
		if filepath.Base(pin) == "policers" {
			skip = 8 // the time that each peer's packet moves on, and BGP's come by themselves
		}
		text, err := dump(m, skip)
		if err := errors.Join(err, m.Close()); err != nil {
			return nil, fmt.Errorf("read the map pinned at %s: %w", pin, err)
		}
		contents["map "+filepath.Base(pin)] = text
	}
	return contents, nil
}

// dump is a map's contents without the first octets of each value.
func dump(m *ebpf.Map, skip int) (string, error) {
	switch m.Type() {
	case ebpf.PerCPUArray, ebpf.PerCPUHash, ebpf.LRUCPUHash, ebpf.RingBuf:
		return "", nil
	}
	var entries []string
	var key, value []byte
	for all := m.Iterate(); ; {
		if !all.Next(&key, &value) {
			slices.Sort(entries)
			return strings.Join(entries, "\n"), all.Err()
		}
		entries = append(entries, hex.EncodeToString(key)+" "+hex.EncodeToString(value[skip:]))
	}
}
