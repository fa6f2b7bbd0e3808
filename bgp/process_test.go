package bgp_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/wire"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

func itoa(n int) string { return strconv.Itoa(n) }

// start starts this binary as another process in the namespace, in a group of its own, and returns when it is ready.
func (w *world) start(ns *netns.Namespace, args ...string) *exec.Cmd {
	w.Helper()
	return w.startLogging(ns, os.Stderr, args...)
}

// startLogging is start with another standard error.
func (w *world) startLogging(ns *netns.Namespace, log *os.File, args ...string) *exec.Cmd {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), "/proc/self/exe", args...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := ns.Start(cmd); err != nil {
		w.Fatal(err)
	}
	said := make([]byte, len(wire.Ready))
	if _, err := io.ReadFull(out, said); err != nil || string(said) != wire.Ready {
		w.Fatalf("%v said %q: %v", args, said, err)
	}
	return cmd
}

func TestASpeakerHasNothingOfItsDaemonsAndNobodyReadsItsSecrets(t *testing.T) {
	w := newWorld(t)
	// What a daemon was born with is not closed when it starts a process.
	inherited, err := unix.Open(w.TempDir(), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { w.check(unix.Close(inherited)) }()
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	m := w.manager()
	want := config("Contoso")
	want.Peers[0].Password = "s3cret"
	w.set(m, testenv.Namespace(t), "Contoso", want)
	proc := fmt.Sprintf("/proc/%d/", w.pid(m, "Contoso"))
	for _, file := range []string{"cmdline", "environ", "comm", "status"} {
		content, err := os.ReadFile(proc + file)
		if err != nil || strings.Contains(string(content), "s3cret") || (file == "environ" && len(content) > 0) {
			t.Errorf("%s is %q (%v)", file, content, err)
		}
	}
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		target, err := os.Readlink(proc + "fd/" + f.Name())
		if err == nil && strings.HasPrefix(target, "/") && !strings.HasPrefix(target, w.dir) && target != "/dev/null" &&
			!slices.Contains([]string{"0", "1", "2"}, f.Name()) && !strings.HasPrefix(target, "/sys/") {
			t.Errorf("it has %s open", target)
		}
	}
	if dir, err := os.Readlink(proc + "cwd"); err != nil || dir != "/" {
		t.Errorf("it is in %s (%v)", dir, err)
	}
	if session, err := unix.Getsid(w.pid(m, "Contoso")); err != nil || session != w.pid(m, "Contoso") {
		t.Errorf("its session is %d (%v)", session, err)
	}
}

func TestASpeakerOutlivesTheSignalsThatEndItsDaemon(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			w := newWorld(t)
			daemon := w.start(testenv.Namespace(t), "daemon", w.dir, "Contoso")
			m := w.manager()
			pid := w.pid(m, "Contoso")
			w.kill(-daemon.Process.Pid, signal) // as Ctrl-C does: to all of its group
			if err := daemon.Wait(); err == nil {
				t.Error("the daemon did not end by the signal")
			}
			if now := w.pid(m, "Contoso"); now != pid {
				t.Errorf("process %d was exchanged for %d", pid, now)
			}
		})
	}
}

func TestWithoutAConfigurationNothingIsLeftAndTheNamespaceCanGo(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "netns", "Contoso")
	ns, err := netns.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	m := w.manager()
	w.set(m, ns, "Contoso", config("Contoso"))
	h, err := ns.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	outside, err := netlink.NewHandle()
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	w.check(outside.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "gone"}, PeerName: "inside", PeerNamespace: netlink.NsFd(ns.Fd()),
	}))
	w.addRoutes(h)
	pid := w.pid(m, "Contoso")

	w.set(m, ns, "Contoso", nil)
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("the process is there when Set returned: %v", err)
	}
	if left := w.routes(h); len(left) != 0 {
		t.Errorf("routes are left: %v", left)
	}
	if names, err := m.Names(); err != nil || len(names) != 0 {
		t.Errorf("files are left of %v (%v)", names, err)
	}
	w.set(m, ns, "Contoso", nil) // again changes nothing
	w.check(ns.Close())
	w.check(netns.Remove(path))
	h.Close()
	testenv.Eventually(t, "the namespace is gone, and its links with it", func() bool {
		_, err := outside.LinkByName("gone")
		return err != nil
	})
}

// addRoutes adds routes as a speaker that crashed left them.
func (w *world) addRoutes(h *netlink.Handle) {
	w.Helper()
	for _, prefix := range []string{"10.99.0.0/16", "fd99::/64"} {
		dst, err := netlink.ParseIPNet(prefix)
		if err != nil {
			w.Fatal(err)
		}
		w.check(h.RouteAdd(&netlink.Route{Dst: dst, Type: unix.RTN_UNREACHABLE, Protocol: unix.RTPROT_BGP}))
	}
}

func (w *world) routes(h *netlink.Handle) []netlink.Route {
	w.Helper()
	routes, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: unix.RTPROT_BGP}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		w.Fatal(err)
	}
	return routes
}

func TestRoutesOfASpeakerThatCannotStartAgainAreSwept(t *testing.T) {
	w := newWorld(t)
	ns := testenv.Namespace(t)
	h, err := ns.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	w.addRoutes(h)
	m := w.manager(bgp.Hurried)
	if err := m.Set(t.Context(), ns, "broken", config("broken")); err == nil {
		t.Fatal("a broken speaker started")
	}
	testenv.Eventually(t, "no routes are left", func() bool { return len(w.routes(h)) == 0 })
}
