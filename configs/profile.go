package configs

import (
	"maps"
	"slices"
	"time"
)

// Profile names the values that a make of devices, or a cloud, ships with.
type Profile string

// ProfileDefault is what a gateway has where it says nothing.
const ProfileDefault Profile = "default"

func (Profile) values() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		names = append(names, string(name))
	}
	return names
}

// profiles are IKE policies to inherit.
var profiles = map[Profile]IKEPolicy{
	ProfileDefault: {
		Proposals:         []string{"aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"},
		ESPProposals:      []string{"aes256gcm16", "aes128gcm16", "aes256-sha256"},
		DeadPeerDetection: 10 * time.Second,
		IKELifetime:       4 * time.Hour,
		ESPLifetime:       time.Hour,
		MOBIKE:            SwitchOn, Fragmentation: SwitchOn,
		ForceEncapsulation: SwitchOff, HardwareOffload: SwitchOff,
	},
}
