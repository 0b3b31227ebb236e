//! Where a picture came from: everything that it takes to make it again, written into PNG files, or into a JSON file beside
//! files of other formats. `onnx/TOKENS.md` specifies both.
//!
//! A record is a [`Head`], which is known before anything is drawn, and the tokens. The text of the head depends on the head
//! alone, so that other programs can write the same files.

use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::output::{AlphaMode, Compression, OutputFormat, OutputOptions};
use super::png_text::{PngText, is_png, text, with_texts};
use crate::VERSION;
use crate::bundle::Bundle;
use crate::generation::request::ImageRequest;
use crate::model::Model;
use crate::pixels::Finish;
use crate::plan::{Curve, Guidance, Mix};
use crate::sample::SamplingCurves;
use crate::support::error::{Error, Result};
use crate::support::files::{read, read_start};
use crate::support::json::parse;
use crate::tokens::{TokenFileKind, kind};

const FORMAT: u32 = 1;
/// Keyword of the chunk with the head.
const HEAD: &str = "detailflow";
/// Keyword of the chunk with the tokens.
const TOKENS: &str = "detailflow-tokens";
/// How many first bytes tell what a file is.
const START: u64 = 64;
/// A larger picture file is not searched for a record.
const LARGEST_PICTURE: u64 = 1 << 30;
/// A larger sidecar is refused: a record has as many tokens as a picture.
const LARGEST_SIDECAR: u64 = 1 << 20;
/// Memory that parsing takes, in lengths of the text.
const GROWTH: usize = 80;

/// What a picture was made from, but for its tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The format of the record: 1.
    pub format: u32,
    /// The version of this library.
    pub library: String,
    /// The name of the bundle.
    pub bundle: String,
    /// The SHA-256 of the bundle's manifest: [`Bundle::manifest_sha256`](crate::Bundle::manifest_sha256).
    pub manifest: String,
    /// The ID of the tokenizer, 16 hex digits.
    pub tokenizer: String,
    /// The licence of the weights.
    pub license: String,
    /// The precision of the weights.
    pub precision: String,
    /// The attention form.
    pub form: String,
    /// The device.
    pub device: String,
    /// The name of the class.
    pub class: String,
    /// The index of the class.
    pub class_index: u32,
    /// The classes with their weights, of a picture of several, as [`Bundle::mix`](crate::Bundle::mix) takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<String>,
    /// The classes to avoid with their strengths, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avoid: Option<String>,
    /// The seed.
    pub seed: u64,
    /// The guidance scale.
    #[serde(with = "curve")]
    pub guidance: Curve,
    /// Whether guidance falls linearly over the groups.
    pub gradual: bool,
    /// The temperature.
    #[serde(with = "curve")]
    pub temperature: Curve,
    /// Top-k.
    #[serde(with = "curve")]
    pub top_k: Curve,
    /// Top-p.
    #[serde(with = "curve")]
    pub top_p: Curve,
    /// The level, in pixels per side before upscaling.
    pub level: u32,
    /// How many of the tokens were given, not sampled from the seed: those that a variation or a re-detailed picture keeps.
    pub kept: u32,
    /// How the picture was finished, a palette by its colours; `None`: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// How the file was written.
    pub output: Written,
}

/// How a file was written: its format and [`OutputOptions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The file format, as its extension.
    pub format: OutputFormat,
    /// See [`OutputOptions::alpha`].
    pub alpha: AlphaMode,
    /// See [`OutputOptions::mips`].
    pub mips: bool,
    /// See [`OutputOptions::compression`].
    pub compression: Compression,
    /// See [`OutputOptions::scale`].
    pub scale: u32,
}

impl Written {
    /// A file of `format`, written with `options`.
    #[must_use]
    pub fn new(format: OutputFormat, options: &OutputOptions) -> Self {
        let OutputOptions { alpha, mips, compression, scale } = *options;
        Self { format, alpha, mips, compression, scale }
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> OutputOptions {
        let Self { alpha, mips, compression, scale, .. } = *self;
        OutputOptions { alpha, mips, compression, scale }
    }
}

/// A curve in its text form.
mod curve {
    use super::{Curve, Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(curve: &Curve, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(curve)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Curve, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Head {
    /// The head of a picture of `model` at its finest level, in a PNG file with default options; the other fields can be set.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the model has no such class.
    pub fn new(model: &Model, image: ImageRequest, guidance: &Guidance, sampling: &SamplingCurves) -> Result<Self> {
        let (bundle, variant) = (model.bundle(), model.variant());
        bundle.check_class(image.class)?;
        let png = OutputFormat::Picture(crate::pixels::FileFormat::Png);
        Ok(Self {
            format: FORMAT,
            library: VERSION.into(),
            bundle: bundle.name().into(),
            manifest: bundle.manifest_sha256().into(),
            tokenizer: bundle.tokenizer_id().into(),
            license: bundle.license().into(),
            precision: variant.precision.clone(),
            form: variant.form.clone(),
            device: model.device().to_string(),
            class: bundle.classes()[image.class as usize].clone(),
            class_index: image.class,
            mix: None,
            avoid: None,
            seed: image.seed,
            guidance: guidance.scale.clone(),
            gradual: guidance.gradual,
            temperature: sampling.temperature.clone(),
            top_k: sampling.top_k.clone(),
            top_p: sampling.top_p.clone(),
            level: bundle.size(),
            kept: 0,
            finish: None,
            output: Written::new(png, &OutputOptions::default()),
        })
    }

    /// Sets the mix of the picture; `None` for a picture of one class that avoids none.
    pub fn set_mix(&mut self, bundle: &Bundle, mix: Option<&Mix>) {
        (self.mix, self.avoid) = (None, None);
        if let Some(mix) = mix {
            let (classes, avoid) = bundle.mix_text(mix);
            self.mix = (mix.classes().len() > 1).then_some(classes);
            self.avoid = Some(avoid).filter(|avoid| !avoid.is_empty());
        }
    }

    /// The mix of the picture, of classes of `bundle`; `None` for a picture of one class that avoids none.
    ///
    /// # Errors
    /// Those of [`Bundle::mix`].
    pub fn read_mix(&self, bundle: &Bundle) -> Result<Option<Mix>> {
        if self.mix.is_none() && self.avoid.is_none() {
            return Ok(None);
        }
        let classes = self.mix.as_deref().unwrap_or(&self.class);
        Ok(Some(bundle.mix(classes, self.avoid.as_deref().unwrap_or_default())?).filter(|mix| mix.as_class().is_none()))
    }

    /// The head as JSON on one line: its keys in their order, without spaces.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a head has only text, numbers and truth values")
    }

    /// Guidance as a request takes it.
    #[must_use]
    pub fn guidance(&self) -> Guidance {
        Guidance { scale: self.guidance.clone(), gradual: self.gradual }
    }

    /// Sampling settings as a request takes them.
    #[must_use]
    pub fn sampling(&self) -> SamplingCurves {
        let Self { temperature, top_k, top_p, .. } = self.clone();
        SamplingCurves { temperature, top_k, top_p }
    }

    /// The fields that are not the same in `other`: the key, the value here and the value there, as JSON.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        let fields = |head: &Self| match serde_json::to_value(head) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let others = fields(other);
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fields(self)
            .into_iter()
            .filter_map(|(key, value)| {
                others.get(&key).filter(|&other| *other != value).map(|other| (text(&value), text(other), key))
            })
            .map(|(here, there, key)| (key, here, there))
            .collect()
    }
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A picture with its record, or that record by itself.
    Record {
        /// The record.
        record: Box<Record>,
        /// Whether it is in the picture file, which is PNG then; else it is the file beside it.
        embedded: bool,
        /// The picture file, which need not exist if the record was opened.
        picture: PathBuf,
    },
    /// A token file: [`open_any`](crate::tokens::open_any) opens it.
    Tokens,
    /// A file without a record in it or beside it.
    Nothing,
}

/// Everything that it takes to make a picture again, and its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What it was made from.
    pub head: Head,
    /// Its tokens: those of its level.
    pub tokens: Vec<u32>,
}

/// The tokens as text: a JSON list without spaces.
fn list(tokens: &[u32]) -> String {
    serde_json::to_string(tokens).expect("numbers can be written")
}

/// A copy of a PNG file with the record in text chunks after IHDR: `Software`, `detailflow` with `head` (the text of
/// [`Head::to_json`]), and `detailflow-tokens`.
///
/// # Errors
/// [`Error::Invalid`] if `png` is not a PNG file; [`Error::OutOfMemory`].
pub fn embed(png: &[u8], head: &str, tokens: &[u32]) -> Result<Vec<u8>> {
    let (software, tokens) = (format!("libdetailflow {VERSION}"), list(tokens));
    with_texts(
        png,
        &[PngText::Ascii("Software", &software), PngText::Utf8(HEAD, head), PngText::Ascii(TOKENS, &tokens)],
    )
}

/// The text of the file beside a picture file that holds its record: `head` (the text of [`Head::to_json`]) with the tokens under
/// the key `tokens`, on one line.
#[must_use]
pub fn sidecar(head: &str, tokens: &[u32]) -> String {
    let fields = head.strip_suffix('}').unwrap_or(head);
    format!("{fields},\"tokens\":{}}}\n", list(tokens))
}

/// The path of the file that holds the record of the picture file `path`: with `.json` after its name.
#[must_use]
pub fn sidecar_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// What tells a record from a token file.
#[derive(Deserialize)]
struct Keys {
    manifest: Option<IgnoredAny>,
}

/// The head with the tokens, as a sidecar has them.
#[derive(Deserialize)]
struct Sidecar {
    #[serde(flatten)]
    head: Head,
    tokens: Vec<u32>,
}

impl Record {
    /// The record in the bytes of a PNG file; `None` if it has none. `path` names it in errors.
    ///
    /// # Errors
    /// [`Error::Format`] if the file or the record is damaged, or of another format version; [`Error::OutOfMemory`].
    pub fn from_png(png: &[u8], path: &Path) -> Result<Option<Self>> {
        let chunk = |keyword| text(png, keyword).map_err(|reason| Error::format(path, reason));
        let Some(head) = chunk(HEAD)? else { return Ok(None) };
        let missing = || Error::format(path, format!("it has a chunk \"{HEAD}\" but none \"{TOKENS}\""));
        let tokens = chunk(TOKENS)?.ok_or_else(missing)?;
        let refuse = |key: &str, reason: String| Error::format(path, format!("the chunk \"{key}\"{reason}"));
        let head = parse(HEAD, head.as_bytes(), FORMAT.into(), GROWTH)?.map_err(|reason| refuse(HEAD, reason))?;
        let tokens = serde_json::from_str(tokens).map_err(|error| refuse(TOKENS, format!(": {error}")))?;
        Ok(Some(Self { head, tokens }))
    }

    /// The record in the text of a sidecar. `path` names it in errors.
    ///
    /// # Errors
    /// [`Error::Format`] if it is no record, or of another format version; [`Error::OutOfMemory`].
    pub fn from_json(json: &[u8], path: &Path) -> Result<Self> {
        let Sidecar { head, tokens } = parse("a record", json, FORMAT.into(), GROWTH)?
            .map_err(|reason| Error::format(path, format!("not the record of a picture{reason}")))?;
        Ok(Self { head, tokens })
    }
}

/// Finds the record of `path`: a PNG file with the record in it, any picture file with its record beside it, or a record. Token
/// files are told from these.
///
/// # Errors
/// Those of [`Record::from_png`] and [`Record::from_json`]; [`Error::NotFound`] and [`Error::Io`].
pub fn find(path: &Path) -> Result<Found> {
    let start = read_start(path, START)?;
    match kind(&start) {
        Some(TokenFileKind::Json) => {
            let Ok(json) = read(path, LARGEST_SIDECAR) else { return Ok(Found::Tokens) };
            if !serde_json::from_slice::<Keys>(&json).is_ok_and(|keys| keys.manifest.is_some()) {
                return Ok(Found::Tokens);
            }
            let picture = path.with_extension("");
            return Ok(Found::Record { record: Record::from_json(&json, path)?.into(), embedded: false, picture });
        }
        Some(_) => return Ok(Found::Tokens),
        None => {}
    }
    let picture = path.to_owned();
    if is_png(&start)
        && let Some(record) = Record::from_png(&read(path, LARGEST_PICTURE)?, path)?
    {
        return Ok(Found::Record { record: record.into(), embedded: true, picture });
    }
    let beside = sidecar_path(path);
    match read(&beside, LARGEST_SIDECAR) {
        Ok(json) => {
            let record = Record::from_json(&json, &beside)?.into();
            Ok(Found::Record { record, embedded: false, picture })
        }
        Err(Error::NotFound { .. }) => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::{FileFormat, PixelFormat, encode};

    fn head() -> Head {
        Head {
            format: FORMAT,
            library: "0.1.0".into(),
            bundle: "tiny".into(),
            manifest: "00ff".into(),
            tokenizer: "0123456789abcdef".into(),
            license: "CC0-1.0".into(),
            precision: "int8".into(),
            form: "native".into(),
            device: "cpu".into(),
            class: "größe \"x\"".into(),
            class_index: 3,
            mix: None,
            avoid: None,
            seed: u64::MAX,
            guidance: "1@8,3.25@64".parse().unwrap(),
            gradual: true,
            temperature: 0.1.into(),
            top_k: 0.0.into(),
            top_p: 1.0.into(),
            level: 32,
            kept: 8,
            finish: None,
            output: Written::new(OutputFormat::Dds, &OutputOptions { scale: 2, ..OutputOptions::default() }),
        }
    }

    #[test]
    fn head_is_this_text() {
        let text = concat!(
            r#"{"format":1,"library":"0.1.0","bundle":"tiny","manifest":"00ff","tokenizer":"0123456789abcdef","#,
            r#""license":"CC0-1.0","precision":"int8","form":"native","device":"cpu","class":"größe \"x\"","#,
            r#""class_index":3,"seed":18446744073709551615,"guidance":"1@8,3.25@64","gradual":true,"temperature":"0.1","#,
            r#""top_k":"0","top_p":"1","level":32,"kept":8,"output":{"format":"dds","alpha":"straight","mips":false,"#,
            r#""compression":"none","scale":2}}"#
        );
        assert_eq!(head().to_json(), text);
        let finish = Finish { alpha_cut: Some(110), colors: Some(16), ..Finish::default() };
        let finished = Head { finish: Some(finish), ..head() };
        let with = text.replace(r#","output""#, r#","finish":{"alpha_cut":110,"colors":16},"output""#);
        assert_eq!(finished.to_json(), with);
        let read = Record::from_json(sidecar(&with, &[1]).as_bytes(), Path::new("x.json")).unwrap();
        assert_eq!(read, Record { head: finished, tokens: vec![1] });
        let mixed = Head { mix: Some("a:0.5,b:0.5".into()), avoid: Some("c:1".into()), ..head() };
        let with = text.replace(r#","seed""#, r#","mix":"a:0.5,b:0.5","avoid":"c:1","seed""#);
        assert_eq!(mixed.to_json(), with);
        let read = Record::from_json(sidecar(&with, &[1]).as_bytes(), Path::new("x.json")).unwrap();
        assert_eq!(read, Record { head: mixed, tokens: vec![1] });
        let file = sidecar(text, &[1, 2, 8191]);
        assert!(file.ends_with("\"scale\":2},\"tokens\":[1,2,8191]}\n"), "{file}");
        let record = Record::from_json(file.as_bytes(), Path::new("x.json")).unwrap();
        assert_eq!(record, Record { head: head(), tokens: vec![1, 2, 8191] });
    }

    #[test]
    fn record_of_a_png_file_is_read_back() {
        let png = encode(FileFormat::Png, 1, 1, PixelFormat::Rgb8, &[1, 2, 3], 3).unwrap();
        let path = Path::new("x.png");
        assert_eq!(Record::from_png(&png, path).unwrap(), None);
        let file = embed(&png, &head().to_json(), &[5, 6]).unwrap();
        assert_eq!(Record::from_png(&file, path).unwrap(), Some(Record { head: head(), tokens: vec![5, 6] }));
        let other = |head: &str, tokens: &str| {
            let file = with_texts(&png, &[PngText::Utf8(HEAD, head), PngText::Ascii(TOKENS, tokens)]).unwrap();
            Record::from_png(&file, path).unwrap_err().to_string()
        };
        let text = head().to_json();
        assert!(other(&text.replacen("1", "2", 1), "[]").contains("is of format 2; this version reads format 1"));
        assert!(other(&text.replace("native\"", "native\",\"kept\":1"), "[]").contains("kept"));
        assert!(other(&text.replace("0.1\"", "warm\""), "[]").contains("temperature"));
        assert!(other(&text, "[-1]").contains("detailflow-tokens"));
        let alone = with_texts(&png, &[PngText::Utf8(HEAD, &text)]).unwrap();
        assert!(Record::from_png(&alone, path).unwrap_err().to_string().contains("none \"detailflow-tokens\""));
    }

    #[test]
    fn find_tells_pictures_records_and_token_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let record = Box::new(Record { head: head(), tokens: vec![7] });
        let picture = file("x.dds", b"DDS ");
        assert_eq!(find(&picture).unwrap(), Found::Nothing);
        let beside = file("x.dds.json", sidecar(&head().to_json(), &[7]).as_bytes());
        assert_eq!(sidecar_path(&picture), beside);
        let wanted = Found::Record { record: record.clone(), embedded: false, picture: picture.clone() };
        assert_eq!((&find(&picture).unwrap(), &find(&beside).unwrap()), (&wanted, &wanted));
        let png = encode(FileFormat::Png, 1, 1, PixelFormat::Rgb8, &[1, 2, 3], 3).unwrap();
        let embedded = file("x.png", &embed(&png, &head().to_json(), &[7]).unwrap());
        assert_eq!(find(&embedded).unwrap(), Found::Record { record, embedded: true, picture: embedded.clone() });
        assert_eq!(find(&file("plain.png", &png)).unwrap(), Found::Nothing);
        assert_eq!(find(&file("t.json", b"{\"format\": 1, \"images\": []}")).unwrap(), Found::Tokens);
        assert_eq!(find(&file("t.dft", b"DFT\x01")).unwrap(), Found::Tokens);
        let damaged = file("x.dds.json", b"{\"format\": 1, \"manifest\": \"\"}");
        assert!(find(&damaged).unwrap_err().to_string().contains("not the record of a picture"));
        assert!(find(&picture).unwrap_err().to_string().contains("x.dds.json"));
        assert!(matches!(find(&folder.path().join("none.png")), Err(Error::NotFound { .. })));
    }

    #[test]
    fn damaged_records_are_errors_or_the_record() {
        let png = encode(FileFormat::Png, 1, 1, PixelFormat::Rgb8, &[1, 2, 3], 3).unwrap();
        let record = Record { head: head(), tokens: vec![5, 600, 70] };
        let file = embed(&png, &head().to_json(), &record.tokens).unwrap();
        let beside = sidecar(&head().to_json(), &record.tokens).into_bytes();
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let (mut same, mut refused) = (0, 0);
        for round in 0..20_000 {
            let mut damaged = file.clone();
            if round % 4 == 0 {
                damaged.truncate(random(file.len()));
            } else {
                damaged[random(file.len())] = random(256) as u8;
            }
            match Record::from_png(&damaged, Path::new("x.png")) {
                // The damage is elsewhere, or a keyword is another.
                Ok(found) => same += usize::from(found.is_none_or(|found| found == record)),
                Err(Error::Format { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            let mut damaged = beside.clone();
            (0..3).for_each(|_| damaged[random(beside.len())] = random(128) as u8);
            if let Err(error) = Record::from_json(&damaged, Path::new("x.json")) {
                assert!(matches!(error, Error::Format { .. }), "{error}");
            }
        }
        assert!(same + refused == 20_000 && same > 1000 && refused > 10_000, "{same} the same, {refused} refused");
    }

    #[test]
    fn differences_are_named() {
        let other = Head { seed: 1, precision: "fp32".into(), ..head() };
        let found = head().differences(&other);
        let wanted = [("precision", "int8", "fp32"), ("seed", "18446744073709551615", "1")];
        assert_eq!(found, wanted.map(|(key, here, there)| (key.to_owned(), here.to_owned(), there.to_owned())));
        assert!(head().differences(&head()).is_empty());
    }
}
