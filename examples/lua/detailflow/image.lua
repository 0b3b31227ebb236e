-- Pixels: memory of this module, or of someone else.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local core = require "detailflow.core"
local ffi, C, check = core.ffi, core.C, core.check

local image = {}
local Image = {}
Image.__index = Image

local formats = {
    rgb8 = { C.DETAILFLOW_FORMAT_RGB8, 3 },
    rgba8 = { C.DETAILFLOW_FORMAT_RGBA8, 4 },
    rgba32f = { C.DETAILFLOW_FORMAT_RGBA32F, 16 },
    bgra8 = { C.DETAILFLOW_FORMAT_BGRA8, 4 },
    rgba8_premultiplied = { C.DETAILFLOW_FORMAT_RGBA8_PREMULTIPLIED, 4 },
    bgra8_premultiplied = { C.DETAILFLOW_FORMAT_BGRA8_PREMULTIPLIED, 4 },
    rgba16f_linear = { C.DETAILFLOW_FORMAT_RGBA16F_LINEAR, 8 },
    rgba16f_linear_premultiplied = { C.DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED, 8 },
}
local file_formats = {
    png = C.DETAILFLOW_FILE_FORMAT_PNG,
    jpeg = C.DETAILFLOW_FILE_FORMAT_JPEG,
    webp = C.DETAILFLOW_FILE_FORMAT_WEBP,
    bmp = C.DETAILFLOW_FILE_FORMAT_BMP,
    tga = C.DETAILFLOW_FILE_FORMAT_TGA,
    tiff = C.DETAILFLOW_FILE_FORMAT_TIFF,
    qoi = C.DETAILFLOW_FILE_FORMAT_QOI,
}

local function of(map, name, what)
    return map[name] or core.raise(tonumber(C.DETAILFLOW_STATUS_INVALID_ARGUMENT), ("no %s %q"):format(what, tostring(name)))
end

local function make(width, height, format, stride, pixels, capacity, owner)
    local known = of(formats, format or "rgba8", "format")
    local struct = core.struct "image"
    struct.format = known[1]
    struct.width, struct.height = core.u32(width, "width"), core.u32(height, "height")
    struct.stride = stride or 0
    struct.pixels = pixels
    struct.capacity = capacity
    return setmetatable({
        width = width,
        height = height,
        format = format or "rgba8",
        size = tonumber(capacity),
        pixels = ffi.cast("uint8_t *", pixels),
        _struct = struct,
        _owner = owner,
    }, Image)
end

-- New pixels. `pixels` points to them, rows from top to bottom, `size` bytes.
function image.new(width, height, format)
    local size = core.u32(width, "width") * core.u32(height, "height") * of(formats, format or "rgba8", "format")[2]
    local pixels = ffi.new("uint8_t[?]", size)
    return make(width, height, format, 0, pixels, size, pixels)
end

-- Pixels in memory that someone else owns: `pointer` to `capacity` bytes. `owner`, if given, is kept alive by the
-- image.
function image.wrap(pointer, capacity, width, height, format, stride, owner)
    return make(width, height, format, stride, pointer, capacity, owner)
end

-- The C struct; for a `nil` a new image of so many pixels per side.
function image.target(target, side)
    target = target or image.new(side, side)
    return target, target._struct
end

-- All pixels as a string.
function Image:string()
    return ffi.string(self.pixels, self.size)
end

-- Writes a picture file; the ending of the path chooses its format.
function Image:save(path)
    check(C.detailflow_image_save(self._struct, path, nil))
end

-- The bytes of a picture file, as a string.
function Image:encode(file_format)
    local format = of(file_formats, file_format or "png", "file format")
    return core.bytes(function(data, capacity, size)
        return C.detailflow_image_encode(self._struct, format, data, capacity, size, nil)
    end)
end

-- A new image, each pixel a square of `factor` pixels per side.
function Image:upscale(factor)
    local target = image.new(self.width * factor, self.height * factor, self.format)
    check(C.detailflow_image_upscale(self._struct, factor, target._struct, nil))
    return target
end

return image
