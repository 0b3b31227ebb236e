//! Models: open, look at, encode, decode.

use std::ffi::{CString, c_char};

use super::call::{
    Message, array, call, call_on, copy_message, free, into_handle, object, output, path, put_tokens, quietly, text,
};
use super::image::{detailflow_image, image_pixels, write_image};
use super::options::detailflow_model_options;
use super::plain::{Plain, read, write};
use super::status::{Failure, c_string, detailflow_status};
use crate::bundle::Bundle;
use crate::model::{Model, default_bundle};
use crate::pixels::Picture;
use crate::worker::cancel_model;

/// A model that is open. Shared: any number of threads may use it at once; one runs a graph at a time.
pub struct detailflow_model {
    pub(super) model: Model,
    pub(super) message: Message,
    /// What the strings of detailflow_model_info point into.
    texts: Texts,
}

struct Texts {
    name: CString,
    license: CString,
    tokenizer_id: CString,
    precision: CString,
    form: CString,
    device: CString,
    path: CString,
    classes: Vec<CString>,
}

impl Texts {
    fn new(model: &Model) -> Self {
        let bundle = model.bundle();
        Self {
            name: c_string(bundle.name()),
            license: c_string(bundle.license()),
            tokenizer_id: c_string(bundle.tokenizer_id()),
            precision: c_string(&model.variant().precision),
            form: c_string(&model.variant().form),
            device: c_string(&model.device().to_string()),
            path: c_string(&bundle.path().to_string_lossy()),
            classes: bundle.classes().iter().map(|name| c_string(name)).collect(),
        }
    }
}

/// What a model is. The strings live as long as the model handle.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_model_info {
    /// sizeof(detailflow_model_info).
    pub struct_size: u32,
    /// Pixels a side of a whole picture.
    pub size: u32,
    /// 3 is RGB, 4 is RGBA.
    pub channels: u32,
    /// Tokens of a whole picture (N).
    pub tokens: u32,
    /// Tokens drawn at once after the causal part (g).
    pub group: u32,
    /// Tokens drawn one by one (c).
    pub causal: u32,
    /// Size of the codebook: a token is 0 to codes - 1.
    pub codes: u32,
    /// Bits of one token.
    pub bits: u32,
    /// Number of classes.
    pub class_count: u32,
    /// Number of levels.
    pub level_count: u32,
    /// How the model's makers would sample: guidance scale, 1 is off.
    pub guidance: f32,
    /// Temperature, 0 is greedy.
    pub temperature: f32,
    /// Top-p, 1 is off.
    pub top_p: f32,
    /// Top-k, 0 is off.
    pub top_k: u32,
    /// 1 when guidance falls over the groups.
    pub gradual: u32,
    /// 0.
    pub reserved: u32,
    /// What the model is called.
    pub name: *const c_char,
    /// The licence of its weights.
    pub license: *const c_char,
    /// Which tokenizer its tokens belong to: 16 hex digits.
    pub tokenizer_id: *const c_char,
    /// The precision in use.
    pub precision: *const c_char,
    /// The attention form in use.
    pub form: *const c_char,
    /// The device in use: never "auto", and "cpu" when it fell back.
    pub device: *const c_char,
    /// The bundle's folder.
    pub path: *const c_char,
}

// SAFETY: struct_size comes first, and it holds numbers and pointers only.
unsafe impl Plain for detailflow_model_info {
    const NAME: &'static str = "detailflow_model_info";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// A size that a generation can stop at.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_level {
    /// sizeof(detailflow_level).
    pub struct_size: u32,
    /// Pixels a side.
    pub size: u32,
    /// How many tokens it takes.
    pub tokens: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_level {
    const NAME: &'static str = "detailflow_level";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// Opens the bundle in the folder `path` and compiles its graphs (one that holds the decoder alone is opened too, and
/// decodes); loads ONNX Runtime if that has not happened.
/// `path` NULL is the default bundle: the folder DETAILFLOW_BUNDLE names; otherwise detailflow/ beside this library
/// or the executable, ../share/detailflow, or the one that is shipped with the checkout. `options` may be NULL.
/// Free with detailflow_model_free.
///
/// Takes from milliseconds to seconds. Errors: NOT_FOUND, BAD_BUNDLE (what is wrong, by name), NO_RUNTIME (each
/// place that was tried), NO_DEVICE (the file, library or version that is missing), INVALID_ARGUMENT (no such precision,
/// form or device option), IO, OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_open(
    path: *const c_char,
    options: *const detailflow_model_options,
    model: *mut *mut detailflow_model,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let place = unsafe { output(model, "model") }?;
        let folder = if path.is_null() {
            default_bundle()?
        } else {
            // SAFETY: the contract of the header.
            unsafe { self::path(path, "path") }?
        };
        // SAFETY: the contract of the header.
        let given = unsafe { options.as_ref() }.map(|options| options.0.copy()).transpose()?;
        let model = Model::open(folder, &given.unwrap_or_default())?;
        let texts = Texts::new(&model);
        place.set(into_handle(detailflow_model { model, message: Message::default(), texts }));
        Ok(())
    })
}

/// Frees the handle; generations and requests made from it go on. What workers draw with the model is cancelled before,
/// and waited for (not so inside a worker's callback). NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_free(model: *mut detailflow_model) {
    // SAFETY: the contract of the header.
    if let Some(this) = unsafe { model.as_ref() } {
        quietly(|| cancel_model(&this.model));
    }
    // SAFETY: the contract of the header.
    unsafe { free(model) }
}

/// The message of the last call with this handle that failed, on any thread: copied into `buffer` (`capacity`
/// bytes, with the zero; cut when longer). Returns its whole length without the zero; 0 for NULL and when nothing
/// failed. `buffer` may be NULL when `capacity` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_message(
    model: *const detailflow_model,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    // SAFETY: the contract of the header.
    unsafe { copy_message(model.as_ref().map(|model| &model.message), buffer, capacity) }
}

/// Fills `info`, whose struct_size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_get_info(
    model: *const detailflow_model,
    info: *mut detailflow_model_info,
) -> detailflow_status {
    with(model, |this, bundle| {
        let sampling = bundle.sampling();
        let filled = detailflow_model_info {
            struct_size: 0,
            size: bundle.size(),
            channels: bundle.channels() as u32,
            tokens: bundle.tokens() as u32,
            group: bundle.group() as u32,
            causal: bundle.causal() as u32,
            codes: bundle.codes() as u32,
            bits: bundle.bits(),
            class_count: bundle.classes().len() as u32,
            level_count: bundle.ladder().levels().len() as u32,
            guidance: sampling.guidance,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            gradual: sampling.gradual.into(),
            reserved: 0,
            name: this.texts.name.as_ptr(),
            license: this.texts.license.as_ptr(),
            tokenizer_id: this.texts.tokenizer_id.as_ptr(),
            precision: this.texts.precision.as_ptr(),
            form: this.texts.form.as_ptr(),
            device: this.texts.device.as_ptr(),
            path: this.texts.path.as_ptr(),
        };
        // SAFETY: the contract of the header.
        unsafe { write(info, filled) }
    })
}

/// What really runs where, as lines for a person: the device, what was tried before it, and for each graph that is
/// compiled how many nodes each provider took, which of them fell to the CPU, and the memory that its allocators hold.
/// Copied into `buffer` (`capacity` bytes, with the zero; cut when longer), its whole length without the zero into
/// `length`. `buffer` may be NULL when `capacity` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_report(
    model: *const detailflow_model,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> detailflow_status {
    with(model, |this, _| {
        // SAFETY: the contract of the header.
        let length = unsafe { output(length, "length") }?;
        if buffer.is_null() && capacity > 0 {
            return Err(Failure::invalid("buffer is NULL, and capacity is not 0".to_owned()));
        }
        let text = Message::default();
        text.set(&this.model.report()?.to_string());
        // SAFETY: the contract of the header.
        length.set(unsafe { text.copy(buffer, capacity) });
        Ok(())
    })
}

/// Whether the model can draw: 1 into `can`, or 0 when its bundle holds no autoregressive model. It decodes tokens all the
/// same; detailflow_generate and detailflow_generation_new give DETAILFLOW_WRONG_STATE then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_can_draw(model: *const detailflow_model, can: *mut u32) -> detailflow_status {
    with(model, |_, bundle| {
        // SAFETY: the contract of the header.
        unsafe { output(can, "can") }?.set(bundle.can_generate().into());
        Ok(())
    })
}

/// Whether the model can encode: 1 into `can`, or 0 when its bundle holds no encoder; detailflow_model_encode and
/// detailflow_model_encode_file give DETAILFLOW_WRONG_STATE then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_can_encode(
    model: *const detailflow_model,
    can: *mut u32,
) -> detailflow_status {
    with(model, |_, bundle| {
        // SAFETY: the contract of the header.
        unsafe { output(can, "can") }?.set(bundle.can_encode().into());
        Ok(())
    })
}

/// The name of class `index`, 0 to class_count - 1. It lives as long as the model handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_class_name(
    model: *const detailflow_model,
    index: u32,
    name: *mut *const c_char,
) -> detailflow_status {
    with(model, |this, bundle| {
        // SAFETY: the contract of the header.
        let place = unsafe { output(name, "name") }?;
        bundle.check_class(index)?;
        place.set(this.texts.classes[index as usize].as_ptr());
        Ok(())
    })
}

/// The index of the class `name` (a name, or an index in decimal). When there is none the message names the
/// nearest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_class_index(
    model: *const detailflow_model,
    name: *const c_char,
    index: *mut u32,
) -> detailflow_status {
    with(model, |_, bundle| {
        // SAFETY: the contract of the header.
        let (name, place) = unsafe { (text(name, "name")?, output(index, "index")?) };
        place.set(bundle.class(name)?);
        Ok(())
    })
}

/// The level `index`, 0 (coarsest) to level_count - 1 (the whole picture), into `level`, whose struct_size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_get_level(
    model: *const detailflow_model,
    index: u32,
    level: *mut detailflow_level,
) -> detailflow_status {
    with(model, |_, bundle| {
        let levels = bundle.ladder().levels();
        let found = levels
            .get(index as usize)
            .ok_or_else(|| Failure::invalid(format!("level {index} is out of range: there are {}", levels.len())))?;
        let filled = detailflow_level { struct_size: 0, size: found.size, tokens: found.tokens as u32, reserved: 0 };
        // SAFETY: the contract of the header.
        unsafe { write(level, filled) }
    })
}

/// Pixels a side of what the first `count` tokens decode to. `count` is a prefix: 1 to c, or a multiple of g up to
/// N.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_prefix_size(
    model: *const detailflow_model,
    count: usize,
    size: *mut u32,
) -> detailflow_status {
    with(model, |_, bundle| {
        // SAFETY: the contract of the header.
        let place = unsafe { output(size, "size") }?;
        let prefix = bundle
            .ladder()
            .prefix(count)
            .ok_or_else(|| Failure::invalid(format!("{count} tokens are not a prefix")))?;
        place.set(prefix.size);
        Ok(())
    })
}

/// The tokens of a picture of any size and format, coarse to fine: N of them into `tokens`, which has room for
/// `capacity`; their number into `count`. `tokens` NULL with `capacity` 0 only tells the number. The picture is
/// cropped to the square in its middle and resized, unless it has the model's size. Compiles the encoder at the
/// first call; DETAILFLOW_WRONG_STATE when the bundle holds none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_encode(
    model: *const detailflow_model,
    picture: *const detailflow_image,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> detailflow_status {
    with(model, |this, bundle| {
        // SAFETY: the contract of the header.
        let picture = unsafe { read(picture) }?;
        // SAFETY: the contract of the header.
        let (format, pixels) = unsafe { image_pixels(&picture) }?;
        let picture =
            || Ok(Picture::from_pixels(format, picture.width, picture.height, pixels, picture.stride_of(format))?);
        // SAFETY: the contract of the header.
        unsafe { encode(this, bundle, picture, tokens, capacity, count) }
    })
}

/// As detailflow_model_encode, from the picture file `path` of any size and mode.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_encode_file(
    model: *const detailflow_model,
    path: *const c_char,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> detailflow_status {
    with(model, |this, bundle| {
        // SAFETY: the contract of the header.
        let path = unsafe { self::path(path, "path") }?;
        // SAFETY: the contract of the header.
        unsafe { encode(this, bundle, || Ok(Picture::open(path)?), tokens, capacity, count) }
    })
}

/// Decodes the first tokens of a picture. `level` 0: all `count` tokens, which are a prefix (1 to c, or a multiple
/// of g up to N), at the size that detailflow_model_prefix_size tells. Otherwise the level of `level` pixels, from
/// at least its tokens. `target` says where the pixels go; its width and height are that size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_decode(
    model: *const detailflow_model,
    tokens: *const u32,
    count: usize,
    level: u32,
    target: *const detailflow_image,
) -> detailflow_status {
    with(model, |this, bundle| {
        // SAFETY: the contract of the header.
        let tokens = unsafe { get_tokens(tokens, count, bundle) }?;
        // Wrong sizes are told before the work, not after.
        let size = if level == 0 {
            bundle.ladder().prefix(count).map(|prefix| prefix.size)
        } else {
            Some(this.model.level(level)?.size)
        };
        // SAFETY: the contract of the header.
        let target = unsafe { read(target) }?;
        if let Some(size) = size {
            target.check_size(size)?;
        }
        let image = if level == 0 { this.model.decode(&tokens)? } else { this.model.decode_level(&tokens, level)? };
        // SAFETY: the contract of the header.
        unsafe { write_image(&image, &target) }
    })
}

/// Tokens of the caller's, 1 to as many as a picture of `bundle` has.
///
/// # Safety
/// `tokens` is NULL or may be read for `count` tokens.
pub(super) unsafe fn get_tokens(tokens: *const u32, count: usize, bundle: &Bundle) -> Result<Vec<u32>, Failure> {
    if count == 0 || count > bundle.tokens() {
        return Err(Failure::invalid(format!(
            "{count} tokens are not a prefix of {}: it has {}",
            bundle.name(),
            bundle.tokens()
        )));
    }
    // SAFETY: as the caller promises.
    unsafe { array(tokens, count, bundle.tokens(), "tokens") }
}

/// # Safety
/// As for [`put_tokens`].
unsafe fn encode(
    this: &detailflow_model,
    bundle: &Bundle,
    picture: impl FnOnce() -> Result<Picture, Failure>,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> super::call::Outcome {
    // Only the number was asked for, or there is too little room: no need to run anything.
    if tokens.is_null() || capacity < bundle.tokens() {
        let zeros = vec![0; bundle.tokens()];
        // SAFETY: as the caller promises; nothing is written to `tokens` in either case.
        return unsafe { put_tokens(&zeros, tokens, capacity, count) };
    }
    let drawn = this.model.encode(&picture()?)?;
    // SAFETY: as the caller promises.
    unsafe { put_tokens(&drawn, tokens, capacity, count) }
}

/// Runs `body` with the model; keeps the message with the handle.
pub(super) fn with(
    model: *const detailflow_model,
    body: impl FnOnce(&detailflow_model, &Bundle) -> super::call::Outcome,
) -> detailflow_status {
    // SAFETY: every export hands on the contract of the header.
    match unsafe { object(model, "model") } {
        Ok(this) => call_on(Some(&this.message), || body(this, this.model.bundle())),
        Err(failure) => call(|| Err(failure)),
    }
}
