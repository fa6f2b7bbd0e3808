// Command demo shows the main job in the Fabrikam lab, a line and a verdict for each claim. It runs in the VM (lab/vm).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"bulkhead/lab/scenario"
)

func main() {
	bulkhead := flag.String("bulkhead", "bin/bulkhead", "path of the program to show")
	keep := flag.Bool("keep", false, "leave the lab standing, with a shell in it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	passed := run(ctx, *bulkhead, *keep)
	stop()
	if !passed {
		os.Exit(1)
	}
}

// run shows everything and tells whether all of it was true.
func run(ctx context.Context, bulkhead string, keep bool) bool {
	start := time.Now()
	passed, failed := 0, 0
	fmt.Println("Building the Fabrikam network: 2 Hyper-V hosts, 4 VMs, 3 sites, the Internet, and the gateway between them.")
	w, err := scenario.Start(ctx, scenario.Options{Bulkhead: bulkhead, NamespaceDir: "/run/netns", Dir: "/run/lab"})
	if err != nil {
		fmt.Printf("FAIL  the lab does not start: %v\n", err)
		fmt.Printf("demo: 0 passed, 1 failed in %.0f s\n", time.Since(start).Seconds())
		return false
	}
	for i, part := range scenario.Parts() {
		fmt.Printf("\n%d. %s\n", i+1, part.Title)
		for _, step := range part.Steps {
			seen, err := step.Check(ctx, w)
			verdict := "ok  "
			if err != nil {
				verdict = "FAIL"
				failed++
			} else {
				passed++
			}
			fmt.Printf("%s  %s\n", verdict, step.Claim)
			for _, line := range seen {
				fmt.Printf("        %s\n", line)
			}
			if err != nil {
				fmt.Printf("        why: %v\n", err)
			}
		}
	}
	if failed > 0 {
		fmt.Printf("\nThe end of the daemon's log:\n%s\n", w.DaemonLog())
	}
	if keep {
		shell(w)
	}
	if err := w.Close(); err != nil {
		fmt.Printf("FAIL  the lab does not come down: %v\n", err)
		failed++
	}
	fmt.Printf("\ndemo: %d passed, %d failed in %.0f s\n", passed, failed, time.Since(start).Seconds())
	return failed == 0
}

// shell leaves the person alone with the lab. How it ends says nothing about the demo.
func shell(w *scenario.World) {
	fmt.Printf(`
The lab is running. Some ways to look around:
  ip netns list                                       the machines of the lab
  ip netns exec GW-VM bash                            the gateway (its compartments: nsenter --net=%[1]s/netns/Contoso)
  ip netns exec GW-VM %[2]s --run-dir %[1]s show tunnels
  ip netns exec Contoso-10.0.0.10 ping 10.1.0.5       Contoso's VM, to its site in New York
  ip netns exec provider tcpdump -nei gw              NVGRE on the wire
  vi %[3]s/contoso.yaml; ip netns exec GW-VM %[2]s --run-dir %[1]s apply --config %[3]s
Leave with exit; the machine goes with it.
`, w.RunDir, w.Bulkhead, w.ConfigDir)
	cmd := exec.Command("bash")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	_ = cmd.Run()
}
