package configs_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulkhead/configs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestBadInputIsRefusedWithEveryReason loads each file or folder of testdata/bad and compares the problems with the
// golden file beside it. A file that declares no gateway of its own is loaded together with a good one.
func TestBadInputIsRefusedWithEveryReason(t *testing.T) {
	cases, err := filepath.Glob("testdata/bad/*")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, input := range cases {
		if filepath.Ext(input) == ".txt" {
			continue
		}
		tried++
		name := strings.TrimSuffix(filepath.Base(input), ".yaml")
		t.Run(name, func(t *testing.T) {
			paths := []string{input}
			if filepath.Ext(input) == ".yaml" && !strings.HasPrefix(name, "gateway-") {
				paths = append(paths, "testdata/gateway.yaml")
			}
			c, err := configs.Load(paths...)
			var problems configs.Problems
			if !errors.As(err, &problems) || c != nil {
				t.Fatalf("Load gave %v and the error %v, want problems only", c, err)
			}
			golden(t, filepath.Join("testdata/bad", name+".txt"), problems.Error()+"\n")
		})
	}
	if tried < 30 {
		t.Errorf("only %d bad inputs found, want at least 30", tried)
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("differs from %s, -update writes it anew (-want +got):\n%s", file, diff)
	}
}
