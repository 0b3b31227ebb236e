// SPDX-License-Identifier: MIT OR Apache-2.0

package detailflow

// #include "shim.h"
import "C"

import "unsafe"

// Point of a curve over the tokens: linear between two points, constant before the first and after the last.
type Point struct {
	Token uint32
	Value float32
}

// Request says what to generate: one image of class 0 with seed 0, until it is told otherwise.
type Request struct {
	*owner
	model *Model
}

// NewRequest makes a request with the model's default sampling.
func NewRequest(model *Model) (*Request, error) {
	free := func(handle unsafe.Pointer) { C.detailflow_request_free((*C.detailflow_request)(handle)) }
	o, err := own("Request", free, nil, func(out *unsafe.Pointer) error {
		return model.with(func(m *C.detailflow_model) C.detailflow_status {
			var request *C.detailflow_request
			status := C.detailflow_request_new(m, &request)
			*out = unsafe.Pointer(request)
			return status
		})
	})
	if err != nil {
		return nil, err
	}
	return &Request{o, model}, nil
}

func (r *Request) with(f func(*C.detailflow_request) C.detailflow_status) error {
	if r == nil {
		return invalid("no request")
	}
	return r.owner.with(func(handle unsafe.Pointer) C.detailflow_status { return f((*C.detailflow_request)(handle)) })
}

// SetImageCount sets the number of images; the seeds of added ones follow the first.
func (r *Request) SetImageCount(count uint32) error {
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_image_count(q, C.uint32_t(count))
	})
}

// SetClass sets the class of every image.
func (r *Request) SetClass(class uint32) error {
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_class(q, C.uint32_t(class))
	})
}

// SetSeed sets the seed of the first image; the others take those that follow.
func (r *Request) SetSeed(seed uint64) error {
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_seed(q, C.uint64_t(seed))
	})
}

// SetImageSource sets class and seed of one image.
func (r *Request) SetImageSource(index, class uint32, seed uint64) error {
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_image_source(q, C.uint32_t(index), C.uint32_t(class), C.uint64_t(seed))
	})
}

// SetGuidance sets the guidance scale; 1 is off.
func (r *Request) SetGuidance(scale float32) error {
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_guidance(q, C.float(scale))
	})
}

// SetGradualGuidance sets whether guidance falls over the groups.
func (r *Request) SetGradualGuidance(gradual bool) error {
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_gradual_guidance(q, flag(gradual))
	})
}

// SetTemperature sets the temperature; 0 always takes the most likely token.
func (r *Request) SetTemperature(temperature float32) error {
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_temperature(q, C.float(temperature))
	})
}

// SetTopK sets top-k; 0 is off.
func (r *Request) SetTopK(k uint32) error {
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_top_k(q, C.uint32_t(k))
	})
}

// SetTopP sets top-p; 1 is off.
func (r *Request) SetTopP(p float32) error {
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_top_p(q, C.float(p))
	})
}

func (r *Request) curve(points []Point,
	f func(*C.detailflow_request, *C.uint32_t, *C.float, C.size_t) C.detailflow_status) error {
	tokens, values := make([]uint32, len(points)), make([]float32, len(points))
	for at, point := range points {
		tokens[at], values[at] = point.Token, point.Value
	}
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return f(q, (*C.uint32_t)(first(tokens)), (*C.float)(first(values)), C.size_t(len(points)))
	})
}

// SetGuidanceCurve sets guidance as a curve over the tokens.
func (r *Request) SetGuidanceCurve(points ...Point) error {
	return r.curve(points, func(q *C.detailflow_request, t *C.uint32_t, v *C.float, n C.size_t) C.detailflow_status {
		return C.detailflow_request_set_guidance_curve(q, t, v, n)
	})
}

// SetTemperatureCurve sets temperature as a curve over the tokens.
func (r *Request) SetTemperatureCurve(points ...Point) error {
	return r.curve(points, func(q *C.detailflow_request, t *C.uint32_t, v *C.float, n C.size_t) C.detailflow_status {
		return C.detailflow_request_set_temperature_curve(q, t, v, n)
	})
}

// SetTopKCurve sets top-k as a curve over the tokens.
func (r *Request) SetTopKCurve(points ...Point) error {
	return r.curve(points, func(q *C.detailflow_request, t *C.uint32_t, v *C.float, n C.size_t) C.detailflow_status {
		return C.detailflow_request_set_top_k_curve(q, t, v, n)
	})
}

// SetTopPCurve sets top-p as a curve over the tokens.
func (r *Request) SetTopPCurve(points ...Point) error {
	return r.curve(points, func(q *C.detailflow_request, t *C.uint32_t, v *C.float, n C.size_t) C.detailflow_status {
		return C.detailflow_request_set_top_p_curve(q, t, v, n)
	})
}

// SetLogProbabilities sets whether the log-probability of each token is recorded.
func (r *Request) SetLogProbabilities(record bool) error {
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_log_probabilities(q, flag(record))
	})
}

// SetPrefix sets the tokens that every image begins with, or those of a level of them (0: all). None removes it.
func (r *Request) SetPrefix(tokens []uint32, levelSize int) error {
	if err := fits("level size", levelSize); err != nil {
		return err
	}
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_prefix(q, (*C.uint32_t)(first(tokens)), C.size_t(len(tokens)), C.uint32_t(levelSize))
	})
}

// SetImagePrefix sets the tokens that one image begins with.
func (r *Request) SetImagePrefix(index uint32, tokens []uint32) error {
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_image_prefix(q, C.uint32_t(index), (*C.uint32_t)(first(tokens)), C.size_t(len(tokens)))
	})
}

// SetLevelSize sets the level at which the generation ends; 0 is the finest.
func (r *Request) SetLevelSize(size int) error {
	if err := fits("level size", size); err != nil {
		return err
	}
	return r.with(func(q *C.detailflow_request) C.detailflow_status {
		return C.detailflow_request_set_level_size(q, C.uint32_t(size))
	})
}
