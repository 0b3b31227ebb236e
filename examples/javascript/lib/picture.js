// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';
// Pixels in memory of JavaScript.
const { native, sizeOf } = require('./native.js');
const { check, array, u32, string, bytes } = require('./handle.js');

const Format = Object.freeze({
    RGB8: 1, RGBA8: 2, RGBA32F: 3, BGRA8: 4, RGBA8_PREMULTIPLIED: 5, BGRA8_PREMULTIPLIED: 6, RGBA16F_LINEAR: 7,
    RGBA16F_LINEAR_PREMULTIPLIED: 8,
});
const FileFormat = Object.freeze({ PNG: 1, JPEG: 2, WEBP: 3, BMP: 4, TGA: 5, TIFF: 6, QOI: 7 });
const PIXEL_BYTES = [0, 3, 4, 16, 4, 4, 4, 8, 8];

/** What a decode fills: new memory, or that of the caller (`into`), where it is. */
function target(size, options) {
    const format = u32(options.format ?? Format.RGBA8, 'format');
    const stride = u32(options.stride ?? 0, 'stride') || size * (PIXEL_BYTES[format] ?? 0);
    const data = options.into === undefined ? new Uint8Array(stride * size) : bytes(options.into, 'into');
    if (data.buffer.resizable) {
        throw new TypeError('into: lies in a resizable ArrayBuffer');
    }
    return { width: size, height: size, format, stride, data };
}

/** The same as the struct of the library; its memory is not copied. */
function image(picture) {
    const data = bytes(picture.data, 'data');
    return {
        struct_size: sizeOf('image'), format: u32(picture.format ?? Format.RGBA8, 'format'), width: u32(picture.width, 'width'),
        height: u32(picture.height, 'height'), stride: u32(picture.stride ?? 0, 'stride'), pixels: data, capacity: data.length,
    };
}

/** Writes pixels to a picture file; the ending of the path chooses the format. */
function savePicture(picture, path) {
    check(native.image_save(image(picture), string(path, 'path'), null));
}

/** Encodes pixels as a picture file in memory. */
function encodePicture(picture, fileFormat = FileFormat.PNG) {
    const source = image(picture);
    u32(fileFormat, 'fileFormat');
    return array(Uint8Array, (...out) => native.image_encode(source, fileFormat, ...out, null));
}

module.exports = { Format, FileFormat, target, image, savePicture, encodePicture };
