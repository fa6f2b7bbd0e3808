package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestTheCommandsInTheDocumentsExist(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^\$ bulkhead ([^|\n]*)`).FindAllStringSubmatch(string(text), -1)
	if len(lines) < 6 {
		t.Fatalf("docs/operations.md has %d commands", len(lines))
	}
	for _, line := range lines {
		cmd, args, err := rootCommand().Find(strings.Fields(line[1]))
		if err != nil {
			t.Errorf("bulkhead %s: %v", line[1], err)
			continue
		}
		if err := cmd.ParseFlags(args); err != nil {
			t.Errorf("bulkhead %s: %v", line[1], err)
		}
		if err := cmd.ValidateRequiredFlags(); err != nil || len(cmd.Flags().Args()) > 0 {
			t.Errorf("bulkhead %s: %v, arguments left %v", line[1], err, cmd.Flags().Args())
		}
	}
}
