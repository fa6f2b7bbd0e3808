package configs_test

import (
	"io/fs"
	"path/filepath"
	"testing"

	"bulkhead/configs"

	"github.com/google/go-cmp/cmp"
)

// fabrikam loads the reference deployment.
func fabrikam(t *testing.T) *configs.Config {
	t.Helper()
	c, err := configs.Load("fabrikam")
	if err != nil {
		t.Fatalf("the reference deployment does not load:\n%v", err)
	}
	return c
}

func TestReferenceDeploymentLoads(t *testing.T) {
	c := fabrikam(t)
	if c.Gateway.Name != "GW-VM" || len(c.Tenants) != 2 || c.Tenants[0].Name != "Contoso" || c.Tenants[1].Name != "Woodgrove" {
		t.Fatalf("got gateway %q and %d tenants, want GW-VM with Contoso and Woodgrove", c.Gateway.Name, len(c.Tenants))
	}
}

func TestEmbeddedReferenceDeploymentIsTheFolder(t *testing.T) {
	embedded, err := fs.Glob(configs.Fabrikam, "fabrikam/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := filepath.Glob("fabrikam/*")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(onDisk, embedded); diff != "" || len(embedded) != 3 {
		t.Errorf("embedded files differ from the folder (-folder +embedded):\n%s", diff)
	}
}
