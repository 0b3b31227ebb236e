# What a person types. Each target calls the real tool; `make -n TARGET` shows how.
#
#   make demo     build, fetch ONNX Runtime, draw demo.png with the shipped model
#   make test     everything: Rust, C and C++ programs (plain, sanitizers, valgrind), the exporter; training too where PyTorch
#                 is in target/venv (make target/venv/train)
#   make bench    pictures of the published size, random weights: dflow, the model in PyTorch, and plain ONNX Runtime in turns
#                 (a quarter of an hour; writes 3 GB below target/, and installs PyTorch there, 5 GB)
#   make install  into PREFIX (default /opt/detailflow)

PREFIX ?= /opt/detailflow
PYTHON ?= python3
CARGO ?= cargo
VENV := target/venv
RUNTIME := target/runtime/libonnxruntime.so
OPENVINO := target/openvino/libonnxruntime_providers_openvino_plugin.so
WEBGPU := target/webgpu/libonnxruntime.so
CUDA := target/runtime-cuda/libonnxruntime.so
BENCH := target/bench/detailflow-16
BENCH_VENV := target/venv-bench
# What it compares: see `python -m detailflow_onnx compare --help`.
COMPARE ?= --runtime
# What the tests call beside Rust and Python; in Debian's packages gcc, g++, binutils, strace, valgrind. Where there are
# clang++, SDL2 with pkg-config, and Xvfb, they test with them too.
TOOLS := cc c++ nm readelf strace valgrind

.PHONY: all demo test bench install tools devices

all: $(RUNTIME)
	$(CARGO) build --release --locked --features cli

demo: all
	target/release/dflow generate all --count 4 -o demo.png

# What was missing, and so not tested, is said at the end.
test: tools $(RUNTIME) $(VENV)/tests devices
	rm -rf target/skipped
	$(CARGO) test --release --locked --features cli
	$(VENV)/bin/python -m pytest -q -rs tests/exporter tests/train
	@cat target/skipped/* 2>/dev/null || true

bench: all $(BENCH)/detailflow.json $(BENCH_VENV)/ready
	$(BENCH_VENV)/bin/python -m detailflow_onnx compare $(BENCH) $(COMPARE)

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/share/detailflow $(DESTDIR)$(PREFIX)/runtime
	install -m 755 target/release/dflow $(DESTDIR)$(PREFIX)/bin
	install -m 755 target/release/libdetailflow.so $(DESTDIR)$(PREFIX)/lib
	install -m 644 target/release/libdetailflow.a $(DESTDIR)$(PREFIX)/lib
	install -m 644 include/detailflow.h include/detailflow.hpp $(DESTDIR)$(PREFIX)/include
	install -m 644 onnx/bundles/sprites/* $(DESTDIR)$(PREFIX)/share/detailflow
	install -m 755 $(RUNTIME) $(DESTDIR)$(PREFIX)/runtime

tools:
	@for tool in $(TOOLS); do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then echo "make test needs:$$missing (on Debian: apt-get install gcc g++ binutils strace valgrind)" >&2; exit 1; fi

# What tests/devices.rs runs on besides the CPU; where one cannot be fetched its tests are skipped, and say so.
devices:
	-@$(MAKE) --no-print-directory $(OPENVINO)
	-@$(MAKE) --no-print-directory $(WEBGPU)

# $(call fetch,LIST,FOLDER): the wheel that onnx/LIST.txt pins, checked against its hash, unpacked in FOLDER; only when
# absent. One for each processor, whatever Python is here.
fetch = rm -rf $(2) && $(VENV)/bin/pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary=:all: \
		--python-version 3.13 --platform manylinux_2_28_$$(uname -m) --dest $(2) --requirement onnx/$(1).txt \
		&& cd $(2) && $(CURDIR)/$(VENV)/bin/python -m zipfile -e *.whl .

$(RUNTIME): onnx/runtime.txt | $(VENV)/bin/python
	$(call fetch,runtime,target/wheel)
	mkdir -p target/runtime && mv target/wheel/onnxruntime/capi/libonnxruntime.so.* $@
	rm -rf target/wheel && touch $@

$(OPENVINO): onnx/openvino.txt | $(VENV)/bin/python
	$(call fetch,openvino,target/wheel-openvino)
	rm -rf target/openvino && mv target/wheel-openvino/onnxruntime_ep_openvino target/openvino
	rm -rf target/wheel-openvino && touch $@

$(WEBGPU): onnx/webgpu.txt | $(VENV)/bin/python
	$(call fetch,webgpu,target/wheel-webgpu)
	mkdir -p target/webgpu && mv target/wheel-webgpu/onnxruntime/capi/libonnxruntime.so.* $@
	rm -rf target/wheel-webgpu && touch $@

# 250 MB, for the tests of what CUDA's provider says; `make test` does not ask for it.
$(CUDA): onnx/cuda.txt | $(VENV)/bin/python
	$(call fetch,cuda,target/wheel-cuda)
	mkdir -p $(@D) && mv target/wheel-cuda/onnxruntime/capi/libonnxruntime_providers_* $(@D) && mv target/wheel-cuda/onnxruntime/capi/libonnxruntime.so.* $@
	rm -rf target/wheel-cuda && touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The exporter in its own surroundings, editable.
$(VENV)/tests: onnx/pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable ./onnx[test]
	touch $@

# PyTorch beside it, 5 GB: what training needs. Without it `make test` says that training was skipped.
$(VENV)/train: $(VENV)/tests
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable ./onnx[train,test]
	touch $@

# PyTorch is large, and nothing else needs it. ONNX Runtime is the one that dflow runs.
$(BENCH_VENV)/ready: onnx/pyproject.toml onnx/runtime.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check --editable ./onnx[baseline] \
		$$(sed -n 's/^\(onnxruntime==[0-9.]*\).*/\1/p' onnx/runtime.txt)
	touch $@

$(BENCH)/detailflow.json: | $(VENV)/tests
	mkdir -p target/bench && $(VENV)/bin/python -m detailflow_onnx export --random detailflow-16 --precision fp32,int8 --judge none --out $(BENCH)
