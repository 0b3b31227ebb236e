//! Which variant of a bundle a model runs.

use super::{ModelOptions, Precision, signature};
use crate::bundle::{Bundle, Variant};
use crate::kernels::Isa;
use crate::plan::KvShape;
use crate::runtime::{self, Device, Element, Form};
use crate::support::error::{Error, Result};

/// The shape of the KV cache of one batch row.
pub(super) fn key_shape(bundle: &Bundle, variant: &Variant) -> KvShape {
    let layers = bundle.layers;
    let heads = if form_of(variant) == Form::Mha { layers.heads } else { layers.kv_heads };
    let half = signature::kv_element(variant) == Element::Float16;
    KvShape {
        layers: layers.layers,
        heads,
        positions: bundle.tokens,
        head_width: layers.head_width,
        half,
        own: form_of(variant) == Form::Native,
    }
}

/// The form of a variant that [`choose`] takes.
pub(super) fn form_of(variant: &Variant) -> Form {
    variant.form.parse().unwrap_or(Form::Plain)
}

/// How badly a variant suits a device: 0 when the variant names it (on the CPU also when it is for any device), 1 when the
/// variant is for any device, 2 when it is for others. The manifest lists the first words of devices: `cuda` is any card;
/// `*` is every device that runs standard operators.
fn misfit(variant: &Variant, device: &Device) -> u8 {
    let named = |name: &str| variant.devices.iter().any(|other| other == name);
    match (named(device.family()), named("*")) {
        (true, _) => 0,
        (false, true) => u8::from(*device != Device::Cpu),
        (false, false) => 2,
    }
}

/// The order of precisions that suit a device equally. Other devices than the CPU prefer floats, because integer GEMMs are
/// rarely available there and fall back to the CPU; and of those fp16, which is faster there.
fn burden(variant: &Variant, device: &Device) -> (u8, bool) {
    let precision = match variant.precision.as_str() {
        _ if *device == Device::Cpu => return (0, false),
        "fp16" => 0,
        precision if precision.starts_with("fp") => 1,
        _ => 2,
    };
    // Form `fixed` keeps the KV cache on the device.
    (precision, variant.form != "fixed")
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
                // Our own operators are for the CPU.
                Ok(Form::Native) => options.form.is_some() || (*device == Device::Cpu && is_fast(variant)),
                // A provider without memory of its own does not promise to write in place (seen: wrong logits on OpenVINO's
                // CPU). Not tested with TensorRT, DirectML and MIGraphX: only on request.
                Ok(Form::Fixed) if matches!(device.family(), "tensorrt" | "directml" | "migraphx") => {
                    options.form.is_some()
                }
                Ok(Form::Fixed) => *device == Device::Cpu || runtime::has_memory(device),
                Ok(Form::Mha | Form::Plain) => true,
                Err(_) => false,
            }
            && (named || misfit(variant, device) < 2)
    };
    let version = runtime::major_minor(&library.version);
    let mut suitable: Vec<&Variant> = bundle.variants().iter().filter(wanted).collect();
    suitable.sort_by_key(|variant| (misfit(variant, device), burden(variant, device)));
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

/// Whether our own operators are faster on this CPU than ONNX Runtime's: int8 GEMMs in portable code are not.
fn is_fast(variant: &Variant) -> bool {
    !matches!(variant.precision.as_str(), "int8" | "int4") || Isa::here() != Isa::Portable
}
