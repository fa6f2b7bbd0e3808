package bench_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/internal/testenv"
)

// rootTree is the VM's root tree, which has FRR; it is made where the cache does not hold it.
var rootTree = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("../image/build")
	cmd.Stderr = os.Stderr
	boot, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("../image/build: %w", err)
	}
	return filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(string(boot)), "root"))
})

// frr is FRR's zebra and bgpd, of the VM's root tree, which they see as theirs: on this machine, by its kernel.
type frr struct {
	t       testing.TB
	daemons []*exec.Cmd
}

// startFRR configures FRR as the speaker is: sessions that are waited for, limits of prefixes, nobody told of anything.
// Without a longer queue bgpd takes 10,000 messages and then reads so rarely that 100,000 routes last 15 s.
func startFRR(t testing.TB, w *bgpWorld) router {
	t.Helper()
	var c strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&c, format+"\n", args...) }
	line("bgp input-queue-limit 1000000")
	line("router bgp %d\n bgp router-id %v\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast", w.config.ASN, w.config.Identifier)
	for _, p := range w.config.Peers {
		line(" neighbor %v remote-as %d\n neighbor %[1]v passive\n neighbor %[1]v timers 30 90", p.Address, p.ASN)
	}
	line(" address-family ipv4 unicast")
	for _, p := range w.config.Peers {
		line("  neighbor %v activate\n  neighbor %[1]v route-map nothing out", p.Address)
		line("  neighbor %v maximum-prefix %d %d", p.Address, p.MaximumPrefixes, p.WarnAt)
	}
	line(" exit-address-family\nexit\nroute-map nothing deny 10")
	dir := t.TempDir()
	// The daemons give up root; they reach the folder by a mount of their own.
	must(t, "make FRR's folder", os.Chmod(dir, 0o777)) //nolint:gosec // of a benchmark
	must(t, "configure FRR", os.WriteFile(filepath.Join(dir, "bgpd.conf"), []byte(c.String()), 0o644))
	must(t, "configure FRR", os.WriteFile(filepath.Join(dir, "zebra.conf"), nil, 0o644))
	f := &frr{t: t}
	t.Cleanup(f.stop)
	f.start(w, dir, "zebra", "-s", "90000000")
	f.start(w, dir, "bgpd")
	return f
}

// inRoot makes mounts that only the daemon sees, on the root tree, which is not written to, and runs the daemon in it.
const inRoot = `mount --make-rprivate /
mount --bind "$0" "$0"
mount -o remount,bind,ro "$0"
for dir in run var/lib/frr var/tmp; do mount -t tmpfs tmpfs "$0/$dir"; done
mount --bind "$1" "$0/tmp"
mount -t proc proc "$0/proc"
mount --bind /dev "$0/dev"
root=$0 daemon=$2; shift 2
exec chroot "$root" "/usr/lib/frr/$daemon" "$@"`

// start starts a daemon and waits until it serves.
func (f *frr) start(w *bgpWorld, dir, name string, more ...string) {
	f.t.Helper()
	root, err := rootTree()
	must(f.t, "find FRR", err)
	log, err := os.Create(filepath.Join(dir, name+".log"))
	must(f.t, "make FRR's log", err)
	defer log.Close()
	args := append([]string{"-ec", inRoot, root, dir, name, "-f", "/tmp/" + name + ".conf", "-i", "/tmp/" + name + ".pid",
		"-u", "frr", "-g", "frr", "-z", "/tmp/zserv", "--vty_socket", "/tmp", "-P", "0"}, more...)
	cmd := exec.Command("sh", args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	must(f.t, "start FRR's "+name, w.compartment.Start(cmd))
	f.daemons = append(f.daemons, cmd)
	f.t.Cleanup(func() {
		if said, _ := os.ReadFile(log.Name()); f.t.Failed() {
			f.t.Logf("FRR's %s: %s", name, said)
		}
	})
	testenv.Eventually(f.t, "FRR's "+name+" serves", func() bool {
		_, err := os.Stat(filepath.Join(dir, name+".vty"))
		return err == nil
	})
}

func (f *frr) processes() []int {
	var all []int
	for _, d := range f.daemons {
		all = append(all, d.Process.Pid)
	}
	return all
}

func (f *frr) stop() {
	for _, d := range f.daemons {
		_ = d.Process.Kill()
		_ = d.Wait()
	}
	f.daemons = nil
}
