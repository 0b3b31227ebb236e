//! The signatures that the graphs of a bundle must have.

use super::variant::{form_of, kv_element};
use crate::bundle::{Bundle, Variant};
use crate::runtime::{Dim, Form, Port};

/// Inputs and outputs of the autoregressive graph.
pub(super) fn ar_ports(bundle: &Bundle, variant: &Variant) -> (Vec<Port>, Vec<Port>) {
    use Dim::{Free, Is};
    let (layers, form) = (bundle.layers, form_of(variant));
    if form == Form::Native {
        let inputs = vec![Port::ids("ids", &[Free]), Port::ids("at", &[Free, Is(3)])];
        return (inputs, vec![Port::floats("logits", &[Free, Is(bundle.codes)])]);
    }
    let mut inputs = vec![Port::ids("ids", &[Free, Free])];
    if form == Form::Fixed {
        inputs.extend([Port::ids("places", &[Free, Free]), Port::ids("slots", &[Free, Is(1)])]);
    } else {
        inputs.push(Port::ids("start", &[Is(1)]));
    }
    let mut outputs = vec![Port::floats("logits", &[Free, Free, Is(bundle.codes)])];
    let kept = match form {
        Form::Mha => vec![Free, Is(layers.heads), Is(bundle.tokens), Is(layers.head_width)],
        Form::Fixed => vec![Free, Is(layers.head_width)],
        _ => vec![Free, Is(layers.kv_heads), Free, Is(layers.head_width)],
    };
    for kind in ["key", "value"] {
        for layer in 0..layers.layers {
            let port = |time: &str| Port {
                element: kv_element(variant),
                ..Port::floats(format!("{time}_{kind}_{layer}"), &kept)
            };
            inputs.push(port("past"));
            outputs.push(port("present"));
        }
    }
    (inputs, outputs)
}

/// Inputs and outputs of the decoder.
pub(super) fn decoder_ports(bundle: &Bundle) -> (Vec<Port>, Vec<Port>) {
    use Dim::{Free, Is};
    let inputs = vec![Port::ids("ids", &[Free, Free]), Port::ids("size", &[Is(1)])];
    (inputs, vec![Port::floats("pixels", &[Free, Is(bundle.channels), Free, Free])])
}

/// Inputs and outputs of the encoder.
pub(super) fn encoder_ports(bundle: &Bundle) -> (Vec<Port>, Vec<Port>) {
    use Dim::{Any, Free, Is};
    let side = Is(bundle.size as usize);
    let inputs = vec![Port::floats("image", &[Free, Is(bundle.channels), side, side])];
    // The width of the latents is the tokenizer's own.
    (
        inputs,
        vec![Port::ids("ids", &[Free, Is(bundle.tokens)]), Port::floats("latents", &[Free, Is(bundle.tokens), Any])],
    )
}
