//! Token files: one sequence in memory.

use std::ffi::{c_char, c_void};

use super::call::{call, on};
use super::error::detailflow_error;
use super::family::family;
use super::model::detailflow_model;
use super::param::{In, Out, Shared};
use super::plain::Plain;
use super::request::{copy_of, detailflow_request};
use super::status::detailflow_status;
use crate::tasks;
use crate::tokens::{Damage, Dft, Geometry, Soundness, TokenFileKind, kind};

/// The class of an image that has none, because it was encoded; in a list of classes the unconditional one.
pub const DETAILFLOW_NO_CLASS: u32 = u32::MAX;

/// What is wrong with a token file.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_damage {
    /// Nothing: it is as it was written.
    DETAILFLOW_DAMAGE_NONE = 0,
    /// It ends before its last group does.
    DETAILFLOW_DAMAGE_CUT = 1,
    /// A group is not as it was written.
    DETAILFLOW_DAMAGE_GROUP = 2,
    /// All tokens are intact, and foreign bytes follow.
    DETAILFLOW_DAMAGE_SURPLUS = 3,
}

family!(detailflow_damage:
    DETAILFLOW_DAMAGE_NONE, DETAILFLOW_DAMAGE_CUT, DETAILFLOW_DAMAGE_GROUP, DETAILFLOW_DAMAGE_SURPLUS);

/// Kinds of files that hold tokens.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_tokens_kind {
    /// None of these.
    DETAILFLOW_TOKENS_KIND_NONE = 0,
    /// A token file (.dft): one sequence.
    DETAILFLOW_TOKENS_KIND_DFT = 1,
    /// A pack of token files (.dftpack).
    DETAILFLOW_TOKENS_KIND_PACK = 2,
    /// A JSON file of sequences, as the dflow command writes.
    DETAILFLOW_TOKENS_KIND_JSON = 3,
}

family!(detailflow_tokens_kind:
    DETAILFLOW_TOKENS_KIND_NONE, DETAILFLOW_TOKENS_KIND_DFT, DETAILFLOW_TOKENS_KIND_PACK, DETAILFLOW_TOKENS_KIND_JSON);

/// What a token file (.dft) says, and how many of its tokens are intact.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_dft_info {
    /// sizeof(detailflow_dft_info).
    pub struct_size: u32,
    /// One of DETAILFLOW_DAMAGE_*.
    pub damage: u32,
    /// Tokens that are intact: a prefix, so that they decode. 0 when the first group is damaged.
    pub intact_count: u32,
    /// Tokens that it was written with.
    pub written_count: u32,
    /// Tokens of the full image of its model (N).
    pub token_count: u32,
    /// Tokens of a group (g).
    pub group_size: u32,
    /// Tokens of the causal part (c).
    pub causal_count: u32,
    /// Bits of one token.
    pub bits_per_token: u32,
    /// The class that it was generated for, of several that of the largest weight at the first token; DETAILFLOW_NO_CLASS when
    /// it has none.
    pub class_index: u32,
    /// 1 when it has the seed that it was generated from.
    pub has_seed: u32,
    /// That seed; 0 when it has none.
    pub seed: u64,
    /// The tokenizer that its tokens belong to: 16 hexadecimal digits as in detailflow_model_info, and zeros.
    pub tokenizer_id: [c_char; 24],
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_dft_info {
    const NAME: &'static str = "detailflow_dft_info";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

impl detailflow_dft_info {
    pub(super) fn new(dft: &Dft, soundness: Soundness) -> Self {
        let Geometry { tokens, group, causal, bits } = dft.geometry;
        let mut tokenizer_id = [0; 24];
        for (place, byte) in tokenizer_id.iter_mut().zip(dft.tokenizer.to_string().bytes()) {
            *place = byte as c_char;
        }
        let damage = match soundness.damage {
            None => DETAILFLOW_DAMAGE_NONE,
            Some(Damage::Cut { .. }) => DETAILFLOW_DAMAGE_CUT,
            Some(Damage::Group { .. }) => DETAILFLOW_DAMAGE_GROUP,
            Some(Damage::Surplus { .. }) => DETAILFLOW_DAMAGE_SURPLUS,
        };
        Self {
            struct_size: 0,
            damage: damage as u32,
            intact_count: soundness.sound as u32,
            written_count: soundness.promised as u32,
            token_count: tokens as u32,
            group_size: group as u32,
            causal_count: causal as u32,
            bits_per_token: bits,
            class_index: dft.class.unwrap_or(DETAILFLOW_NO_CLASS),
            has_seed: dft.seed.is_some().into(),
            seed: dft.seed.unwrap_or(0),
            tokenizer_id,
        }
    }
}

/// Encodes tokens as a token file (.dft) in memory. 128 tokens of 13 bits in groups of 8 take 272 bytes.
///
/// @param tokens A prefix: 1 to c, or a multiple of g up to N.
/// @param token_count Number of tokens.
/// @param class_index The class that they were generated for, or DETAILFLOW_NO_CLASS.
/// @param seed The seed that they were generated from; may be NULL.
/// @param data Receives the file: see "Arrays" above.
/// @param capacity Bytes at `data`.
/// @param size Receives the number of bytes.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_dft_encode(
    model: Shared<'_, detailflow_model>,
    tokens: In<'_, u32>,
    token_count: usize,
    class_index: u32,
    seed: In<'_, u64>,
    data: Out<'_, c_void>,
    capacity: usize,
    size: Out<'_, usize>,
) -> detailflow_status {
    on(model, |this| {
        let tokens = tokens.array(token_count, this.model.bundle().tokens(), "tokens")?;
        let class = (class_index != DETAILFLOW_NO_CLASS).then_some(class_index);
        let bytes = this.model.bundle().dft(class, seed.optional(), tokens)?.encode()?;
        data.put_bytes(&bytes, capacity, size, ["data", "size"])
    })
}

/// Gets what a token file says. A file that is cut or damaged is not an error: the info gives the number of tokens that
/// are intact. No cut and no changed byte turns a token into another one unnoticed.
///
/// @param data The file.
/// @param size Bytes at `data`.
/// @param info Filled; its struct_size is set.
/// @param error May be NULL.
/// @return BAD_FORMAT when it is no token file, has another version, or its header is damaged.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_dft_get_info(
    data: In<'_, c_void>,
    size: usize,
    info: Out<'_, detailflow_dft_info>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let (dft, soundness) = Dft::decode(data.bytes(size, "data")?)?;
        info.structure()?.write(detailflow_dft_info::new(&dft, soundness))
    })
}

/// Gets the intact tokens of a token file.
///
/// @param data The file.
/// @param size Bytes at `data`.
/// @param tokens Receives the tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens: detailflow_dft_info.intact_count.
/// @param error May be NULL.
/// @return BAD_FORMAT as detailflow_dft_get_info.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_dft_get_tokens(
    data: In<'_, c_void>,
    size: usize,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let (dft, _) = Dft::decode(data.bytes(size, "data")?)?;
        tokens.put(&dft.tokens, capacity, count, ["tokens", "count"])
    })
}

/// Checks whether the tokens of a token file belong to a model: same tokenizer, same groups and bits, and its class and
/// intact tokens exist.
///
/// @param data The file.
/// @param size Bytes at `data`.
/// @return INVALID_ARGUMENT when not, and the message names both; BAD_FORMAT as detailflow_dft_get_info.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_dft_check(
    model: Shared<'_, detailflow_model>,
    data: In<'_, c_void>,
    size: usize,
) -> detailflow_status {
    on(model, |this| {
        let (dft, _) = Dft::decode(data.bytes(size, "data")?)?;
        Ok(this.model.bundle().check_dft(&dft)?)
    })
}

/// Generates the tokens that a token file lost, after those that are intact, in one call. With its own seed, model and
/// settings the result is what the file was. To step or cancel, or for another seed: detailflow_request_set_prefix and
/// detailflow_generation_new.
///
/// @param request Says how to sample, and gives class or classes and seed (of its first image) where the file has none.
/// @param data The file.
/// @param size Bytes at `data`.
/// @param token_count Tokens of the result, a prefix; 0 is as many as it was written with.
/// @param target Receives the new file; may be `data`. NULL with `capacity` 0 gets the size only, and generates nothing.
/// @param capacity Bytes at `target`.
/// @param target_size Receives the number of bytes.
/// @return Those of detailflow_dft_check and detailflow_generate.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_dft_repair(
    request: Shared<'_, detailflow_request>,
    data: In<'_, c_void>,
    size: usize,
    token_count: usize,
    target: Out<'_, c_void>,
    capacity: usize,
    target_size: Out<'_, usize>,
) -> detailflow_status {
    on(request, |request| {
        let (dft, soundness) = Dft::decode(data.bytes(size, "data")?)?;
        let count = if token_count == 0 { soundness.promised } else { token_count };
        // A query of the size runs nothing, and too little room is an error before the work.
        let sampling = copy_of(request)?;
        let bytes = dft.geometry.is_prefix(count).then(|| tasks::repaired_size(&sampling, &dft, count));
        if let Some(bytes) = bytes {
            target.check_bytes(capacity, bytes, "target")?;
            if target.has_no_bytes() {
                target_size.place("target_size")?.set(bytes);
                return Ok(());
            }
        }
        let repaired = tasks::repair(&sampling, &dft, count)?.encode()?;
        target.put_bytes(&repaired, capacity, target_size, ["target", "target_size"])
    })
}

/// Gets the kind of a file that holds tokens, from its first bytes.
///
/// @param data The file, or at least its first 8 bytes.
/// @param size Bytes at `data`.
/// @param tokens_kind Receives one of DETAILFLOW_TOKENS_KIND_*.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_tokens_get_kind(
    data: In<'_, c_void>,
    size: usize,
    tokens_kind: Out<'_, u32>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let (data, place) = (data.bytes(size, "data")?, tokens_kind.place("tokens_kind")?);
        let found = match kind(data) {
            None => DETAILFLOW_TOKENS_KIND_NONE,
            Some(TokenFileKind::Dft) => DETAILFLOW_TOKENS_KIND_DFT,
            Some(TokenFileKind::Pack) => DETAILFLOW_TOKENS_KIND_PACK,
            Some(TokenFileKind::Json) => DETAILFLOW_TOKENS_KIND_JSON,
        };
        place.set(found as u32);
        Ok(())
    })
}
