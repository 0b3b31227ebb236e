// SPDX-License-Identifier: MIT OR Apache-2.0

package detailflow

/*
#include <stddef.h>
#include <stdint.h>
*/
import "C"

import (
	"fmt"
	"io"
	"runtime/cgo"
	"unsafe"
)

// source is what a model is read from, for the time of one call.
type source struct {
	reader io.ReaderAt
	err    error
}

// Called within detailflow_model_open_reader, on the thread of the goroutine that opens. A panic must not go through C.
//
//export detailflowGoReadAt
func detailflowGoReadAt(handle C.uintptr_t, offset C.uint64_t, buffer unsafe.Pointer, count C.size_t) (read C.size_t) {
	from := cgo.Handle(handle).Value().(*source)
	defer func() {
		if reason := recover(); reason != nil {
			from.err = fmt.Errorf("the reader panicked: %v", reason)
			read = 0
		}
	}()
	n, err := from.reader.ReadAt(unsafe.Slice((*byte)(buffer), int(count)), int64(offset))
	if n < int(count) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		from.err = err
		return 0
	}
	return count
}
