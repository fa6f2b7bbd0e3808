// Package scale tries the VPN of one gateway with more tunnels than a test needs, and compares it with bare strongSwan
// and a bare kernel. What is in it runs in the VM: `make scale` and `make bench` start it.
package scale
