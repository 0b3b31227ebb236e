//! Which variant of a bundle a model runs.

use super::{ModelOptions, Precision};
use crate::bundle::{Bundle, KeyKind, Variant};
use crate::kernels::kv::KvLayout;
use crate::plan::KvShape;
use crate::runtime::{self, Device, Element, Form, Suitability};
use crate::support::error::{Error, Result};

/// The shape of the KV cache of one batch row.
pub(super) fn key_shape(bundle: &Bundle, variant: &Variant) -> KvShape {
    let layers = bundle.layers;
    let heads = if form_of(variant) == Form::Mha { layers.heads } else { layers.kv_heads };
    let half = kv_element(variant) == Element::Float16;
    KvShape {
        layers: layers.layers,
        heads,
        positions: bundle.tokens,
        head_width: layers.head_width,
        half,
        alignment: if form_of(variant) == Form::Native { KvLayout::ALIGNMENT } else { 1 },
    }
}

/// Element type of the KV cache.
pub(super) fn kv_element(variant: &Variant) -> Element {
    match variant.keys {
        KeyKind::Fp32 => Element::Float32,
        KeyKind::Fp16 => Element::Float16,
    }
}

/// The form of a variant that [`choose`] takes.
pub(super) fn form_of(variant: &Variant) -> Form {
    variant.form.parse().unwrap_or(Form::Plain)
}

/// The most suitable variant, the first of equals, that this ONNX Runtime is new enough for; the error lists the variants.
/// A precision or form that the caller asked for may also be one for other devices.
pub(super) fn choose<'a>(
    bundle: &'a Bundle,
    options: &ModelOptions,
    device: &Device,
    library: &runtime::Library,
) -> Result<&'a Variant> {
    let named = options.form.is_some() || options.precision.is_some();
    let wanted = |variant: &&Variant| {
        options.precision.as_ref().is_none_or(|precision| precision.name() == variant.precision)
            && options.form.is_none_or(|form| form.name() == variant.form)
            && match variant.form.parse() {
                Ok(form) => device.allows(form, options.form.is_some()),
                Err(_) => false,
            }
            && (named || device.suitability(&variant.devices) < Suitability::Other)
    };
    let version = runtime::major_minor(&library.version);
    let mut suitable: Vec<&Variant> = bundle.variants().iter().filter(wanted).collect();
    suitable
        .sort_by_key(|variant| (device.suitability(&variant.devices), device.rank(&variant.precision, &variant.form)));
    let first = suitable.first().copied();
    let mut suitable = suitable.into_iter();
    if let Some(variant) = suitable.find(|variant| version >= runtime::major_minor(&variant.min_runtime)) {
        return Ok(variant);
    }
    let place = bundle.path().display();
    if let Some(Variant { precision, form, min_runtime, .. }) = first {
        let (path, version) = (library.path.display(), &library.version);
        return Err(Error::Runtime(format!(
            "{place}: variant {precision} {form} needs ONNX Runtime {min_runtime}, {path} is {version}"
        )));
    }
    let there: Vec<String> = bundle.variants().iter().map(|v| format!("{} {}", v.precision, v.form)).collect();
    Err(Error::Invalid(format!(
        "{place} has no variant of precision {} and form {} for {device}; it has: {}",
        options.precision.as_ref().map_or("any", Precision::name),
        options.form.map_or("any", Form::name),
        there.join(", ")
    )))
}
