// SPDX-License-Identifier: MIT OR Apache-2.0

package detailflow

// #include "shim.h"
import "C"

import (
	"image"
	"unsafe"
)

// Format is a pixel format.
type Format uint32

// The formats of the C API.
const (
	RGB8                       Format = C.DETAILFLOW_FORMAT_RGB8
	RGBA8                      Format = C.DETAILFLOW_FORMAT_RGBA8
	RGBA32F                    Format = C.DETAILFLOW_FORMAT_RGBA32F
	BGRA8                      Format = C.DETAILFLOW_FORMAT_BGRA8
	RGBA8Premultiplied         Format = C.DETAILFLOW_FORMAT_RGBA8_PREMULTIPLIED
	BGRA8Premultiplied         Format = C.DETAILFLOW_FORMAT_BGRA8_PREMULTIPLIED
	RGBA16FLinear              Format = C.DETAILFLOW_FORMAT_RGBA16F_LINEAR
	RGBA16FLinearPremultiplied Format = C.DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED
)

// Pixels are an image in memory of the caller, rows from top to bottom.
type Pixels struct {
	Format        Format
	Width, Height int
	// Bytes from row to row; 0 when there is no gap.
	Stride int
	Pix    []byte
}

// FromNRGBA are the pixels of an image or of a part of one (SubImage), where they are.
func FromNRGBA(img *image.NRGBA) Pixels { return fromImage(RGBA8, img.Rect, img.Stride, img.Pix) }

// FromRGBA are the pixels of an image with premultiplied alpha, where they are.
func FromRGBA(img *image.RGBA) Pixels {
	return fromImage(RGBA8Premultiplied, img.Rect, img.Stride, img.Pix)
}

func fromImage(format Format, bounds image.Rectangle, stride int, pix []byte) Pixels {
	return Pixels{Format: format, Width: bounds.Dx(), Height: bounds.Dy(), Stride: stride, Pix: pix}
}

// raw are the parameters of shim.h.
type raw struct {
	format, width, height C.uint32_t
	stride, capacity      C.size_t
	pix                   unsafe.Pointer
}

func (p Pixels) raw() (raw, error) {
	if len(p.Pix) == 0 {
		return raw{}, invalid("pixels: no memory")
	}
	for _, n := range []int{p.Width, p.Height, p.Stride} {
		if n < 0 || int64(n) > 1<<32-1 {
			return raw{}, invalid("pixels: %d x %d, stride %d", p.Width, p.Height, p.Stride)
		}
	}
	return raw{C.uint32_t(p.Format), C.uint32_t(p.Width), C.uint32_t(p.Height), C.size_t(p.Stride), C.size_t(len(p.Pix)),
		unsafe.Pointer(&p.Pix[0])}, nil
}

// decoded makes an image of a size and fills it.
func decoded(size int, fill func(Pixels) error) (*image.NRGBA, error) {
	// Of size 0 before the first level: the library says so.
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	pixels := FromNRGBA(img)
	if size == 0 {
		pixels.Pix = make([]byte, 1)
	}
	if err := fill(pixels); err != nil {
		return nil, err
	}
	return img, nil
}

// SavePixels writes a picture file; the ending of the path chooses the format.
func SavePixels(pixels Pixels, path string) error {
	p, err := pixels.raw()
	if err != nil {
		return err
	}
	text, err := cText(path)
	if err != nil {
		return err
	}
	defer freeText(text)
	return call(func() C.detailflow_status {
		return C.go_image_save(text, p.format, p.width, p.height, p.stride, p.pix, p.capacity)
	})
}
