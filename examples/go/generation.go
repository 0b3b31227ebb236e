// SPDX-License-Identifier: MIT OR Apache-2.0

package detailflow

// #include "shim.h"
import "C"

import (
	"context"
	"image"
	"time"
	"unsafe"
)

// Progress is the state of a generation.
type Progress struct {
	StepsDone, StepsLeft, TokenCount, ImageCount int
	// Pixels per side of what the tokens so far decode to, and of the finest level that is complete.
	PrefixSize, LevelSize int
	LevelTokenCount       int
	// Predicted; 0 when it is not known yet.
	NextStep, NextDecode time.Duration
}

func newProgress() (p C.detailflow_progress) {
	p.struct_size = C.uint32_t(unsafe.Sizeof(p))
	return p
}

func progressOf(p *C.detailflow_progress) Progress {
	return Progress{
		StepsDone: int(p.steps_done), StepsLeft: int(p.steps_left), TokenCount: int(p.token_count),
		ImageCount: int(p.image_count), PrefixSize: int(p.prefix_size), LevelSize: int(p.level_size),
		LevelTokenCount: int(p.level_token_count), NextStep: time.Duration(p.next_step_ns),
		NextDecode: time.Duration(p.next_decode_ns),
	}
}

// Generation is a request being generated, or finished. One goroutine steps it; the functions that only read may be called by
// others meanwhile.
type Generation struct {
	*owner
	model *Model
}

func newGeneration(model *Model, make func(**C.detailflow_generation) error) (*Generation, error) {
	free := func(handle unsafe.Pointer) { C.detailflow_generation_free((*C.detailflow_generation)(handle)) }
	o, err := own("Generation", free, cancelGeneration, func(out *unsafe.Pointer) error {
		var generation *C.detailflow_generation
		err := make(&generation)
		*out = unsafe.Pointer(generation)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Generation{o, model}, nil
}

func cancelGeneration(handle unsafe.Pointer) {
	var cancel *C.detailflow_cancel
	if C.detailflow_generation_get_cancel((*C.detailflow_generation)(handle), &cancel) == C.DETAILFLOW_STATUS_OK {
		C.detailflow_cancel_trigger(cancel, nil)
		C.detailflow_cancel_free(cancel)
	}
}

// NewGeneration reserves the memory of a generation; nothing is generated yet.
func NewGeneration(request *Request) (*Generation, error) {
	if request == nil {
		return nil, invalid("no request")
	}
	return newGeneration(request.model, func(generation **C.detailflow_generation) error {
		return request.with(func(q *C.detailflow_request) C.detailflow_status {
			return C.detailflow_generation_new(q, generation)
		})
	})
}

func (g *Generation) with(f func(*C.detailflow_generation) C.detailflow_status) error {
	if g == nil {
		return invalid("no generation")
	}
	return g.owner.with(func(handle unsafe.Pointer) C.detailflow_status { return f((*C.detailflow_generation)(handle)) })
}

// steps makes a call that steps. A context that ends meanwhile cancels the generation, for good.
func (g *Generation) steps(ctx context.Context,
	f func(*C.detailflow_generation, *C.detailflow_progress) C.detailflow_status) (Progress, error) {
	p := newProgress()
	err := g.with(func(generation *C.detailflow_generation) (status C.detailflow_status) {
		if ctx.Done() == nil {
			return f(generation, &p)
		}
		// The handle is valid within this call, and watch ends before it does.
		_ = watch(ctx, func() { cancelGeneration(unsafe.Pointer(generation)) }, func() error {
			status = f(generation, &p)
			return nil
		})
		return status
	})
	if failed, ok := err.(*Error); ok && failed.Status == StatusCancelled {
		failed.Cause = ctx.Err()
	}
	return progressOf(&p), err
}

// Step generates one token of each image, or one group.
func (g *Generation) Step(ctx context.Context) (Progress, error) {
	return g.steps(ctx, func(h *C.detailflow_generation, p *C.detailflow_progress) C.detailflow_status {
		return C.detailflow_generation_step(h, p)
	})
}

// Advance does at least one step, and more as long as they should end within the budget.
func (g *Generation) Advance(ctx context.Context, budget time.Duration) (Progress, error) {
	return g.steps(ctx, func(h *C.detailflow_generation, p *C.detailflow_progress) C.detailflow_status {
		return C.detailflow_generation_advance(h, nanoseconds(budget), p)
	})
}

// AdvanceToLevel steps until a level is complete.
func (g *Generation) AdvanceToLevel(ctx context.Context, size int) (Progress, error) {
	if err := fits("level size", size); err != nil {
		return Progress{}, err
	}
	return g.steps(ctx, func(h *C.detailflow_generation, p *C.detailflow_progress) C.detailflow_status {
		return C.detailflow_generation_advance_to_level(h, C.uint32_t(size), p)
	})
}

// Finish does all steps that are left.
func (g *Generation) Finish(ctx context.Context) (Progress, error) {
	return g.steps(ctx, func(h *C.detailflow_generation, p *C.detailflow_progress) C.detailflow_status {
		return C.detailflow_generation_finish(h, p)
	})
}

// Progress is the state after the last step.
func (g *Generation) Progress() (Progress, error) {
	return g.steps(context.Background(), func(h *C.detailflow_generation, p *C.detailflow_progress) C.detailflow_status {
		return C.detailflow_generation_get_progress(h, p)
	})
}

// Cancel ends it, from any goroutine; what was generated before stays.
func (g *Generation) Cancel() error {
	return g.with(func(h *C.detailflow_generation) C.detailflow_status {
		cancelGeneration(unsafe.Pointer(h))
		return C.DETAILFLOW_STATUS_OK
	})
}

// Tokens are the tokens of one image so far.
func (g *Generation) Tokens(index int) ([]uint32, error) {
	if err := fits("image", index); err != nil {
		return nil, err
	}
	return array(func(data *uint32, capacity C.size_t, count *C.size_t) error {
		return g.with(func(h *C.detailflow_generation) C.detailflow_status {
			return C.detailflow_generation_get_tokens(h, C.uint32_t(index), (*C.uint32_t)(data), capacity, count)
		})
	})
}

// LogProbabilities are those of the tokens so far, when the request records them.
func (g *Generation) LogProbabilities(index int) ([]float32, error) {
	if err := fits("image", index); err != nil {
		return nil, err
	}
	return array(func(data *float32, capacity C.size_t, count *C.size_t) error {
		return g.with(func(h *C.detailflow_generation) C.detailflow_status {
			return C.detailflow_generation_get_log_probabilities(h, C.uint32_t(index), (*C.float)(data), capacity, count)
		})
	})
}

// ImageSource is class and seed of one image.
func (g *Generation) ImageSource(index int) (class uint32, seed uint64, err error) {
	if err := fits("image", index); err != nil {
		return 0, 0, err
	}
	var c C.uint32_t
	var s C.uint64_t
	err = g.with(func(h *C.detailflow_generation) C.detailflow_status {
		return C.detailflow_generation_get_image_source(h, C.uint32_t(index), &c, &s)
	})
	return uint32(c), uint64(s), err
}

// Decode is the image of all tokens so far.
func (g *Generation) Decode(index int) (*image.NRGBA, error) {
	return g.decode(func(p Progress) int { return p.PrefixSize }, func(to Pixels) error { return g.DecodeInto(index, to) })
}

// DecodeLevel is the image of the finest level that is complete.
func (g *Generation) DecodeLevel(index int) (*image.NRGBA, error) {
	return g.decode(func(p Progress) int { return p.LevelSize }, func(to Pixels) error { return g.DecodeLevelInto(index, to) })
}

// Another goroutine may step between the look at the size and the decode: then the size was another.
func (g *Generation) decode(size func(Progress) int, into func(Pixels) error) (*image.NRGBA, error) {
	for {
		before, err := g.Progress()
		if err != nil {
			return nil, err
		}
		img, err := decoded(size(before), into)
		if err == nil {
			return img, nil
		}
		if after, e := g.Progress(); e != nil || size(after) == size(before) {
			return nil, err
		}
	}
}

// DecodeInto decodes all tokens so far into memory of the caller, of Progress.PrefixSize.
func (g *Generation) DecodeInto(index int, target Pixels) error {
	if err := fits("image", index); err != nil {
		return err
	}
	p, err := target.raw()
	if err != nil {
		return err
	}
	return g.with(func(h *C.detailflow_generation) C.detailflow_status {
		return C.go_generation_decode(h, C.uint32_t(index), p.format, p.width, p.height, p.stride, p.pix, p.capacity)
	})
}

// DecodeLevelInto decodes the finest complete level into memory of the caller, of Progress.LevelSize.
func (g *Generation) DecodeLevelInto(index int, target Pixels) error {
	if err := fits("image", index); err != nil {
		return err
	}
	p, err := target.raw()
	if err != nil {
		return err
	}
	return g.with(func(h *C.detailflow_generation) C.detailflow_status {
		return C.go_generation_decode_level(h, C.uint32_t(index), p.format, p.width, p.height, p.stride, p.pix, p.capacity)
	})
}

// Save decodes all tokens so far and writes a picture file; the ending of the path chooses the format.
func (g *Generation) Save(index int, path string) error {
	if err := fits("image", index); err != nil {
		return err
	}
	text, err := cText(path)
	if err != nil {
		return err
	}
	defer freeText(text)
	return g.with(func(h *C.detailflow_generation) C.detailflow_status {
		return C.detailflow_generation_save(h, C.uint32_t(index), text)
	})
}

// Fork makes a generation that goes on from the same tokens with other seeds, one for each image.
func (g *Generation) Fork(seeds ...uint64) (*Generation, error) {
	if g == nil {
		return nil, invalid("no generation")
	}
	return newGeneration(g.model, func(fork **C.detailflow_generation) error {
		return g.with(func(h *C.detailflow_generation) C.detailflow_status {
			return C.detailflow_generation_fork(h, (*C.uint64_t)(first(seeds)), C.size_t(len(seeds)), fork)
		})
	})
}

// RetainImages goes on with these images only.
func (g *Generation) RetainImages(indices ...uint32) error {
	return g.with(func(h *C.detailflow_generation) C.detailflow_status {
		return C.detailflow_generation_retain_images(h, (*C.uint32_t)(first(indices)), C.size_t(len(indices)))
	})
}

// SetLevelSize changes the level at which it ends.
func (g *Generation) SetLevelSize(size int) error {
	if err := fits("level size", size); err != nil {
		return err
	}
	return g.with(func(h *C.detailflow_generation) C.detailflow_status {
		return C.detailflow_generation_set_level_size(h, C.uint32_t(size))
	})
}

// nanoseconds of a budget; less than none is none.
func nanoseconds(d time.Duration) C.uint64_t {
	if d < 0 {
		return 0
	}
	return C.uint64_t(d)
}
