package trigger_test

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
	"bulkhead/internal/testenv"
	"bulkhead/trigger"
)

// holderVariable makes the test program a process that holds packets, in the namespace of the descriptor it names.
const holderVariable = "BULKHEAD_TEST_HOLDER"

// hold holds the packets of IfCe1 until it is killed, lets IfCe2 pass and prints what is asked for.
func hold(path string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	ns, err := netns.Open(path)
	fail(err)
	tr, err := trigger.Open(ns, trigger.Options{
		Log: slog.Default(), Wanted: func(link string) { fmt.Println(link) },
	})
	fail(err)
	fail(tr.Set([]string{"IfCe1", "IfCe2"}))
	fail(tr.Release("IfCe2"))
	fmt.Println("ready")
	select {}
}

// holder starts a process that holds packets, and waits until it does.
func holder(t *testing.T, n network) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holderVariable+"=/proc/self/fd/3")
	ns, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", n.gw.Fd()))
	must(t, err)
	defer ns.Close()
	cmd.ExtraFiles, cmd.Stderr = []*os.File{ns}, os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	wantLine(t, lines, "ready")
	return cmd, lines
}

func wantLine(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	if !lines.Scan() || lines.Text() != want {
		t.Fatalf("the holder says %q, want %q", lines.Text(), want)
	}
}

func TestWhileTheDaemonIsDeadPacketsPassAndItsSuccessorGoesOn(t *testing.T) {
	n := newNetwork(t)
	ny, sf := listen(t, n.ny, nyAddr), listen(t, n.sf, sfAddr)
	toNY, toSF := socket(t, n.vm, nyAddr), socket(t, n.vm, sfAddr)
	cmd, lines := holder(t, n)
	send(t, toNY, "lost with the daemon")
	wantLine(t, lines, "IfCe1")
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	send(t, toNY, "nobody holds this") // in the VM it reaches the trap policy, which dials
	wantGot(t, ny, "nobody holds this")

	tr, asked := opened(t, n, trigger.Options{})
	send(t, toSF, "this tunnel was up")
	wantGot(t, sf, "this tunnel was up")
	send(t, toNY, "this one was not")
	wantAsked(t, asked, "IfCe1")
	must(t, tr.Release("IfCe1"))
	wantGot(t, ny, "this one was not")
}

func TestOnlyOneListens(t *testing.T) {
	n := newNetwork(t)
	opened(t, n, trigger.Options{})
	if tr, err := trigger.Open(n.gw, trigger.Options{}); err == nil {
		_ = tr.Close()
		t.Fatal("a second trigger listens in the namespace")
	} else {
		t.Log(err)
	}
}

func TestClosingLeavesTheRulesAndRemoveTakesThemAway(t *testing.T) {
	n := newNetwork(t)
	got := listen(t, n.ny, nyAddr)
	c := socket(t, n.vm, nyAddr)
	tr, asked := opened(t, n, trigger.Options{})
	send(t, c, "held")
	wantAsked(t, asked, "IfCe1")
	must(t, tr.Close())
	if d := dropped(t, n, "held-too-long"); d != 1 {
		t.Errorf("%d packets count as held too long, want 1", d)
	}
	send(t, c, "passes")
	wantGot(t, got, "passes")
	must(t, trigger.Remove(n.gw))
	must(t, trigger.Remove(n.gw))
	all, err := trigger.Drops(n.gw)
	must(t, err)
	if len(all) != 0 {
		t.Errorf("%v is left", all)
	}
	_, asked = opened(t, n, trigger.Options{})
	send(t, c, "held again")
	wantAsked(t, asked, "IfCe1")
}

func TestARefusedSiteThatComesUpWithoutTheDaemonIsReached(t *testing.T) {
	n := newNetwork(t)
	got := listen(t, n.ny, nyAddr)
	tr, asked := opened(t, n, trigger.Options{})
	must(t, tr.Refuse("IfCe1"))
	c := socket(t, n.vm, nyAddr)
	send(t, c, "refused")
	wantAsked(t, asked, "IfCe1")
	must(t, tr.Close())
	testenv.Eventually(t, "packets pass", func() bool {
		_, _ = c.Write([]byte("passes")) // until then it learns that the host is unreachable
		return len(got) > 0
	})
}

func TestTheRulesOfAnotherReleaseAreReplacedAndATunnelThatIsUpGoesOn(t *testing.T) {
	n := newNetwork(t)
	got := listen(t, n.ny, nyAddr)
	_, err := nft.Apply(n.gw, nft.Table{
		Name: "bulkhead-trigger", Sets: []nft.Set{nft.Chains("links", nil)},
		Chains: []nft.Chain{{Name: "held"}, {Name: "refused"}, {Name: "open"}},
	})
	must(t, err)
	must(t, nft.ChangeChains(n.gw, "bulkhead-trigger", "links", nil, map[string]string{"IfCe1": "open"}))
	_, asked := opened(t, n, trigger.Options{})
	send(t, socket(t, n.vm, nyAddr), "the tunnel is up")
	wantGot(t, got, "the tunnel is up")
	send(t, socket(t, n.vm, sfAddr), "this one is not")
	wantAsked(t, asked, "IfCe2")
}
