package compartments

import (
	"fmt"

	"github.com/safchain/ethtool"
)

// espOffload is the kernel's name of the feature that a NIC encrypts and decrypts ESP itself (ethtool -k).
const espOffload = "esp-hw-offload"

// OffloadsESP tells whether a NIC of the Default compartment does ESP itself, and has it switched on.
func (m *Manager) OffloadsESP(nic string) (does bool, err error) {
	err = m.def.Do(func() (err error) {
		e, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer e.Close()
		features, err := e.Features(nic)
		does = features[espOffload]
		return err
	})
	if err != nil {
		return false, fmt.Errorf("read the features of NIC %s: %w", nic, err)
	}
	return does, nil
}
