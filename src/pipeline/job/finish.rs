//! The finishing of a job: what it says, over what the bundle says.

use super::resolve::Wrongs;
use super::start::Files;
use super::types::FinishChoice;
use crate::bundle::Bundle;
use crate::pipeline::settings::{FinishFields, PaletteField};
use crate::pixels::Finish;
use crate::pixels::finish::{Color, FinishOverrides, Palette};
use crate::support::error::Result;

/// How pictures are finished, and what is wrong with it.
pub(super) fn resolve(choice: &FinishChoice, bundle: &Bundle, files: &Files) -> (Finish, Wrongs) {
    let fields = match choice {
        FinishChoice::On(true) => return (bundle.finish().clone(), Wrongs::new()),
        FinishChoice::On(false) => return (Finish::default(), Wrongs::new()),
        FinishChoice::With(fields) => fields,
    };
    let mut wrongs = Wrongs::new();
    let FinishFields { alpha_cut, colors, palette, dither, outline, despeckle, tile } = fields;
    let mut overrides = FinishOverrides {
        alpha_cut: *alpha_cut,
        colors: *colors,
        dither: *dither,
        despeckle: *despeckle,
        tile: *tile,
        ..FinishOverrides::default()
    };
    let mut wrong = |field: &str, text: String| wrongs.push((format!("finish.{field}"), text));
    match palette.as_ref().map(|palette| read(palette, files)) {
        Some(Ok(palette)) => overrides.palette = Some(palette),
        Some(Err(error)) => wrong("palette", error.to_string()),
        None => {}
    }
    match outline.as_ref().map(|outline| outline.parse()) {
        Some(Ok(color)) => overrides.outline = Some(color),
        Some(Err(error)) => {
            let error: crate::Error = error;
            wrong("outline", error.to_string());
        }
        None => {}
    }
    if let Some(count) = colors.filter(|count| *count == 1 || *count > 256) {
        wrong("colors", format!("{count} is out of range; allowed are 0, or 2 to 256"));
        overrides.colors = None;
    }
    let finish = overrides.over(bundle.finish()).unwrap_or_else(|error| {
        wrong("dither", error.to_string());
        Finish::default()
    });
    (finish, wrongs)
}

fn read(palette: &PaletteField, files: &Files) -> Result<Palette> {
    match palette {
        PaletteField::File(path) => Palette::open(files.path(path)),
        PaletteField::Colors(colors) => {
            Palette::new(colors.iter().map(|color| color.parse()).collect::<Result<Vec<Color>>>()?)
        }
    }
}
