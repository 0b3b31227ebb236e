// SPDX-License-Identifier: MIT OR Apache-2.0

// Package detailflow generates images with DetailFlow models: coarse first, then finer, level by level. It binds the C API of
// libdetailflow, whose header is the reference for what each function does.
//
// Everything that is open has a Close, and is closed when it is collected otherwise. Using what was closed is an error, also
// while another goroutine closes it. All functions may be called from any goroutine; two calls at once that change one
// Generation or Request end with StatusBusy.
package detailflow

/*
#cgo CFLAGS: -I${SRCDIR}/../../include
#cgo LDFLAGS: -L${SRCDIR}/../../target/release -ldetailflow
#cgo linux LDFLAGS: -Wl,-rpath,\$ORIGIN
#include "shim.h"
*/
import "C"

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"unsafe"
)

// What this package was written for.
const abiVersion = C.DETAILFLOW_ABI_VERSION

// Version is that of the library, such as "0.1.0".
func Version() string { return C.GoString(C.detailflow_version()) }

// Status is the kind of a failure; it is an error for errors.Is.
type Status int32

// The statuses of the C API.
const (
	StatusOK              Status = C.DETAILFLOW_STATUS_OK
	StatusInvalidArgument Status = C.DETAILFLOW_STATUS_INVALID_ARGUMENT
	StatusNotFound        Status = C.DETAILFLOW_STATUS_NOT_FOUND
	StatusBadBundle       Status = C.DETAILFLOW_STATUS_BAD_BUNDLE
	StatusNoRuntime       Status = C.DETAILFLOW_STATUS_NO_RUNTIME
	StatusNoDevice        Status = C.DETAILFLOW_STATUS_NO_DEVICE
	StatusOutOfMemory     Status = C.DETAILFLOW_STATUS_OUT_OF_MEMORY
	StatusIO              Status = C.DETAILFLOW_STATUS_IO
	StatusBadFormat       Status = C.DETAILFLOW_STATUS_BAD_FORMAT
	StatusCancelled       Status = C.DETAILFLOW_STATUS_CANCELLED
	StatusWrongState      Status = C.DETAILFLOW_STATUS_WRONG_STATE
	StatusBusy            Status = C.DETAILFLOW_STATUS_BUSY
	StatusFailed          Status = C.DETAILFLOW_STATUS_FAILED
	StatusInternal        Status = C.DETAILFLOW_STATUS_INTERNAL
)

// String is the name of the status, such as "DETAILFLOW_STATUS_BUSY".
func (s Status) String() string { return C.GoString(C.detailflow_status_name(C.detailflow_status(s))) }

func (s Status) Error() string { return s.String() }

// Error is a failed call.
type Error struct {
	Status  Status
	Message string
	// Why, where it is known: the error of a context or of a reader.
	Cause error
}

func (e *Error) Error() string { return e.Status.String() + ": " + e.Message }

// Is makes errors.Is(err, detailflow.StatusCancelled) work.
func (e *Error) Is(target error) bool { return target == error(e.Status) }

func (e *Error) Unwrap() error { return e.Cause }

func invalid(format string, values ...any) error {
	return &Error{Status: StatusInvalidArgument, Message: fmt.Sprintf(format, values...)}
}

// call makes a call of the library. The message of a failure is that of the thread that made it, so the goroutine stays there.
func call(f func() C.detailflow_status) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if status := f(); status != C.DETAILFLOW_STATUS_OK {
		return &Error{Status: Status(status), Message: C.GoString(C.detailflow_last_message())}
	}
	return nil
}

// checkABI says whether the library is new enough.
func checkABI() error {
	if have := C.detailflow_abi_version(); have < abiVersion {
		return &Error{Status: StatusWrongState, Message: fmt.Sprintf(
			"libdetailflow %s has ABI version %d, and this package needs %d: use a newer library", Version(), have, abiVersion)}
	}
	return nil
}

// owner of a handle. A handle must not be freed while a call with it runs: the last one that leaves frees it.
type owner struct {
	mutex  sync.Mutex
	name   string
	handle unsafe.Pointer
	calls  int
	closed bool
	free   func(unsafe.Pointer)
	// Ends the calls that run; may be nil.
	stop func(unsafe.Pointer)
}

// enter gives the handle for one call, which ends with leave.
func (o *owner) enter() (unsafe.Pointer, error) {
	if o == nil {
		return nil, invalid("nil in place of a model, request, generation, worker or event")
	}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if o.closed || o.handle == nil {
		return nil, invalid("this %s is closed", o.name)
	}
	o.calls++
	return o.handle, nil
}

func (o *owner) leave() {
	o.mutex.Lock()
	o.calls--
	last := o.closed && o.calls == 0
	o.mutex.Unlock()
	if last {
		o.free(o.handle)
	}
}

// with makes a call with the handle.
func (o *owner) with(f func(handle unsafe.Pointer) C.detailflow_status) error {
	handle, err := o.enter()
	if err != nil {
		return err
	}
	defer o.leave()
	return call(func() C.detailflow_status { return f(handle) })
}

// Close frees what it holds; again does nothing. What was made from it goes on. Calls of other goroutines end: a step with
// StatusCancelled.
func (o *owner) Close() error {
	if o == nil {
		return nil
	}
	runtime.SetFinalizer(o, nil)
	o.mutex.Lock()
	if o.closed || o.handle == nil {
		o.mutex.Unlock()
		return nil
	}
	o.closed = true
	idle := o.calls == 0
	if !idle && o.stop != nil {
		// Within the lock: afterwards the last call may have freed it.
		o.stop(o.handle)
	}
	o.mutex.Unlock()
	if idle {
		o.free(o.handle)
	}
	return nil
}

// giveAway makes a call that takes the handle over, if it goes well. No other call may run.
func (o *owner) giveAway(f func(handle unsafe.Pointer) C.detailflow_status) error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if o.closed || o.handle == nil {
		return invalid("this %s is closed", o.name)
	}
	if o.calls > 0 {
		return &Error{Status: StatusBusy, Message: "this " + o.name + " is used by another goroutine"}
	}
	if err := call(func() C.detailflow_status { return f(o.handle) }); err != nil {
		return err
	}
	o.closed = true
	runtime.SetFinalizer(o, nil)
	return nil
}

// own makes an owner of a handle that `make` fills in.
func own(name string, free, stop func(unsafe.Pointer), make func(out *unsafe.Pointer) error) (*owner, error) {
	o := &owner{name: name, free: free, stop: stop}
	if err := make(&o.handle); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(o, (*owner).Close)
	return o, nil
}

// watch runs f; `trigger` is called when the context ends before f does.
func watch(ctx context.Context, trigger func(), f func() error) error {
	if ctx.Done() == nil {
		return f()
	}
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-ctx.Done():
			trigger()
		case <-done:
		}
	}()
	err := f()
	close(done)
	<-over
	if failed, ok := err.(*Error); ok && failed.Status == StatusCancelled {
		failed.Cause = ctx.Err()
	}
	return err
}

// cText is a string for C, to be freed.
func cText(text string) (*C.char, error) {
	for i := range text {
		if text[i] == 0 {
			return nil, invalid("%q has a zero byte", text)
		}
	}
	return C.CString(text), nil
}

func freeText(text *C.char) { C.free(unsafe.Pointer(text)) }

// array asks for the number of elements, then for the elements: again when there were more by then, since another goroutine
// steps.
func array[T any](f func(data *T, capacity C.size_t, count *C.size_t) error) ([]T, error) {
	for {
		var count, more C.size_t
		if err := f(nil, 0, &count); err != nil || count == 0 {
			return nil, err
		}
		data := make([]T, count)
		err := f(&data[0], C.size_t(len(data)), &count)
		if err == nil {
			return data[:count], nil
		}
		// It may be closed by now.
		if again := f(nil, 0, &more); again != nil {
			return nil, again
		}
		if more <= C.size_t(len(data)) {
			return nil, err
		}
	}
}

// first is the address of the elements; nil when there are none.
func first[T any](data []T) *T {
	if len(data) == 0 {
		return nil
	}
	return &data[0]
}

// fits says whether C holds a number: a conversion would cut it.
func fits(name string, value int) error {
	if value < 0 || int64(value) > math.MaxUint32 {
		return invalid("%s: %d is not from 0 to %d", name, value, uint32(math.MaxUint32))
	}
	return nil
}

func flag(on bool) C.uint32_t {
	if on {
		return 1
	}
	return 0
}
