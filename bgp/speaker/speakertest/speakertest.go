// Package speakertest lets a test's own program be a speaker's process: a daemon that is under test starts speakers from the
// binary that it runs from, which is the test's.
package speakertest

import (
	"context"
	"flag"
	"os"

	"bulkhead/bgp/speaker"
)

// Main is a speaker's life when the program was called as `bgp-speaker --tenant TENANT --socket PATH`, and returns at once
// when it was not. It is for TestMain.
func Main() {
	if len(os.Args) < 2 || os.Args[1] != "bgp-speaker" {
		return
	}
	var o speaker.Options
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.Tenant, "tenant", "", "")
	socket := flags.String("socket", "", "")
	_ = flags.Parse(os.Args[2:])
	if err := speaker.Run(context.Background(), *socket, o); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}
