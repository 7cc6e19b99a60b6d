# What one can ask of this tree. Every target is one ordinary command; the checks before it install what is missing, and say so first.
#
#   make train ARGS="--size tiny --steps 200"      ARGS goes to the program behind the target

ARGS ?=
# Not `npm install`: the lock file fixes the version of the compiler, and packages get to run no scripts.
TINT := tools/tint/node_modules/.package-lock.json

.PHONY: train test bench goldens mutants tint swiftshader lint driver browser help

train: driver ## trains a model on the MNIST of this repository
	cargo run --release --bin train -- $(ARGS)

test: driver browser ## all tests
	cargo test --release $(ARGS)

bench: driver ## times every operator and the training step
	cargo bench $(ARGS)

goldens: ## computes the reference values of the models anew, by another framework
	python3 benches/peers/goldens.py $(ARGS)

mutants: driver ## breaks the shaders in one place at a time and demands that a test notices
	cargo run --release --example mutants -- $(ARGS)

tint: $(TINT) ## compiles every linked shader with Tint, the WGSL compiler of Chrome
	rm -rf target/shaders
	cargo run --release --example shaders -- target/shaders
	node tools/tint/check.mjs target/shaders

swiftshader: driver ## the kernel tests on SwiftShader, whose subgroups have 4 lanes
	tools/swiftshader.sh cargo test --release --test kernels $(ARGS)

lint: ## formatting, and clippy without a warning
	cargo fmt --check
	cargo clippy --release --all-targets -- -D warnings

driver:
	@tools/driver.sh

browser:
	@tools/browser.sh

$(TINT): tools/tint/package-lock.json
	@command -v npm >/dev/null || tools/install.sh "Node.js (which runs Tint)" "apt-get=nodejs npm" "dnf=nodejs npm" \
	    "pacman=nodejs npm" "zypper=nodejs npm" "apk=nodejs npm"
	@echo "Installing the npm package webgpu (Dawn for Node) into tools/tint/node_modules"
	cd tools/tint && npm ci --include=dev --ignore-scripts --no-audit --no-fund

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' Makefile | expand -t 16
