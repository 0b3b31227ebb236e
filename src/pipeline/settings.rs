//! What a job says beside its rows: files, atlases, selection, the page. A job file has a table for each.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::output::{AlphaMode, Compression};
use super::select::SelectSettings;
use crate::pixels::Finish;

/// How pictures become files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Name pattern of the files of every row that has no `output` of its own, below the output folder. Fields: `{class}`,
    /// `{seed}`, `{level}`, `{row}`, `{number}`, `{tag}` (the first tag); numbers take a width, `{seed:06}`; `{{` is a brace.
    /// The extension chooses the format: png, webp, qoi, tga, bmp, jpg, tiff, exr, dds, ktx2. Default:
    /// `{class}/{seed:06}.png`, or `{class}/{seed:06}_{level}.png` where a row writes several levels; `{class}-mix{row}` in place of
    /// `{class}` where it mixes or avoids classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether colours in files are multiplied by alpha. Default: straight.
    pub alpha: AlphaMode,
    /// Whether dds and ktx2 files have the whole mip chain. Default: false.
    pub mips: bool,
    /// Compression of dds and ktx2 files. Default: none.
    pub compression: Compression,
    /// Whole factor by which pictures are enlarged, each pixel repeated. Default: 1.
    #[schemars(range(min = 1, max = 16))]
    pub scale: u32,
    /// Where the settings and tokens of each picture are recorded. Default: embedded.
    pub provenance: ProvenanceMode,
    /// How token sequences are kept. Default: pack.
    pub tokens: TokenOutput,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            name: None,
            alpha: AlphaMode::default(),
            mips: false,
            compression: Compression::default(),
            scale: 1,
            provenance: ProvenanceMode::default(),
            tokens: TokenOutput::default(),
        }
    }
}

/// Where the record of a picture goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProvenanceMode {
    /// Text chunks of PNG files; other formats have none.
    #[default]
    Embedded,
    /// A file NAME.json beside each picture.
    Sidecar,
    /// Nowhere.
    None,
}

/// How token sequences are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenOutput {
    /// All in one file, tokens.dftpack in the output folder.
    #[default]
    Pack,
    /// A .dft file beside each picture.
    Files,
    /// Nowhere.
    None,
}

/// Texture atlases of all pictures that are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Atlas {
    /// Pixels per side of the largest page. Default: 2048.
    #[schemars(range(min = 16, max = 8192))]
    pub size: u32,
    /// Empty pixels between sprites, beyond their extruded edges. Default: 2.
    #[schemars(range(max = 256))]
    pub padding: u32,
    /// Pixels by which the edge of each sprite is repeated outwards, so that filtering does not bleed. Default: 1.
    #[schemars(range(max = 8))]
    pub extrude: u32,
    /// Whether the sides of pages are powers of two. Default: true.
    pub power_of_two: bool,
    /// The layouts that are written. Default: texturepacker alone.
    #[schemars(length(min = 1))]
    pub formats: Vec<AtlasFormat>,
    /// Level whose pictures go into the atlas, in pixels per side; no row may stop before it. Default: the finest of each
    /// row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// Pivot of every sprite, as shares of width and height from the top left corner; passed through. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pivot: Option<[f32; 2]>,
    /// Borders of every sprite that stay unscaled: left, top, right, bottom, in pixels; passed through. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nine_slice: Option<[u32; 4]>,
}

impl Default for Atlas {
    fn default() -> Self {
        Self {
            size: 2048,
            padding: 2,
            extrude: 1,
            power_of_two: true,
            formats: vec![AtlasFormat::Texturepacker],
            level: None,
            pivot: None,
            nine_slice: None,
        }
    }
}

/// A description of an atlas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AtlasFormat {
    /// JSON as TexturePacker writes it.
    Texturepacker,
    /// A Lua table for LÖVE.
    Love,
    /// JSON of several pages for Phaser.
    Phaser,
    /// Resources for Godot.
    Godot,
}

/// The page to look through the pictures, OUT/index.html.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// Its title. Default: the name of the job file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// How pictures are finished into pixel art, one by one: alpha cut, stray pixels, colours, outline, repetition. Each field that is
/// there replaces that of the bundle. Selection looks at pictures as they were before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FinishFields {
    /// Pixels whose alpha is at least this, 1 to 255, become opaque, others transparent; 0 keeps alpha. Default: that of the
    /// bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha_cut: Option<u8>,
    /// The most colours of a picture, 2 to 256; 0 for any number. Default: that of the bundle, or any number with a palette.
    #[schemars(range(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colors: Option<u32>,
    /// The only colours of pictures: a palette file (PNG, .gpl, .hex), relative to the job file, or a list of 1 to 256 colours
    /// "#rrggbb". Default: that of the bundle, or any colours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub palette: Option<PaletteField>,
    /// Whether ordered dithering is used where colours are reduced. Default: as the bundle says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dither: Option<bool>,
    /// The colour "#rrggbb" of an outline of one pixel around what is visible. Default: that of the bundle, or no outline.
    #[schemars(regex(pattern = r"^#?[0-9a-fA-F]{6}$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outline: Option<String>,
    /// Whether visible pixels that stand alone are removed and holes of one pixel filled. Default: as the bundle says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub despeckle: Option<bool>,
    /// Whether opaque pictures are made to repeat without a visible seam. Default: as the bundle says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tile: Option<bool>,
}

/// A palette of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it must be the path of a palette file, or a list of colours \"#rrggbb\"")]
pub enum PaletteField {
    /// A palette file: PNG, .gpl or .hex.
    File(PathBuf),
    /// These colours.
    Colors(#[schemars(length(min = 1))] Vec<String>),
}

/// Everything that a checked job says beside its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How pictures become files.
    pub output: Output,
    /// Atlases; `None` for none.
    pub atlas: Option<Atlas>,
    /// Selection in rows that have none of their own; a checked row says what holds for it.
    pub select: Option<SelectSettings>,
    /// The page; `None` for none.
    pub page: Option<Page>,
    /// How pictures are finished.
    pub finish: Finish,
}

impl Settings {
    /// How token sequences are kept.
    #[must_use]
    pub fn tokens(&self) -> TokenOutput {
        self.output.tokens
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            output: Output::default(),
            atlas: None,
            select: None,
            page: Some(Page::default()),
            finish: Finish::default(),
        }
    }
}
