package configs

import (
	"maps"
	"slices"
	"time"
)

// Profile names the IKE policy that a make of devices, or a cloud, ships with.
type Profile string

// The profiles.
const (
	// ProfileDefault is what a gateway has where it says nothing.
	ProfileDefault    Profile = "default"
	ProfileAWS        Profile = "aws-default"
	ProfileAzure      Profile = "azure-default"
	ProfileCiscoIOSXE Profile = "cisco-ios-xe-default"
	ProfileFortiGate  Profile = "fortigate-default"
	ProfilePANOS      Profile = "pan-os-default"
	ProfileMikroTik   Profile = "mikrotik-default"
	ProfileRRAS       Profile = "rras-default"
	ProfileVyOS       Profile = "vyos-default"
)

func (Profile) values() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		names = append(names, string(name))
	}
	return names
}

// profiles are the policies to inherit. Of what a device takes they name the strongest, best first, so that it need not be
// configured; where that is weak, there is nothing else that it takes as it ships.
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
	// AWS Site-to-Site VPN user guide, "Tunnel options": AES128 and AES256 in CBC and GCM-16, SHA1 to SHA2-512, and the groups
	// 2 and 14 to 24 are all on as long as none is chosen; lifetimes 28,800 and 3,600 s; perfect forward secrecy is a must.
	ProfileAWS: {
		Proposals:             []string{"aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"},
		ESPProposals:          []string{"aes256gcm16", "aes256-sha256"},
		PerfectForwardSecrecy: "ecp384",
		IKELifetime:           28_800 * time.Second,
		ESPLifetime:           3_600 * time.Second,
	},
	// Azure VPN Gateway, "About VPN devices and IPsec/IKE parameters", route-based: AES256, AES128 and 3DES with SHA1 or
	// SHA256 in group 2 for 28,800 s; GCMAES256, AES256 with SHA256 and others without a group for 27,000 s or 102,400,000 kB.
	ProfileAzure: {
		Proposals:             []string{"aes256-sha256-modp1024", "aes256-sha1-modp1024"},
		ESPProposals:          []string{"aes256gcm16", "aes256-sha256", "aes256-sha1"},
		PerfectForwardSecrecy: NoKeyExchange,
		IKELifetime:           28_800 * time.Second,
		ESPLifetime:           27_000 * time.Second,
		ESPLifetimeBytes:      102_400_000 * 1024,
	},
	// IOS XE 17, "IKEv2 smart defaults": show crypto ikev2 proposal default; show crypto ipsec transform-set default (esp-aes
	// esp-sha-hmac); lifetimes 86,400 s, and 3,600 s or 4,608,000 kB; no group.
	ProfileCiscoIOSXE: {
		Proposals:             []string{"aes256-sha512-sha384-ecp256-modp2048-ecp521"},
		ESPProposals:          []string{"aes128-sha1"},
		PerfectForwardSecrecy: NoKeyExchange,
		IKELifetime:           86_400 * time.Second,
		ESPLifetime:           3_600 * time.Second,
		ESPLifetimeBytes:      4_608_000 * 1024,
	},
	// FortiOS CLI reference, vpn ipsec phase1-interface (aes128-sha256 aes256-sha256 aes128-sha1 aes256-sha1, dhgrp 14 5,
	// keylife 86400) and phase2-interface (besides these the GCM ones; pfs enable, dhgrp 14 5, keylifeseconds 43200).
	ProfileFortiGate: {
		Proposals:             []string{"aes256-sha256-modp2048", "aes128-sha256-modp2048"},
		ESPProposals:          []string{"aes256gcm16", "aes128gcm16", "aes256-sha256", "aes128-sha256"},
		PerfectForwardSecrecy: "modp2048",
		IKELifetime:           86_400 * time.Second,
		ESPLifetime:           43_200 * time.Second,
	},
	// PAN-OS, the crypto profiles named "default": aes-128-cbc and 3des, sha1, group2, 8 hours; aes-128-cbc and 3des, sha1,
	// group2, 1 hour.
	ProfilePANOS: {
		Proposals:             []string{"aes128-sha1-modp1024"},
		ESPProposals:          []string{"aes128-sha1"},
		PerfectForwardSecrecy: "modp1024",
		IKELifetime:           8 * time.Hour,
		ESPLifetime:           time.Hour,
	},
	// MikroTik RouterOS manual, IPsec: the profile "default" (aes-128 and 3des, sha1, modp2048 and modp1024, 1d) and the
	// proposal "default" (aes-256-cbc, aes-192-cbc and aes-128-cbc, sha1, pfs-group modp1024, 30m).
	ProfileMikroTik: {
		Proposals:             []string{"aes128-sha1-modp2048"},
		ESPProposals:          []string{"aes256-sha1"},
		PerfectForwardSecrecy: "modp1024",
		IKELifetime:           24 * time.Hour,
		ESPLifetime:           30 * time.Minute,
	},
	// What Windows offers for IKE without a custom policy: AES256, AES128 and 3DES with SHA384, SHA256 or SHA1 in group 2;
	// Set-VpnServerConfiguration: SALifeTimeSeconds 28,800.
	ProfileRRAS: {
		Proposals: []string{
			"aes256-sha384-modp1024", "aes256-sha256-modp1024", "aes256-sha1-modp1024", "3des-sha1-modp1024",
		},
		ESPProposals:          []string{"aes256-sha1", "aes128-sha1", "3des-sha1"},
		PerfectForwardSecrecy: NoKeyExchange,
		IKELifetime:           28_800 * time.Second,
		ESPLifetime:           28_800 * time.Second,
	},
	// VyOS, vpn ipsec: ike-group (proposal: aes128, sha1, dh-group 2; lifetime 28800) and esp-group (proposal: aes128, sha1; pfs
	// enable, which is the group of IKE; lifetime 3600).
	ProfileVyOS: {
		Proposals:             []string{"aes128-sha1-modp1024"},
		ESPProposals:          []string{"aes128-sha1"},
		PerfectForwardSecrecy: "modp1024",
		IKELifetime:           28_800 * time.Second,
		ESPLifetime:           3_600 * time.Second,
	},
}
