//! Models: open, read, encode, decode, score.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use super::call::{call, get_message, on};
use super::cancel::detailflow_cancel;
use super::error::detailflow_error;
use super::handle::Object;
use super::image::detailflow_image;
use super::message::Message;
use super::options::{OpenOptions, detailflow_model_options};
use super::param::{In, Out, Owned, Shared, Text};
use super::plain::{Plain, nanoseconds};
use super::reader::{HostBlock, HostReader, detailflow_reader, detailflow_release_fn};
use super::status::{Failure, Outcome, c_string, detailflow_status};
use crate::bundle::Bundle;
use crate::model::{EncodeOptions, Model, ModelOptions, OpenCancel, OpenWatch};
use crate::pixels::Picture;
use crate::tasks;
use crate::worker::cancel_model;

/// A model that is open. Thread-safe; it runs one graph at a time.
#[derive(Debug)]
pub struct detailflow_model {
    pub(super) model: Model,
    message: Message,
    /// What the strings of detailflow_model_info point into.
    texts: Texts,
}

impl Object for detailflow_model {
    const KIND: &'static str = "detailflow_model";
    const NAME: &'static str = "model";
    fn message(&self) -> Option<&Message> {
        Some(&self.message)
    }
}

#[derive(Debug)]
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
            precision: c_string(&model.variant().precision.to_string()),
            form: c_string(&model.variant().form.to_string()),
            device: c_string(&model.device().to_string()),
            path: c_string(&bundle.path().to_string_lossy()),
            classes: bundle.classes().iter().map(|name| c_string(name)).collect(),
        }
    }
}

/// Properties of a model. The strings live as long as the model handle.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_model_info {
    /// sizeof(detailflow_model_info).
    pub struct_size: u32,
    /// Pixels per side of the full image, which is the finest level.
    pub image_size: u32,
    /// 3 is RGB, 4 is RGBA.
    pub channels: u32,
    /// Tokens of the full image (N).
    pub token_count: u32,
    /// Tokens that one step generates after the causal part (g).
    pub group_size: u32,
    /// Tokens that are generated one by one at the start (c).
    pub causal_count: u32,
    /// Entries of the codebook: each token is 0 to codebook_size - 1.
    pub codebook_size: u32,
    /// Bits of one token in a token file.
    pub bits_per_token: u32,
    /// Number of classes.
    pub class_count: u32,
    /// Number of levels.
    pub level_count: u32,
    /// Default guidance scale, 1 is off. This and the next four are the defaults stored in the bundle.
    pub guidance: f32,
    /// Default temperature, 0 is greedy.
    pub temperature: f32,
    /// Default top-p, 1 is off.
    pub top_p: f32,
    /// Default top-k, 0 is off.
    pub top_k: u32,
    /// 1 when guidance falls linearly over the groups by default.
    pub gradual_guidance: u32,
    /// 1 when the model can generate; 0 when its bundle holds no autoregressive graph. Decoding works in either case.
    pub can_generate: u32,
    /// 1 when the model can encode images; 0 when its bundle holds no encoder, or it was opened without.
    pub can_encode: u32,
    /// Reserved; 0.
    pub reserved: u32,
    /// Name of the model.
    pub name: *const c_char,
    /// Licence of the weights.
    pub license: *const c_char,
    /// The tokenizer that tokens belong to: 16 hexadecimal digits. Models of one tokenizer can exchange tokens.
    pub tokenizer_id: *const c_char,
    /// The precision in use.
    pub precision: *const c_char,
    /// The attention form in use: see detailflow_model_options_set_form.
    pub form: *const c_char,
    /// The device in use: never "auto", and "cpu" after a fallback.
    pub device: *const c_char,
    /// The bundle's folder or single file, as an absolute path; "(memory)" or "(reader)" for one that has none.
    pub path: *const c_char,
}

// SAFETY: struct_size comes first, and it holds numbers and pointers only.
unsafe impl Plain for detailflow_model_info {
    const NAME: &'static str = "detailflow_model_info";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// A level: one of the ladder's sizes, with the largest number of tokens that decodes to it. A generation can stop there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_level {
    /// sizeof(detailflow_level).
    pub struct_size: u32,
    /// Pixels per side.
    pub level_size: u32,
    /// The largest prefix that decodes to level_size. The first token_count tokens of any image decode to this level.
    pub token_count: u32,
    /// Reserved; 0.
    pub reserved: u32,
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_level {
    const NAME: &'static str = "detailflow_level";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// Opens a bundle and compiles its graphs. Takes milliseconds to seconds; loads ONNX Runtime if it is not loaded yet.
///
/// @param path The bundle: a folder, its detailflow.json, or a single file (.dflow). Weights are used where they are mapped
/// from their file. NULL takes the default bundle: what the environment variable DETAILFLOW_BUNDLE names; without it
/// detailflow/ beside this library or the executable, ../share/detailflow (of a folder lib/ARCH-linux-gnu also
/// ../../share/detailflow), or the bundle that is shipped with the checkout.
/// @param options NULL takes the defaults.
/// @param model Receives the handle. Free it with detailflow_model_free.
/// @param error May be NULL.
/// @return NOT_FOUND; BAD_BUNDLE (the message names what is wrong); NO_RUNTIME (it lists the places that were tried);
/// NO_DEVICE (it names the missing file, library or version); INVALID_ARGUMENT (no such precision, form or device
/// option); CANCELLED; IO; OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_open(
    path: Text<'_>,
    options: Shared<'_, detailflow_model_options>,
    model: Out<'_, *mut detailflow_model>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let path = path.optional_path("path")?;
        open(options, model, |options, watch| Model::open_with(path.as_deref(), options, watch))
    })
}

/// As detailflow_model_open, of a single-file bundle (.dflow) that lies in memory.
///
/// The memory is used where it is, also by the encoder when that is compiled later, and ONNX Runtime makes one copy of the
/// weights that the compiled graphs use, in every form: onnx/PERFORMANCE.md has a table.
///
/// @param data The file. It must stay valid, unchanged, until it is released. Any alignment.
/// @param size Bytes at `data`.
/// @param release Called exactly once, when nothing uses the memory any more: on whatever thread frees the last of the
/// model and what was made from it, or, when this call fails, whatever the reason, before it returns. NULL calls nothing:
/// the memory must stay valid for ever.
/// @param user Passed to `release`.
/// @param options NULL takes the defaults.
/// @param model Receives the handle. Free it with detailflow_model_free.
/// @param error May be NULL.
/// @return As detailflow_model_open.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_open_memory(
    data: In<'_, c_void>,
    size: usize,
    release: detailflow_release_fn,
    user: *mut c_void,
    options: Shared<'_, detailflow_model_options>,
    model: Out<'_, *mut detailflow_model>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    // Made before anything can fail, so that it is released.
    let block = HostBlock::new(data, size, release, user);
    call(error, move || {
        block.check()?;
        let block = Arc::new(block);
        open(options, model, |options, watch| Model::open_block(block, "(memory)".into(), options, watch))
    })
}

/// As detailflow_model_open, of a single-file bundle (.dflow) that callbacks read: in an engine's file system, an archive, a
/// package.
///
/// The callbacks run on this thread and within this call only: the encoder is read and compiled too, unless
/// detailflow_model_options_set_encoder says that it is not needed. Files up to 32 MB are read to be checked, and those of the
/// variant that opens are read into memory, until ONNX Runtime has made one copy of the weights that the graphs use, in every
/// form: onnx/PERFORMANCE.md has a table. Progress and cancellation work as in detailflow_model_open; a cancelled call ends
/// before the next read.
///
/// @param reader Used within the call.
/// @param options NULL takes the defaults.
/// @param model Receives the handle. Free it with detailflow_model_free.
/// @param error May be NULL.
/// @return IO when read_at fails; BAD_BUNDLE when the size is not true; otherwise as detailflow_model_open.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_open_reader(
    reader: In<'_, detailflow_reader>,
    options: Shared<'_, detailflow_model_options>,
    model: Out<'_, *mut detailflow_model>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let reader = HostReader::new(reader)?;
        open(options, model, |options, watch| Model::open_reader(reader, "(reader)", options, watch))
    })
}

/// Opens a model by `open`, with what `options` say.
fn open(
    options: Shared<'_, detailflow_model_options>,
    model: Out<'_, *mut detailflow_model>,
    open: impl FnOnce(&ModelOptions, OpenWatch<'_>) -> crate::Result<Model>,
) -> Outcome {
    let place = model.place("model")?;
    let OpenOptions { model: options, progress, cancel } =
        options.optional()?.map(|options| options.0.copy()).transpose()?.unwrap_or_default();
    let mut watch = OpenWatch::new();
    if let Some(host) = progress {
        watch = watch.with_progress(move |progress| host.tell(progress));
    }
    if let Some(cancel) = cancel {
        watch = watch.with_cancel(cancel);
    }
    let model = open(&options, watch)?;
    let texts = Texts::new(&model);
    place.set_handle(detailflow_model { model, message: Message::default(), texts });
    Ok(())
}

/// Frees the handle. Requests and generations made from it go on. Jobs of the model that were submitted before are
/// cancelled first, in every worker, and waited for (not inside a worker's callback). NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_free(model: Owned<detailflow_model>) {
    model.free(|this| cancel_model(&this.model));
}

/// The message of the last failed call with this handle, on any thread: see "Text" above.
///
/// @param buffer Receives the message; "" when no call failed.
/// @param capacity Bytes at `buffer`.
/// @param length Receives the length of the whole message; may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_get_message(
    model: Shared<'_, detailflow_model>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    get_message(model, buffer, capacity, length)
}

/// Gets the properties of a model.
///
/// @param info Filled; its struct_size is set.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_get_info(
    model: Shared<'_, detailflow_model>,
    info: Out<'_, detailflow_model_info>,
) -> detailflow_status {
    with(model, |this, bundle| {
        let sampling = bundle.sampling();
        info.structure()?.write(detailflow_model_info {
            struct_size: 0,
            image_size: bundle.size(),
            channels: bundle.channels() as u32,
            token_count: bundle.tokens() as u32,
            group_size: bundle.group() as u32,
            causal_count: bundle.causal() as u32,
            codebook_size: bundle.codes() as u32,
            bits_per_token: bundle.bits(),
            class_count: bundle.classes().len() as u32,
            level_count: bundle.ladder().levels().len() as u32,
            guidance: sampling.guidance,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            gradual_guidance: sampling.gradual.into(),
            can_generate: bundle.can_generate().into(),
            can_encode: this.model.can_encode().into(),
            reserved: 0,
            name: this.texts.name.as_ptr(),
            license: this.texts.license.as_ptr(),
            tokenizer_id: this.texts.tokenizer_id.as_ptr(),
            precision: this.texts.precision.as_ptr(),
            form: this.texts.form.as_ptr(),
            device: this.texts.device.as_ptr(),
            path: this.texts.path.as_ptr(),
        })
    })
}

/// Gets a report of what runs where, as lines for a person: the device and what was tried before it; for each compiled
/// graph the number of nodes that each execution provider took, the nodes that fell to the CPU, and the memory of its
/// allocators.
///
/// @param buffer Receives the report: see "Text" above.
/// @param capacity Bytes at `buffer`.
/// @param length Receives the length of the whole report; may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_get_report(
    model: Shared<'_, detailflow_model>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    with(model, |this, _| buffer.put_text(&this.model.report()?.to_string(), capacity, length))
}

/// Gets the name of a class.
///
/// @param class_index 0 to class_count - 1.
/// @param name Receives the name, which lives as long as the model handle.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_get_class_name(
    model: Shared<'_, detailflow_model>,
    class_index: u32,
    name: Out<'_, *const c_char>,
) -> detailflow_status {
    with(model, |this, bundle| {
        let place = name.place("name")?;
        bundle.check_class(class_index)?;
        place.set(this.texts.classes[class_index as usize].as_ptr());
        Ok(())
    })
}

/// Finds a class.
///
/// @param name The name of the class, or its index in decimal.
/// @param class_index Receives the index.
/// @return INVALID_ARGUMENT when there is none; the message names the nearest.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_find_class(
    model: Shared<'_, detailflow_model>,
    name: Text<'_>,
    class_index: Out<'_, u32>,
) -> detailflow_status {
    with(model, |_, bundle| {
        let (name, place) = (name.text("name")?, class_index.place("class_index")?);
        place.set(bundle.class(name)?);
        Ok(())
    })
}

/// Gets a level by its index.
///
/// @param level_index 0 (the coarsest) to level_count - 1 (the full image).
/// @param level Filled; its struct_size is set.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_get_level(
    model: Shared<'_, detailflow_model>,
    level_index: u32,
    level: Out<'_, detailflow_level>,
) -> detailflow_status {
    with(model, |_, bundle| {
        let levels = bundle.ladder().levels();
        let found = levels.get(level_index as usize).ok_or_else(|| {
            Failure::invalid(format!("level_index is {level_index}; there are {} levels", levels.len()))
        })?;
        write_level(level, found)
    })
}

/// Finds a level by its size.
///
/// @param level_size Pixels per side; 0 is the finest level.
/// @param level Filled; its struct_size is set.
/// @return INVALID_ARGUMENT when there is no such level; the message lists the levels.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_find_level(
    model: Shared<'_, detailflow_model>,
    level_size: u32,
    level: Out<'_, detailflow_level>,
) -> detailflow_status {
    with(model, |this, bundle| {
        let finest = bundle.size();
        let found = this.model.level(if level_size == 0 { finest } else { level_size })?;
        write_level(level, &found)
    })
}

fn write_level(target: Out<'_, detailflow_level>, level: &crate::plan::Level) -> Outcome {
    target.structure()?.write(detailflow_level {
        struct_size: 0,
        level_size: level.size,
        token_count: level.tokens as u32,
        reserved: 0,
    })
}

/// Gets the size of the image that a prefix decodes to.
///
/// @param token_count A prefix: 1 to c, or a multiple of g up to N.
/// @param prefix_size Receives the pixels per side.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_get_prefix_size(
    model: Shared<'_, detailflow_model>,
    token_count: usize,
    prefix_size: Out<'_, u32>,
) -> detailflow_status {
    with(model, |_, bundle| {
        let place = prefix_size.place("prefix_size")?;
        let prefix = bundle
            .ladder()
            .prefix(token_count)
            .ok_or_else(|| Failure::invalid(format!("{token_count} tokens are not a prefix")))?;
        place.set(prefix.size);
        Ok(())
    })
}

/// Encodes an image into tokens. Compiles the encoder at the first call.
///
/// The largest square in the middle is taken. Colours are multiplied by alpha. A square of another size than image_size is
/// resized with a Catmull-Rom filter, antialiased when it shrinks. Models of 3 channels get the image composed over black.
///
/// @param picture Of any size and format, with straight alpha. Floats are clamped to 0 to 1; NaN and infinite are
/// INVALID_ARGUMENT.
/// @param tokens Receives N tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens.
/// @return WRONG_STATE when the bundle holds no encoder.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_encode(
    model: Shared<'_, detailflow_model>,
    picture: In<'_, detailflow_image>,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    with(model, |this, _| {
        let source = picture.source()?;
        encode(this, || source.picture(), tokens, capacity, count)
    })
}

/// As detailflow_model_encode, from a picture file.
///
/// A file has at most 65,535 pixels per side and 2^29 in all. If its shorter side has more than 4,096, boxes of k x k pixels are
/// averaged while it is read, for the smallest k that leaves at most 4,096. Colour is taken for sRGB; profiles and texts in the
/// file are not read.
///
/// @param path A picture file: png, jpg, webp, bmp, tga, tiff, qoi; also gif (the first frame), ico and pnm.
/// @return BAD_FORMAT when it is no picture, or damaged, cut off or larger; OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_encode_file(
    model: Shared<'_, detailflow_model>,
    path: Text<'_>,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    with(model, |this, _| {
        let path = path.path("path")?;
        encode(this, || Ok(Picture::open(path)?), tokens, capacity, count)
    })
}

/// As detailflow_model_encode_file, from the bytes of a picture file.
///
/// @param data The file: png, jpg, webp, bmp, tiff, qoi. TGA has no signature, so it is not recognized from memory.
/// @param size Bytes at `data`.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_encode_data(
    model: Shared<'_, detailflow_model>,
    data: In<'_, c_void>,
    size: usize,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    with(model, |this, _| {
        let data = data.bytes(size, "data")?;
        encode(this, || Ok(Picture::decode(data)?), tokens, capacity, count)
    })
}

/// Decodes tokens into pixels.
///
/// @param tokens The first tokens of an image.
/// @param token_count With `level_size` 0 a prefix: 1 to c, or a multiple of g up to N. Otherwise at least the tokens of
/// that level; those beyond are ignored.
/// @param level_size The level to decode, pixels per side; 0 decodes all tokens, at the size that
/// detailflow_model_get_prefix_size gives.
/// @param target Receives the pixels; its width and height are that size.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_decode(
    model: Shared<'_, detailflow_model>,
    tokens: In<'_, u32>,
    token_count: usize,
    level_size: u32,
    target: Out<'_, detailflow_image>,
) -> detailflow_status {
    with(model, |this, bundle| {
        let tokens = get_tokens(tokens, token_count, bundle)?;
        // Wrong sizes are an error before the work, not after.
        let size = if level_size == 0 {
            bundle.ladder().prefix(token_count).map(|prefix| prefix.size)
        } else {
            Some(this.model.level(level_size)?.size)
        };
        let target = target.target()?;
        if let Some(size) = size {
            target.fits(size)?;
        }
        let image =
            if level_size == 0 { this.model.decode(&tokens)? } else { this.model.decode_level(&tokens, level_size)? };
        target.write(&image)
    })
}

/// Computes how likely tokens are for a class, without sampling. Takes the steps that generating them would take,
/// without guidance.
///
/// @param class_index 0 to class_count - 1.
/// @param tokens A prefix: 1 to c, or a multiple of g up to N.
/// @param token_count Number of tokens.
/// @param values Receives for each token the natural logarithm of its probability, given the class and the tokens before
/// it, before guidance, temperature, top-k and top-p: see "Arrays" above.
/// @param capacity Values that fit at `values`.
/// @param count Receives the number of values, which is `token_count`.
/// @return WRONG_STATE when the model cannot generate.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_score(
    model: Shared<'_, detailflow_model>,
    class_index: u32,
    tokens: In<'_, u32>,
    token_count: usize,
    values: Out<'_, f32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    with(model, |this, bundle| {
        let (place, tokens) = (count.place("count")?, tokens.array(token_count, bundle.tokens(), "tokens")?);
        bundle.check_can_generate()?;
        bundle.check_class(class_index)?;
        this.model.check_prefix(&tokens)?;
        values.check_room(capacity, token_count, "values")?;
        // A query of the number runs nothing.
        if !values.is_null() {
            values.put_values(&tasks::score(&this.model, class_index, &tokens)?, capacity, "values")?;
        }
        place.set(token_count);
        Ok(())
    })
}

/// Measures the latency of steps and decodes, for predictions and for detailflow_generation_advance. The result is
/// written to the user's cache directory, where every process finds it that opens the same bundle with the same
/// precision, form, device, threads and versions of this library and of ONNX Runtime.
///
/// Takes as long as about ten images of each batch size.
///
/// @param batch_sizes Batch sizes to measure, each 1 to 4096, with and without guidance.
/// @param batch_size_count How many, 1 to 4096.
/// @return NOT_FOUND when the user has no cache directory; IO when it cannot be written. In both cases this process
/// knows what was measured.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_calibrate(
    model: Shared<'_, detailflow_model>,
    batch_sizes: In<'_, u32>,
    batch_size_count: usize,
) -> detailflow_status {
    /// They are all different, 1 to 4096.
    const MOST: usize = 4096;
    with(model, |this, _| {
        let batch_sizes = batch_sizes.array(batch_size_count, MOST, "batch_sizes")?;
        tasks::calibrate(&this.model, &batch_sizes, |_, _| {})?;
        Ok(())
    })
}

/// Predicts how long it takes to decode one image.
///
/// @param token_count A prefix: 1 to c, or a multiple of g up to N.
/// @param time_ns Receives nanoseconds; 0 when nothing was measured on this machine yet.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_predict_decode(
    model: Shared<'_, detailflow_model>,
    token_count: usize,
    time_ns: Out<'_, u64>,
) -> detailflow_status {
    with(model, |this, bundle| {
        let place = time_ns.place("time_ns")?;
        if bundle.ladder().prefix(token_count).is_none() {
            return Err(Failure::invalid(format!("{token_count} tokens are not a prefix")));
        }
        place.set(nanoseconds(this.model.predict_decode(1, token_count)));
        Ok(())
    })
}

/// As detailflow_model_encode_file; another thread can stop the reading of the file.
///
/// @param cancel Made by detailflow_cancel_new, or NULL. Looked at between rows of pixels, and before the encoder runs.
/// @return CANCELLED.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_encode_file_cancellable(
    model: Shared<'_, detailflow_model>,
    path: Text<'_>,
    cancel: Shared<'_, detailflow_cancel>,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    with(model, |this, _| encode_file(this, path, (0, cancel), tokens, capacity, count))
}

/// Encodes an image into tokens, and searches for tokens that decode to it with less error than those of the encoder.
///
/// The search tries other codes near those of the encoder, position by position, decodes them, and keeps what lowers the
/// error: the sum, over the levels, of the mean squared error relative to that of the tokens so far. The finest level counts a
/// third more than the others together. It takes up to 1, 3, 7 or 15 decodes of the image per token and round, in 1, 1, at most
/// 2 or at most 3 rounds. The coarser levels are decoded beside it: half as long again for 4 levels, several times as long for
/// models of many levels. The result does not depend on threads.
///
/// @param picture As for detailflow_model_encode.
/// @param effort 0: the encoder alone, as detailflow_model_encode. 1 to 4: see above.
/// @param cancel Made by detailflow_cancel_new, or NULL. Looked at before each position.
/// @param tokens Receives N tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens.
/// @return WRONG_STATE when the bundle holds no encoder, or one without a codebook that can be read; CANCELLED.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_encode_with_effort(
    model: Shared<'_, detailflow_model>,
    picture: In<'_, detailflow_image>,
    effort: u32,
    cancel: Shared<'_, detailflow_cancel>,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    with(model, |this, _| {
        let source = picture.source()?;
        let options = encode_options(effort, cancel)?.0;
        encode_with(this, || source.picture(), options, tokens, capacity, count)
    })
}

/// As detailflow_model_encode_with_effort, from a picture file.
///
/// @param path As for detailflow_model_encode_file.
/// @param cancel Made by detailflow_cancel_new, or NULL. Looked at between rows of pixels, and before each position.
/// @return Those of detailflow_model_encode_file and detailflow_model_encode_with_effort.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_encode_file_with_effort(
    model: Shared<'_, detailflow_model>,
    path: Text<'_>,
    effort: u32,
    cancel: Shared<'_, detailflow_cancel>,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    with(model, |this, _| encode_file(this, path, (effort, cancel), tokens, capacity, count))
}

/// Generates one image in one call, from nothing to pixels.
///
/// @param model NULL takes the default bundle (see detailflow_model_open) with default options; it is opened at the
/// first such call and stays open until the process ends.
/// @param class_name The name of a class, or its index in decimal.
/// @param seed The same seed gives the same image.
/// @param image Receives the pixels. Its width and height choose the level; the message of a failure lists the levels.
/// @param error May be NULL.
/// @return Those of detailflow_model_open and detailflow_generate.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generate_image(
    model: Shared<'_, detailflow_model>,
    class_name: Text<'_>,
    seed: u64,
    image: Out<'_, detailflow_image>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let model = model.optional()?.map(|this| &this.model);
        let (class, target) = (class_name.text("class_name")?, image.target()?);
        let level_size = target.side()?;
        if level_size == 0 {
            // To a request that is the finest level; here it is an image without pixels.
            return Err(Failure::invalid("detailflow_image is 0 x 0; its width and height choose the level"));
        }
        target.fits(level_size)?;
        target.write(&tasks::generate_image_at(model, class, seed, level_size)?)
    })
}

/// Tokens of the caller's, 1 to as many as an image of `bundle` has.
pub(super) fn get_tokens(tokens: In<'_, u32>, count: usize, bundle: &Bundle) -> Result<Vec<u32>, Failure> {
    if count == 0 || count > bundle.tokens() {
        return Err(Failure::invalid(format!(
            "{count} tokens are not a prefix of {}: it has {}",
            bundle.name(),
            bundle.tokens()
        )));
    }
    tokens.array(count, bundle.tokens(), "tokens")
}

/// Options of an effort, and the handle that cancels it.
fn encode_options(
    effort: u32,
    cancel: Shared<'_, detailflow_cancel>,
) -> Result<(EncodeOptions<'static>, Option<OpenCancel>), Failure> {
    let cancel = cancel.optional()?.map(detailflow_cancel::for_opening).transpose()?;
    let options = EncodeOptions::new().with_effort(effort);
    Ok((cancel.iter().cloned().fold(options, EncodeOptions::with_cancel), cancel))
}

/// Encodes a picture file with an effort; the handle, if any, also stops its reading.
fn encode_file(
    this: &detailflow_model,
    path: Text<'_>,
    (effort, cancel): (u32, Shared<'_, detailflow_cancel>),
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> Outcome {
    let path = path.path("path")?;
    let (options, cancel) = encode_options(effort, cancel)?;
    let stop = || cancel.as_ref().is_some_and(OpenCancel::is_cancelled);
    encode_with(this, || Ok(Picture::open_until(path, stop)?), options, tokens, capacity, count)
}

fn encode(
    this: &detailflow_model,
    picture: impl FnOnce() -> Result<Picture, Failure>,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> Outcome {
    encode_with(this, picture, EncodeOptions::new(), tokens, capacity, count)
}

fn encode_with(
    this: &detailflow_model,
    picture: impl FnOnce() -> Result<Picture, Failure>,
    options: EncodeOptions<'_>,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> Outcome {
    options.check()?;
    let place = count.place("count")?;
    let number = this.model.bundle().tokens();
    tokens.check_room(capacity, number, "tokens")?;
    // A query of the number runs nothing.
    if !tokens.is_null() {
        tokens.put_values(&this.model.encode_with(&picture()?, options)?, capacity, "tokens")?;
    }
    place.set(number);
    Ok(())
}

/// Runs `body` with the model and its bundle.
pub(super) fn with(
    model: Shared<'_, detailflow_model>,
    body: impl FnOnce(&detailflow_model, &Bundle) -> Outcome,
) -> detailflow_status {
    on(model, |this| body(this, this.model.bundle()))
}
