# Bulkhead. `make help` lists what there is to do.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Everything that is downloaded or built once and used again lies outside the checkout.
export BULKHEAD_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bulkhead
TOOLS := $(BULKHEAD_CACHE)/tools
GOLANGCI_VERSION := v2.15.0

# The lab's and the guest's programs are static: they run in the VM, whose libraries differ from the host's.
export CGO_ENABLED := 0
GO_BUILD := go build -trimpath

# Packages with tests that need IPsec in the kernel, a real charon or the appliance's own kernel; these run in the VM.
# The longest come first, since two run at a time.
VM_PACKAGES := ./dataplane ./vpn ./lab ./lab/bench ./vpn/peerconfig ./capture ./trigger ./compartments ./ratelimit

.PHONY: help
help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

.PHONY: demo
demo: deps build ## show the main job in a throw-away VM (as root; KEEP=1 leaves a shell in it)
	@lab/vm $(if $(KEEP),--interactive) bin/demo --bulkhead $(CURDIR)/bin/bulkhead $(if $(KEEP),--keep)

.PHONY: test
test: test-native test-vm ## run every test, natively and in the VM (as root)

.PHONY: test-native
test-native: deps
	go test ./...

# The test binaries must lie below the checkout, which is what the VM sees of this machine.
.PHONY: test-vm
test-vm: deps build
	@mkdir -p bin/_tmp
	GOTMPDIR=$(CURDIR)/bin/_tmp BULKHEAD_BINARY=$(CURDIR)/bin/bulkhead \
		go test -tags vm -p 2 -count 1 -timeout 20m -exec $(CURDIR)/lab/vm $(VM_PACKAGES)
	@# Whole flows run alone: a machine that has to wait for its CPU loses packets.
	GOTMPDIR=$(CURDIR)/bin/_tmp BULKHEAD_BINARY=$(CURDIR)/bin/bulkhead \
		go test -tags vm -count 1 -timeout 20m -exec $(CURDIR)/lab/vm ./lab/e2e

.PHONY: bench
bench: bench-native bench-vm ## measure everything against its peers (as root; BENCH=regexp measures some; 15 minutes at most)

.PHONY: bench-native
bench-native:
	go test -run '^$$' -bench '$(or $(BENCH),.)' -benchtime 1x -timeout 15m -v ./lab/bench

# What needs IPsec in the kernel and charon runs in the VM, by a clock that counts instructions where its CPU is emulated.
.PHONY: bench-vm
bench-vm: deps build
	@mkdir -p bin/_tmp
	GOTMPDIR=$(CURDIR)/bin/_tmp BULKHEAD_BINARY=$(CURDIR)/bin/bulkhead LAB_VM_CLOCK=instructions \
		go test -tags scale -run '^$$' -bench '$(or $(BENCH),.)' -benchtime 1x -timeout 20m -v \
		-exec $(CURDIR)/lab/vm ./lab/scale

.PHONY: scale
scale: deps build ## try two thousand tunnels in the VM (as root; 10 minutes where the CPU is emulated)
	@mkdir -p bin/_tmp
	GOTMPDIR=$(CURDIR)/bin/_tmp LAB_VM_TIMEOUT=2400 \
		go test -tags scale -run . -count 1 -timeout 40m -v -exec $(CURDIR)/lab/vm ./lab/scale

.PHONY: build
build: ## build the programs into bin/
	$(GO_BUILD) -o bin/ ./cmd/bulkhead ./lab/demo

.PHONY: install
install: build ## install the binary below DESTDIR
	install -D -m 755 bin/bulkhead $(DESTDIR)/usr/sbin/bulkhead

.PHONY: generate
generate: deps-generate ## build the eBPF objects from their C sources again
	go generate ./...

.PHONY: check-generated
check-generated: generate ## fail when a generated file or go.mod is not current
	go mod tidy -diff
	git diff --exit-code -- '*_bpfel.go' '*_bpfeb.go' '*_bpfel.o' '*_bpfeb.o'

.PHONY: lint
lint: $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) ## check style, correctness and the direction of imports
	$< run --build-tags vm,scale ./...

.PHONY: vm
vm: deps ## a shell in the throw-away VM
	@lab/vm --interactive bash

.PHONY: deps
deps: ## install what building and the VM need (Debian packages; nothing else on this machine changes)
	@lab/deps qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap

.PHONY: deps-generate
deps-generate:
	@lab/deps clang-19:clang-19 llvm-strip-19:llvm-19 /usr/include/bpf/bpf_helpers.h:libbpf-dev

.PHONY: clean
clean: ## remove what was built (the cache outside the checkout stays)
	rm -rf bin

$(TOOLS)/golangci-lint-%:
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$*
	mv $(TOOLS)/golangci-lint $@
