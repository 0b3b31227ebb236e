// SPDX-License-Identifier: MIT OR Apache-2.0

package detailflow

// #include "shim.h"
import "C"

import (
	"context"
	"image"
	"io"
	"runtime/cgo"
	"unsafe"
)

// NoClass is the class of images that have none, because they were encoded.
const NoClass uint32 = C.DETAILFLOW_NO_CLASS

// Spinning is when threads that wait for work keep a core busy.
type Spinning uint32

// Kinds of spinning.
const (
	SpinningDefault Spinning = C.DETAILFLOW_SPINNING_DEFAULT
	SpinningNever   Spinning = C.DETAILFLOW_SPINNING_NEVER
	SpinningRuns    Spinning = C.DETAILFLOW_SPINNING_RUNS
)

// ModelOptions say how a model is opened. Zeros are the defaults.
type ModelOptions struct {
	Device          string
	DeviceOptions   map[string]string
	AllowFallback   bool
	Threads         uint32
	Spinning        Spinning
	Precision, Form string
	WeightsInMemory bool
	WithoutEncoder  bool
}

// Level is one of the sizes that a model can stop at.
type Level struct {
	// Pixels per side.
	Size int
	// Its tokens: the first ones of any image.
	TokenCount int
}

// ModelInfo is what a model is.
type ModelInfo struct {
	Name, License, TokenizerID, Precision, Form, Device, Path string
	ImageSize, Channels, TokenCount, GroupSize, CausalCount   int
	CodebookSize, BitsPerToken, ClassCount, LevelCount        int
	Guidance, Temperature, TopP                               float32
	TopK                                                      int
	GradualGuidance, CanGenerate, CanEncode                   bool
}

// Model is an open model.
type Model struct{ *owner }

func freeModel(handle unsafe.Pointer) { C.detailflow_model_free((*C.detailflow_model)(handle)) }

// newCancel makes a cancel handle, and gives what triggers and frees it.
func newCancel() (cancel *C.detailflow_cancel, trigger, free func(), err error) {
	err = call(func() C.detailflow_status { return C.detailflow_cancel_new(&cancel, nil) })
	return cancel, func() { C.detailflow_cancel_trigger(cancel, nil) }, func() { C.detailflow_cancel_free(cancel) }, err
}

func (o *ModelOptions) native(cancel *C.detailflow_cancel) (*C.detailflow_model_options, error) {
	var options *C.detailflow_model_options
	err := call(func() C.detailflow_status { return C.detailflow_model_options_new(&options, nil) })
	if err != nil || o == nil {
		o = &ModelOptions{}
	}
	set := func(f func() C.detailflow_status) {
		if err == nil {
			err = call(f)
		}
	}
	text := func(value string, f func(*C.char) C.detailflow_status) {
		if value == "" || err != nil {
			return
		}
		var given *C.char
		if given, err = cText(value); err == nil {
			defer freeText(given)
			set(func() C.detailflow_status { return f(given) })
		}
	}
	set(func() C.detailflow_status { return C.detailflow_model_options_set_cancel(options, cancel) })
	text(o.Device, func(v *C.char) C.detailflow_status { return C.detailflow_model_options_set_device(options, v) })
	text(o.Precision, func(v *C.char) C.detailflow_status { return C.detailflow_model_options_set_precision(options, v) })
	text(o.Form, func(v *C.char) C.detailflow_status { return C.detailflow_model_options_set_form(options, v) })
	for key, value := range o.DeviceOptions {
		if err != nil {
			break
		}
		var k *C.char
		if k, err = cText(key); err != nil {
			break
		}
		text(value, func(v *C.char) C.detailflow_status {
			return C.detailflow_model_options_set_device_option(options, k, v)
		})
		freeText(k)
	}
	set(func() C.detailflow_status {
		return C.detailflow_model_options_set_allow_fallback(options, flag(o.AllowFallback))
	})
	set(func() C.detailflow_status {
		return C.detailflow_model_options_set_threads(options, C.uint32_t(o.Threads))
	})
	set(func() C.detailflow_status {
		return C.detailflow_model_options_set_spinning(options, C.uint32_t(o.Spinning))
	})
	set(func() C.detailflow_status {
		return C.detailflow_model_options_set_weights_in_memory(options, flag(o.WeightsInMemory))
	})
	set(func() C.detailflow_status {
		return C.detailflow_model_options_set_encoder(options, flag(!o.WithoutEncoder))
	})
	if err != nil {
		C.detailflow_model_options_free(options)
		return nil, err
	}
	return options, nil
}

func open(ctx context.Context, options *ModelOptions,
	f func(*C.detailflow_model_options, **C.detailflow_model) C.detailflow_status) (*Model, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	cancel, trigger, free, err := newCancel()
	if err != nil {
		return nil, err
	}
	defer free()
	native, err := options.native(cancel)
	if err != nil {
		return nil, err
	}
	defer C.detailflow_model_options_free(native)
	o, err := own("Model", freeModel, nil, func(out *unsafe.Pointer) error {
		var model *C.detailflow_model
		err := watch(ctx, trigger, func() error {
			return call(func() C.detailflow_status { return f(native, &model) })
		})
		*out = unsafe.Pointer(model)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Model{o}, nil
}

// Open opens a bundle: a folder or a single file; "" is the default bundle. The context cancels it.
func Open(ctx context.Context, path string, options *ModelOptions) (*Model, error) {
	var text *C.char
	if path != "" {
		given, err := cText(path)
		if err != nil {
			return nil, err
		}
		defer freeText(given)
		text = given
	}
	return open(ctx, options, func(o *C.detailflow_model_options, model **C.detailflow_model) C.detailflow_status {
		return C.detailflow_model_open(text, o, model, nil)
	})
}

// OpenMemory opens a single-file bundle in memory. The memory is copied once, and not used afterwards.
func OpenMemory(ctx context.Context, data []byte, options *ModelOptions) (*Model, error) {
	return open(ctx, options, func(o *C.detailflow_model_options, model **C.detailflow_model) C.detailflow_status {
		return C.go_model_open_memory(C.CBytes(data), C.size_t(len(data)), o, model)
	})
}

// OpenReader opens a single-file bundle that a reader reads. It is used within this call, on this goroutine. What it fails with
// is the cause of the error.
func OpenReader(ctx context.Context, reader io.ReaderAt, size int64, options *ModelOptions) (*Model, error) {
	if size < 0 {
		return nil, invalid("size: %d", size)
	}
	from := &source{reader: reader}
	handle := cgo.NewHandle(from)
	defer handle.Delete()
	model, err := open(ctx, options, func(o *C.detailflow_model_options, model **C.detailflow_model) C.detailflow_status {
		return C.go_model_open_reader(C.uintptr_t(handle), C.uint64_t(size), o, model)
	})
	if failed, ok := err.(*Error); ok && from.err != nil {
		failed.Cause = from.err
	}
	return model, err
}

func (m *Model) with(f func(*C.detailflow_model) C.detailflow_status) error {
	if m == nil {
		return invalid("no model")
	}
	return m.owner.with(func(handle unsafe.Pointer) C.detailflow_status { return f((*C.detailflow_model)(handle)) })
}

// Info is what the model is.
func (m *Model) Info() (ModelInfo, error) {
	var i C.detailflow_model_info
	i.struct_size = C.uint32_t(unsafe.Sizeof(i))
	var info ModelInfo
	err := m.with(func(model *C.detailflow_model) C.detailflow_status {
		status := C.detailflow_model_get_info(model, &i)
		if status != C.DETAILFLOW_STATUS_OK {
			return status
		}
		// The strings live as long as the model: they are copied before this call is over.
		info = ModelInfo{
			Name: C.GoString(i.name), License: C.GoString(i.license), TokenizerID: C.GoString(i.tokenizer_id),
			Precision: C.GoString(i.precision), Form: C.GoString(i.form), Device: C.GoString(i.device), Path: C.GoString(i.path),
			ImageSize: int(i.image_size), Channels: int(i.channels), TokenCount: int(i.token_count),
			GroupSize: int(i.group_size), CausalCount: int(i.causal_count), CodebookSize: int(i.codebook_size),
			BitsPerToken: int(i.bits_per_token), ClassCount: int(i.class_count), LevelCount: int(i.level_count),
			Guidance: float32(i.guidance), Temperature: float32(i.temperature), TopP: float32(i.top_p), TopK: int(i.top_k),
			GradualGuidance: i.gradual_guidance == 1, CanGenerate: i.can_generate == 1, CanEncode: i.can_encode == 1,
		}
		return status
	})
	return info, err
}

// Levels are the levels of the model, coarse to fine.
func (m *Model) Levels() ([]Level, error) {
	info, err := m.Info()
	levels := make([]Level, 0, info.LevelCount)
	for at := 0; at < info.LevelCount && err == nil; at++ {
		var level C.detailflow_level
		level.struct_size = C.uint32_t(unsafe.Sizeof(level))
		err = m.with(func(model *C.detailflow_model) C.detailflow_status {
			return C.detailflow_model_get_level(model, C.uint32_t(at), &level)
		})
		levels = append(levels, Level{int(level.level_size), int(level.token_count)})
	}
	if err != nil {
		return nil, err
	}
	return levels, nil
}

// Classes are the names of the classes.
func (m *Model) Classes() ([]string, error) {
	info, err := m.Info()
	names := make([]string, info.ClassCount)
	for at := 0; at < len(names) && err == nil; at++ {
		err = m.with(func(model *C.detailflow_model) C.detailflow_status {
			var name *C.char
			status := C.detailflow_model_get_class_name(model, C.uint32_t(at), &name)
			if status == C.DETAILFLOW_STATUS_OK {
				names[at] = C.GoString(name)
			}
			return status
		})
	}
	if err != nil {
		return nil, err
	}
	return names, nil
}

// FindClass is the index of a class; the error of an unknown one names the nearest.
func (m *Model) FindClass(name string) (uint32, error) {
	text, err := cText(name)
	if err != nil {
		return 0, err
	}
	defer freeText(text)
	var index C.uint32_t
	err = m.with(func(model *C.detailflow_model) C.detailflow_status {
		return C.detailflow_model_find_class(model, text, &index)
	})
	return uint32(index), err
}

// PrefixSize is the size of the image that a prefix decodes to.
func (m *Model) PrefixSize(tokenCount int) (int, error) {
	if err := fits("token count", tokenCount); err != nil {
		return 0, err
	}
	var size C.uint32_t
	err := m.with(func(model *C.detailflow_model) C.detailflow_status {
		return C.detailflow_model_get_prefix_size(model, C.size_t(tokenCount), &size)
	})
	return int(size), err
}

// Report says what runs where, for a person.
func (m *Model) Report() (string, error) {
	text, err := array(func(data *C.char, capacity C.size_t, length *C.size_t) error {
		err := m.with(func(model *C.detailflow_model) C.detailflow_status {
			return C.detailflow_model_get_report(model, data, capacity, length)
		})
		// The zero at the end takes a byte, too.
		*length++
		return err
	})
	if err != nil {
		return "", err
	}
	return C.GoString(&text[0]), nil
}

// Decode decodes tokens, or the level of them that is named (0: all).
func (m *Model) Decode(tokens []uint32, levelSize int) (*image.NRGBA, error) {
	if err := fits("level size", levelSize); err != nil {
		return nil, err
	}
	size := levelSize
	if size == 0 {
		var err error
		if size, err = m.PrefixSize(len(tokens)); err != nil {
			return nil, err
		}
	}
	return decoded(size, func(target Pixels) error { return m.DecodeInto(tokens, levelSize, target) })
}

// DecodeInto decodes into memory of the caller.
func (m *Model) DecodeInto(tokens []uint32, levelSize int, target Pixels) error {
	if err := fits("level size", levelSize); err != nil {
		return err
	}
	p, err := target.raw()
	if err != nil {
		return err
	}
	return m.with(func(model *C.detailflow_model) C.detailflow_status {
		return C.go_model_decode(model, (*C.uint32_t)(first(tokens)), C.size_t(len(tokens)), C.uint32_t(levelSize), p.format,
			p.width, p.height, p.stride, p.pix, p.capacity)
	})
}

// encode makes room for the tokens of an image.
func (m *Model) encode(f func(*C.detailflow_model, *C.uint32_t, C.size_t, *C.size_t) C.detailflow_status) ([]uint32, error) {
	info, err := m.Info()
	if err != nil {
		return nil, err
	}
	tokens := make([]uint32, info.TokenCount)
	var count C.size_t
	err = m.with(func(model *C.detailflow_model) C.detailflow_status {
		return f(model, (*C.uint32_t)(first(tokens)), C.size_t(len(tokens)), &count)
	})
	return tokens[:count], err
}

// Encode is the tokens of an image.
func (m *Model) Encode(picture Pixels) ([]uint32, error) {
	p, err := picture.raw()
	if err != nil {
		return nil, err
	}
	return m.encode(func(model *C.detailflow_model, t *C.uint32_t, n C.size_t, count *C.size_t) C.detailflow_status {
		return C.go_model_encode(model, t, n, count, p.format, p.width, p.height, p.stride, p.pix, p.capacity)
	})
}

// EncodeData is the tokens of a picture file in memory.
func (m *Model) EncodeData(file []byte) ([]uint32, error) {
	return m.encode(func(model *C.detailflow_model, t *C.uint32_t, n C.size_t, count *C.size_t) C.detailflow_status {
		return C.detailflow_model_encode_data(model, unsafe.Pointer(first(file)), C.size_t(len(file)), t, n, count)
	})
}

// EncodeFile is the tokens of a picture file. The context stops the reading.
func (m *Model) EncodeFile(ctx context.Context, path string) (tokens []uint32, err error) {
	text, err := cText(path)
	if err != nil {
		return nil, err
	}
	defer freeText(text)
	cancel, trigger, free, err := newCancel()
	if err != nil {
		return nil, err
	}
	defer free()
	err = watch(ctx, trigger, func() error {
		tokens, err = m.encode(func(model *C.detailflow_model, t *C.uint32_t, n C.size_t, count *C.size_t) C.detailflow_status {
			return C.detailflow_model_encode_file_cancellable(model, text, cancel, t, n, count)
		})
		return err
	})
	return tokens, err
}

// Score is the natural logarithm of each token's probability, for a class.
func (m *Model) Score(class uint32, tokens []uint32) ([]float32, error) {
	if len(tokens) == 0 {
		return nil, invalid("no tokens")
	}
	values := make([]float32, len(tokens))
	var count C.size_t
	err := m.with(func(model *C.detailflow_model) C.detailflow_status {
		return C.detailflow_model_score(model, C.uint32_t(class), (*C.uint32_t)(&tokens[0]), C.size_t(len(tokens)),
			(*C.float)(&values[0]), C.size_t(len(values)), &count)
	})
	return values[:count], err
}
