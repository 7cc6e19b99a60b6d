# Targets. Each runs one ordinary command. Most first install what is missing.
#
#   make train ARGS="--size tiny --steps 200"      ARGS is passed to the command of the target

ARGS ?=
PYTHON ?= python3
# `npm ci` takes the compiler's version from the lock file. Packages must not run scripts.
TINT := tools/tint/node_modules/.package-lock.json

.PHONY: train test mpi bench goldens mutants tint swiftshader gpu-report format lint driver browser help

train: driver ## train a model on the bundled MNIST
	cargo run --release --bin train -- $(ARGS)

test: driver browser ## run all tests, except those of several processes
	cargo test --release --workspace $(ARGS)

# With `--workspace`, the dependencies are those that `make test` has built (xtask/Cargo.toml).
mpi: driver ## run the tests of several processes over MPI
	@tools/mpi.sh
	cargo test --release --workspace --features degrain/mpi --test mpi $(ARGS)

bench: driver ## time every operator and the training step
	cargo bench $(ARGS)

goldens: ## write the reference values of the tests again (tests/goldens/README.md)
	$(PYTHON) tests/goldens/generate.py
	$(PYTHON) tests/goldens/exports.py
	$(PYTHON) tests/goldens/classes.py
	$(PYTHON) tests/goldens/gradients.py
	$(PYTHON) tests/goldens/metrics.py
	$(PYTHON) tests/goldens/onnx_nodes.py

mutants: driver ## change the shaders in one place at a time; a kernel test must fail
	cargo xtask mutants $(ARGS)

tint: $(TINT) ## compile every linked shader with Tint, the WGSL compiler of Chrome
	rm -rf target/shaders
	cargo xtask shaders target/shaders
	node tools/tint/check.mjs target/shaders

swiftshader: driver ## run the kernel tests on SwiftShader (subgroups of 4 lanes)
	tools/swiftshader.sh cargo test --release --workspace --test kernels $(ARGS)

gpu-report: ## check and measure a GPU, and write gpu-report.txt (docs/gpu.md)
	cargo xtask gpu-report $(if $(ARGS),"$(ARGS)")

# `cargo fmt` does not see the modules that macros declare, such as the operators.
RUST_FILES := git ls-files --cached --others --exclude-standard '*.rs'

format: ## format the code
	$(RUST_FILES) | xargs rustfmt --edition 2024

lint: ## check the formatting; clippy and rustdoc without a warning, also of the library alone
	$(RUST_FILES) | xargs rustfmt --edition 2024 --check
	cargo clippy --release --no-default-features --lib -- -D warnings
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --workspace

driver:
	@tools/driver.sh

browser:
	@tools/browser.sh

$(TINT): tools/tint/package-lock.json
	@command -v npm >/dev/null || tools/install.sh "Node.js (runs Tint)" "apt-get=nodejs npm" "dnf=nodejs npm" \
	    "pacman=nodejs npm" "zypper=nodejs npm" "apk=nodejs npm"
	@echo "Installing the npm package webgpu (Dawn for Node) into tools/tint/node_modules"
	cd tools/tint && npm ci --include=dev --ignore-scripts --no-audit --no-fund

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 16
