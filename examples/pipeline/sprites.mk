# SPDX-License-Identifier: MIT OR Apache-2.0
# Sprites as files that make keeps up to date: make -f sprites.mk [DFLOW=path/to/dflow] [CLASSES="potion wand"] [COUNT=20]
#
# Tokens are the source of a picture: the rules below make them once, and decode pictures and atlases from them. They are written
# whole or not at all, so an interrupted make goes on where it stopped.

DFLOW ?= dflow
CLASSES ?= potion ring
COUNT ?= 20
OUT ?= sprites

all: $(OUT)/atlas.png $(CLASSES:%=$(OUT)/%.png)

# Tokens alone: the sheet of pictures goes nowhere.
$(OUT)/%.dftpack: | $(OUT)
	$(DFLOW) generate $* --count $(COUNT) --tokens-out $@ -o - > /dev/null

# A sheet to look at.
$(OUT)/%.png: $(OUT)/%.dftpack
	$(DFLOW) decode $< -o $@

$(OUT)/atlas.png: $(CLASSES:%=$(OUT)/%.dftpack)
	$(DFLOW) atlas $^ --padding 1 -o $@ --json $(OUT)/atlas.json

$(OUT):
	mkdir -p $@

.PHONY: all
.SECONDARY:

.DELETE_ON_ERROR:
