//! Checks the settings of atlases.

use super::resolve::Wrongs;
use crate::bundle::Bundle;
use crate::pipeline::atlas::{LARGEST_EXTRUSION, LARGEST_PADDING, PAGE_SIZES};
use crate::pipeline::settings::Atlas;

/// Fields that are out of range.
pub(super) fn check(atlas: &Atlas, bundle: &Bundle) -> Wrongs {
    let mut wrongs = Wrongs::new();
    let mut wrong = |field: &str, text: String| wrongs.push((format!("atlas.{field}"), text));
    if !PAGE_SIZES.contains(&atlas.size) {
        let (least, most) = (PAGE_SIZES.start(), PAGE_SIZES.end());
        wrong("size", format!("{} is out of range; allowed are {least} to {most}", atlas.size));
    }
    if atlas.power_of_two && !atlas.size.is_power_of_two() {
        wrong("size", format!("{} is not a power of two; allowed is one, or power_of_two = false", atlas.size));
    }
    let limits = [("padding", atlas.padding, LARGEST_PADDING), ("extrude", atlas.extrude, LARGEST_EXTRUSION)];
    for (name, value, most) in limits {
        if value > most {
            wrong(name, format!("{value} is out of range; allowed are 0 to {most}"));
        }
    }
    if atlas.formats.is_empty() {
        wrong("formats", "no format is listed; allowed are texturepacker, love, phaser and godot".into());
    }
    for (at, format) in atlas.formats.iter().enumerate() {
        if atlas.formats[..at].contains(format) {
            wrong("formats", "a format is listed twice".into());
            break;
        }
    }
    if let Some(size) = atlas.level
        && let Err(error) = bundle.ladder().level_or_error(size)
    {
        wrong("level", error.to_string());
    }
    if let Some([x, y]) = atlas.pivot
        && !((0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y))
    {
        wrong("pivot", format!("[{x}, {y}] is out of range; allowed are shares of 0 to 1"));
    }
    let side = u64::from(atlas.level.unwrap_or(bundle.size()));
    if let Some([left, top, right, bottom]) = atlas.nine_slice
        && (u64::from(left) + u64::from(right) > side || u64::from(top) + u64::from(bottom) > side)
    {
        wrong("nine_slice", format!("the borders are wider than the sprite of {side} px"));
    }
    wrongs
}
