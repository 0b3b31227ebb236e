// SPDX-License-Identifier: MIT OR Apache-2.0

package detailflow

// #include "shim.h"
import "C"

import (
	"context"
	"image"
	"sync"
	"time"
	"unsafe"
)

// Order is which jobs of a worker come first.
type Order uint32

// Orders of workers.
const (
	OrderDefault       Order = C.DETAILFLOW_WORKER_ORDER_DEFAULT
	OrderCoarseFirst   Order = C.DETAILFLOW_WORKER_ORDER_COARSE_FIRST
	OrderPriorityFirst Order = C.DETAILFLOW_WORKER_ORDER_PRIORITY_FIRST
)

// SubmitFlags are combined with |.
type SubmitFlags uint32

// What a job is submitted with.
const (
	// SubmitDecode: the worker decodes the images of each event.
	SubmitDecode SubmitFlags = C.DETAILFLOW_SUBMIT_FLAG_DECODE
	// SubmitLastOnly: no events for levels.
	SubmitLastOnly SubmitFlags = C.DETAILFLOW_SUBMIT_FLAG_LAST_ONLY
	// SubmitHold: the job waits at the level of its request.
	SubmitHold SubmitFlags = C.DETAILFLOW_SUBMIT_FLAG_HOLD
)

// EventKind is what happened.
type EventKind uint32

// Kinds of events. All but EventLevel are the last of their job.
const (
	EventLevel     EventKind = C.DETAILFLOW_EVENT_KIND_LEVEL
	EventDone      EventKind = C.DETAILFLOW_EVENT_KIND_DONE
	EventCancelled EventKind = C.DETAILFLOW_EVENT_KIND_CANCELLED
	EventFailed    EventKind = C.DETAILFLOW_EVENT_KIND_FAILED
)

// WorkerOptions say how a worker works. Zeros are the defaults, also of Threads: Ticked makes a worker without threads.
type WorkerOptions struct {
	Threads, BatchSize     uint32
	Ticked                 bool
	BatchBytes, EventBytes uint64
	Order                  Order
}

// SubmitOptions say how a job is submitted.
type SubmitOptions struct {
	// Comes back in the events.
	User     uint64
	Flags    SubmitFlags
	Priority float32
}

// Worker generates in the background, on threads of its own, or in Tick. Its events are polled.
type Worker struct {
	*owner
	mutex sync.Mutex
	// Freeing a model ends its jobs, so the models of jobs are not collected before they have ended.
	models map[*Model]struct{}
}

// Between two looks at the context.
const waitSlice = 10 * time.Millisecond

// NewWorker starts a worker.
func NewWorker(options *WorkerOptions) (*Worker, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	if options == nil {
		options = &WorkerOptions{}
	}
	var native *C.detailflow_worker_options
	err := call(func() C.detailflow_status { return C.detailflow_worker_options_new(&native, nil) })
	if err != nil {
		return nil, err
	}
	defer C.detailflow_worker_options_free(native)
	set := func(wanted bool, f func() C.detailflow_status) {
		if wanted && err == nil {
			err = call(f)
		}
	}
	set(options.Ticked || options.Threads > 0, func() C.detailflow_status {
		threads := options.Threads
		if options.Ticked {
			threads = 0
		}
		return C.detailflow_worker_options_set_threads(native, C.uint32_t(threads))
	})
	set(true, func() C.detailflow_status {
		return C.detailflow_worker_options_set_batch_size(native, C.uint32_t(options.BatchSize))
	})
	set(options.BatchBytes > 0, func() C.detailflow_status {
		return C.detailflow_worker_options_set_batch_bytes(native, C.uint64_t(options.BatchBytes))
	})
	set(options.EventBytes > 0, func() C.detailflow_status {
		return C.detailflow_worker_options_set_event_bytes(native, C.uint64_t(options.EventBytes))
	})
	set(true, func() C.detailflow_status {
		return C.detailflow_worker_options_set_order(native, C.uint32_t(options.Order))
	})
	if err != nil {
		return nil, err
	}
	free := func(handle unsafe.Pointer) { C.detailflow_worker_free((*C.detailflow_worker)(handle)) }
	o, err := own("Worker", free, nil, func(out *unsafe.Pointer) error {
		var worker *C.detailflow_worker
		err := call(func() C.detailflow_status { return C.detailflow_worker_new(native, &worker, nil) })
		*out = unsafe.Pointer(worker)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Worker{owner: o, models: map[*Model]struct{}{}}, nil
}

func (w *Worker) with(f func(*C.detailflow_worker) C.detailflow_status) error {
	if w == nil {
		return invalid("no worker")
	}
	return w.owner.with(func(handle unsafe.Pointer) C.detailflow_status { return f((*C.detailflow_worker)(handle)) })
}

// submit submits a job of a model, which is kept from now on; those of earlier jobs go when none is left.
func (w *Worker) submit(model *Model, f func(*C.detailflow_worker) error) error {
	if w == nil {
		return invalid("no worker")
	}
	handle, err := w.enter()
	if err != nil {
		return err
	}
	defer w.leave()
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if pending, err := w.Pending(); err == nil && pending == 0 {
		w.models = map[*Model]struct{}{}
	}
	w.models[model] = struct{}{}
	return f((*C.detailflow_worker)(handle))
}

// Submit submits a request; the result is the number of the job.
func (w *Worker) Submit(request *Request, options SubmitOptions) (job uint64, err error) {
	if request == nil {
		return 0, invalid("no request")
	}
	var native *C.detailflow_submit_options
	if err = call(func() C.detailflow_status { return C.detailflow_submit_options_new(&native, nil) }); err != nil {
		return 0, err
	}
	defer C.detailflow_submit_options_free(native)
	for _, f := range []func() C.detailflow_status{
		func() C.detailflow_status {
			return C.detailflow_submit_options_set_user(native, C.uint64_t(options.User))
		},
		func() C.detailflow_status {
			return C.detailflow_submit_options_set_flags(native, C.uint32_t(options.Flags))
		},
		func() C.detailflow_status {
			return C.detailflow_submit_options_set_priority(native, C.float(options.Priority))
		},
	} {
		if err = call(f); err != nil {
			return 0, err
		}
	}
	var number C.uint64_t
	err = w.submit(request.model, func(worker *C.detailflow_worker) error {
		return request.with(func(q *C.detailflow_request) C.detailflow_status {
			return C.detailflow_worker_submit_with(worker, q, native, &number)
		})
	})
	return uint64(number), err
}

// SubmitGeneration lets the worker go on with a generation, which is closed here.
func (w *Worker) SubmitGeneration(generation *Generation, user uint64, flags SubmitFlags) (job uint64, err error) {
	if generation == nil {
		return 0, invalid("no generation")
	}
	var number C.uint64_t
	err = w.submit(generation.model, func(worker *C.detailflow_worker) error {
		return generation.giveAway(func(handle unsafe.Pointer) C.detailflow_status {
			return C.detailflow_worker_submit_generation(worker, (*C.detailflow_generation)(handle), C.uint64_t(user),
				C.uint32_t(flags), &number)
		})
	})
	return uint64(number), err
}

func (w *Worker) event(f func(*C.detailflow_worker, **C.detailflow_event) C.detailflow_status) (*Event, error) {
	var event *C.detailflow_event
	err := w.with(func(worker *C.detailflow_worker) C.detailflow_status { return f(worker, &event) })
	if err != nil || event == nil {
		return nil, err
	}
	return newEvent(event)
}

// Poll takes the next event; nil when there is none.
func (w *Worker) Poll() (*Event, error) {
	return w.event(func(worker *C.detailflow_worker, event **C.detailflow_event) C.detailflow_status {
		return C.detailflow_worker_poll(worker, event)
	})
}

// Wait takes the next event when there is one, until the context ends.
func (w *Worker) Wait(ctx context.Context) (*Event, error) {
	for {
		event, err := w.event(func(worker *C.detailflow_worker, event **C.detailflow_event) C.detailflow_status {
			return C.detailflow_worker_wait(worker, nanoseconds(waitSlice), event)
		})
		if event != nil || err != nil {
			return event, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// Pending is the number of jobs whose last event was not taken yet.
func (w *Worker) Pending() (int, error) {
	var count C.size_t
	err := w.with(func(worker *C.detailflow_worker) C.detailflow_status {
		return C.detailflow_worker_get_pending(worker, &count)
	})
	return int(count), err
}

// Cancel cancels a job.
func (w *Worker) Cancel(job uint64) error {
	return w.with(func(h *C.detailflow_worker) C.detailflow_status {
		return C.detailflow_worker_cancel(h, C.uint64_t(job))
	})
}

// CancelAll cancels all jobs that were submitted so far.
func (w *Worker) CancelAll() error {
	return w.with(func(h *C.detailflow_worker) C.detailflow_status { return C.detailflow_worker_cancel_all(h) })
}

// SetPriority changes the priority of a job.
func (w *Worker) SetPriority(job uint64, priority float32) error {
	return w.with(func(h *C.detailflow_worker) C.detailflow_status {
		return C.detailflow_worker_set_priority(h, C.uint64_t(job), C.float(priority))
	})
}

// Pause pauses a job.
func (w *Worker) Pause(job uint64) error {
	return w.with(func(h *C.detailflow_worker) C.detailflow_status { return C.detailflow_worker_pause(h, C.uint64_t(job)) })
}

// Resume lets a paused job go on.
func (w *Worker) Resume(job uint64) error {
	return w.with(func(h *C.detailflow_worker) C.detailflow_status {
		return C.detailflow_worker_resume(h, C.uint64_t(job))
	})
}

// Continue changes the level at which a job ends or is held; 0 is the finest.
func (w *Worker) Continue(job uint64, levelSize int) error {
	if err := fits("level size", levelSize); err != nil {
		return err
	}
	return w.with(func(h *C.detailflow_worker) C.detailflow_status {
		return C.detailflow_worker_continue(h, C.uint64_t(job), C.uint32_t(levelSize))
	})
}

// TickReport is what a tick did, and what is left.
type TickReport struct {
	Units, Steps, Decodes, Images int
	More                          bool
	Time, LongestUnit, NextUnit   time.Duration
	Ready, Parked                 int
}

// Tick drives a worker without threads for one frame.
func (w *Worker) Tick(budget time.Duration) (TickReport, error) {
	var r C.detailflow_tick_report
	r.struct_size = C.uint32_t(unsafe.Sizeof(r))
	err := w.with(func(h *C.detailflow_worker) C.detailflow_status {
		return C.detailflow_worker_tick(h, nanoseconds(budget), &r)
	})
	return TickReport{
		Units: int(r.unit_count), Steps: int(r.step_count), Decodes: int(r.decode_count), Images: int(r.image_count),
		More: r.more == 1, Time: time.Duration(r.time_ns), LongestUnit: time.Duration(r.longest_unit_ns),
		NextUnit: time.Duration(r.next_unit_ns), Ready: int(r.ready_count), Parked: int(r.parked_count),
	}, err
}

// Event is something that happened to a job, with its tokens at that moment.
type Event struct {
	*owner
	Kind                       EventKind
	Job, User                  uint64
	ImageCount, TokenCount     int
	LevelSize, LevelTokenCount int
	StepsDone, StepsLeft       int
	Decoded                    bool
	// Why the job was cancelled or failed; nil for other events.
	Err error
}

func newEvent(event *C.detailflow_event) (*Event, error) {
	free := func(handle unsafe.Pointer) { C.detailflow_event_free((*C.detailflow_event)(handle)) }
	o, _ := own("Event", free, nil, func(out *unsafe.Pointer) error {
		*out = unsafe.Pointer(event)
		return nil
	})
	var i C.detailflow_event_info
	i.struct_size = C.uint32_t(unsafe.Sizeof(i))
	if err := call(func() C.detailflow_status { return C.detailflow_event_get_info(event, &i, nil) }); err != nil {
		return nil, err
	}
	e := &Event{
		owner: o, Kind: EventKind(i.kind), Job: uint64(i.job), User: uint64(i.user), ImageCount: int(i.image_count),
		TokenCount: int(i.token_count), LevelSize: int(i.level_size), LevelTokenCount: int(i.level_token_count),
		StepsDone: int(i.steps_done), StepsLeft: int(i.steps_left), Decoded: i.decoded == 1,
	}
	if i.status != C.DETAILFLOW_STATUS_OK {
		var message [1024]C.char
		C.detailflow_event_get_job_message(event, &message[0], C.size_t(len(message)), nil, nil)
		e.Err = &Error{Status: Status(i.status), Message: C.GoString(&message[0])}
	}
	return e, nil
}

// Last says whether it is the last event of its job.
func (e *Event) Last() bool { return e.Kind != EventLevel }

// Tokens are those that one image had.
func (e *Event) Tokens(index int) ([]uint32, error) {
	if err := fits("image", index); err != nil {
		return nil, err
	}
	return array(func(data *uint32, capacity C.size_t, count *C.size_t) error {
		return e.with(func(h unsafe.Pointer) C.detailflow_status {
			return C.detailflow_event_get_tokens((*C.detailflow_event)(h), C.uint32_t(index), (*C.uint32_t)(data), capacity,
				count, nil)
		})
	})
}

// DecodeLevel is the image of the finest level that was complete.
func (e *Event) DecodeLevel(index int) (*image.NRGBA, error) {
	return decoded(e.LevelSize, func(target Pixels) error { return e.DecodeLevelInto(index, target) })
}

// DecodeLevelInto decodes it into memory of the caller, of LevelSize.
func (e *Event) DecodeLevelInto(index int, target Pixels) error {
	if err := fits("image", index); err != nil {
		return err
	}
	p, err := target.raw()
	if err != nil {
		return err
	}
	return e.with(func(h unsafe.Pointer) C.detailflow_status {
		return C.go_event_decode_level((*C.detailflow_event)(h), C.uint32_t(index), p.format, p.width, p.height, p.stride,
			p.pix, p.capacity)
	})
}
