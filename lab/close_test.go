package lab_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bulkhead/internal/testenv"
	"bulkhead/lab"
)

// busyLab is a lab in which everything runs that needs no IPsec. The temporary folder is the test's own.
func busyLab(t *testing.T, options lab.Options) *lab.Lab {
	t.Helper()
	l, err := lab.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	started := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for n, protocol := range []string{lab.TCP, lab.UDP, lab.HTTP} {
		started(l.Web().Serve(protocol, uint16(80+n), "web"))
		started(l.Client().Fetch(t.Context(), protocol, netip.AddrPortFrom(lab.WebAddress, uint16(80+n))))
	}
	started(nil, l.Web().ServeEcho(7))
	started(l.CaptureExternal())
	started(l.CaptureBackend())
	started(l.Client().StartFlow(t.Context(), netip.AddrPortFrom(lab.WebAddress, 7), 100))
	started(l.VM("Contoso", "10.0.0.10").Ping(t.Context(), addr("10.0.0.100")))
	started(l.StartDaemon(t.Context(), os.Args[0], "/run/nowhere", "/etc/ready"))
	return l
}

// traces are what a lab of the test's may leave behind, by what they are: anything of this process, and of the folder.
func traces(t *testing.T, folder string) map[string]int {
	t.Helper()
	found := map[string]int{"goroutines": runtime.NumGoroutine()}
	home := link(t, "/proc/self/ns/net")
	for _, pattern := range []string{
		filepath.Join(folder, "*"), "/proc/self/fd/*", "/proc/self/task/*/children", "/proc/self/task/*/ns/net",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			switch name := filepath.Base(path); {
			case strings.HasPrefix(path, folder):
				found["folder "+path]++
			case name == "children":
				children, _ := os.ReadFile(path) // the thread may have ended
				for child := range strings.FieldsSeq(string(children)) {
					found["process "+child]++
				}
			case name == "net":
				if in := link(t, path); in != home && in != "" {
					found["thread in "+in]++
				}
			default:
				kind, _, _ := strings.Cut(link(t, path), ":")
				found["open "+kind]++
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	found["mounts"] = strings.Count(string(mounts), folder)
	return found
}

// link reads a link of /proc that may be gone, or not ours to read.
func link(t *testing.T, path string) string {
	t.Helper()
	to, err := os.Readlink(path)
	if err != nil && !os.IsNotExist(err) && !os.IsPermission(err) {
		t.Fatal(err)
	}
	return to
}

// inside are the processes of the whole machine that are in a namespace of the lab's.
func inside(t *testing.T, namespaces map[string]bool) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(paths, func(path string) bool { return !namespaces[link(t, path)] })
}

// namespaces are the lab's, as /proc names them.
func namespaces(t *testing.T, l *lab.Lab) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, name := range []string{
		"GW-VM", "provider", "internet", "web", "client", "Host22", "Host33", "NY-Contoso", "NY-Contoso-host",
		"NY-Woodgrove", "NY-Woodgrove-host", "SFO-Woodgrove", "SFO-Woodgrove-host", "Contoso-10.0.0.10",
		"Contoso-10.0.0.100", "Woodgrove-10.0.0.10", "Woodgrove-10.0.0.100",
	} {
		var stat syscall.Stat_t
		if err := syscall.Fstat(l.Node(name).NS.Fd(), &stat); err != nil {
			t.Fatal(err)
		}
		found[fmt.Sprintf("net:[%d]", stat.Ino)] = true
	}
	return found
}

// left says that there is more of something than before.
func left(before, after map[string]int) bool {
	for kind, number := range after {
		if number > before[kind] {
			return true
		}
	}
	return false
}

// leavesNothing runs a busy lab, has more started in it, and compares what there is before and after.
func leavesNothing(t *testing.T, options lab.Options, more func(*lab.Lab)) {
	t.Helper()
	testenv.Root(t)
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	if options.NamespaceDir != "" {
		options.NamespaceDir = filepath.Join(folder, options.NamespaceDir)
	}
	before := traces(t, folder)
	l := busyLab(t, options)
	more(l)
	its := namespaces(t, l)
	during := traces(t, folder)
	for _, kind := range []string{"goroutines", "open net"} {
		if during[kind] <= before[kind] {
			t.Fatalf("the test does not see the lab's %s: %v", kind, during)
		}
	}
	if len(inside(t, its)) == 0 {
		t.Fatal("the test does not see the lab's processes")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if options.NamespaceDir != "" {
		// It may be another's, such as /run/netns, and stays. It is empty, or it could not be removed here.
		if err := os.Remove(options.NamespaceDir); err != nil {
			t.Error(err)
		}
	}
	if still := inside(t, its); len(still) != 0 {
		t.Errorf("still in the lab's namespaces: %v", still)
	}
	// Goroutines and what they hold end a moment after they were told to.
	after := traces(t, folder)
	for deadline := time.Now().Add(5 * time.Second); left(before, after) && time.Now().Before(deadline); {
		<-time.After(10 * time.Millisecond)
		after = traces(t, folder)
	}
	if left(before, after) {
		t.Errorf("before the lab there was %v,\nafter it %v", before, after)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	for name, options := range map[string]lab.Options{"nameless": {}, "pinned": {NamespaceDir: "netns"}} {
		t.Run(name, func(t *testing.T) { leavesNothing(t, options, func(*lab.Lab) {}) })
	}
}
