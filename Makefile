# Two commands matter: `make demo` shows the thing, `make test` proves it. Both install what they need.
.PHONY: build demo test test-kernels bench lint fmt golden clean wheel image image-docker cluster conformance \
	demo-kubernetes lab-kubernetes lab-kubernetes-down
PYTHON ?= python3
BIN := .venv/bin
PYTEST_ARGS ?=

build: packages-build .venv/.stamp ## everything that running needs
	@$(MAKE) -s -C bpf
	@$(MAKE) -s -C shim
	@$(MAKE) -s -C cni

packages-%:
	@tools/install_packages run build $*

# Pinned by constraints.txt, so that a fresh environment is the one that was tested.
.venv/.stamp: pyproject.toml constraints.txt | packages-build
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: packages-demo build ## the main job, end to end, with real traffic
	@$(BIN)/python -m examples.shop.demo

test: packages-test packages-cluster packages-image build
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-kernels: packages-test build ## the whole namespace suite on 6.1 and 6.12
	@$(BIN)/python -m tests.guest.suite 6.1 6.12

bench: packages-bench packages-cluster build
	@$(BIN)/python -m bench $(BENCH_ARGS)

cluster: packages-cluster build ## every program of a real Kubernetes from its Go module, once for all clones
	@$(BIN)/python -m cluster build

conformance: packages-cluster packages-image build ## Kubernetes' and Gateway API's own tests, unmodified
	@status=0; for suite in kubernetes gateway; do $(BIN)/python -m cluster.upstream $$suite || status=1; done; exit $$status

demo-kubernetes: packages-cluster packages-image build ## a real cluster of two nodes, weft by Helm, the shop on it
	@$(BIN)/python -m examples.kubernetes.demo

lab-kubernetes: packages-cluster packages-image build ## the same cluster with weft and the shop, left up to play with
	@$(BIN)/python -m examples.kubernetes.demo --stay

lab-kubernetes-down: build ## away with it
	@$(BIN)/python -m cluster down --name lab

lint: packages-lint build
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@clang-format --dry-run --Werror $$(git ls-files '*.c' '*.h')
	@$(BIN)/python tools/gen_verdicts.py --check
	@$(BIN)/python tools/gen_layouts.py --check
	@$(BIN)/python -m tools.gen_crds --check
	@$(BIN)/python -m tools.gen_metrics --check

fmt: packages-lint build
	@$(BIN)/ruff check -q --fix .
	@$(BIN)/ruff format -q .
	@clang-format -i $$(git ls-files '*.c' '*.h')
	@$(BIN)/python tools/gen_verdicts.py
	@$(BIN)/python tools/gen_layouts.py
	@$(BIN)/python -m tools.gen_crds
	@$(BIN)/python -m tools.gen_metrics

golden: packages-test build ## rewrite the expected files of the golden cases
	@$(BIN)/pytest --update-golden $(PYTEST_ARGS)

wheel: build ## an installable package with the compiled parts in it
	@mkdir -p weft/_built && cp build/bpf/weft.bpf.o build/weft-shim build/weft-cni weft/_built/
	@$(BIN)/pip wheel -q --disable-pip-version-check --no-deps -w build/wheel . ; status=$$?; rm -rf weft/_built; exit $$status

image: packages-image build ## an OCI tar of weft's image; deploy/image/Dockerfile makes the same elsewhere
	@$(BIN)/python -m deploy.image

image-docker: packages-cluster packages-image build ## the Dockerfile's image, without docker; checked against `make image`'s
	@$(BIN)/python -m deploy.image.buildkit

clean:
	rm -rf build .venv
