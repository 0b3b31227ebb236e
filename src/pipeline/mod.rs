//! Many pictures from a job file to files on disk: what a technical artist starts in the evening, and a studio runs on a cluster.
//!
//! The path of a picture: a job file is read and checked against a bundle (`job`), which gives a [`Plan`]: every picture of the
//! job has a number, from 0, and with it its row, class and seed. The run draws them in this order, in batches across rows,
//! selects among those of a group, encodes what is kept, writes it, and notes in its journal what is done.

mod assemble;
pub mod atlas;
mod collisions;
mod external_sort;
mod files;
mod filter;
mod identity;
mod job;
mod names;
pub mod output;
pub mod page;
mod pattern;
mod plan;
mod png_text;
pub mod provenance;
mod report;
pub mod reproduce;
pub mod run;
pub mod select;
mod settings;
mod table;
mod text_file;

pub use assemble::Assembly;
pub use files::PictureFiles;
pub use filter::{Filter, Picks};
pub use identity::bundle_identity;
pub use job::{
    Checked, ClassName, Classes, EntryName, Every, FinishChoice, JobFile, JobFormat, LevelField, PageChoice, Problem,
    Redetail, RowFields, SeedField, Setting, Vary, check_job, check_job_from, check_rows_from, job_schema,
};
pub use names::PictureNames;
pub use output::{AlphaMode, Compression};
pub use pattern::{Field, Pattern, Values, safe_name};
pub use plan::{Group, Picture, Plan, Row, RowMix, RowSettings, Seeds, Start};
pub use report::{ReportHead, RunSetup, write_pack, write_report, write_timings};
pub use settings::{
    Atlas, AtlasFormat, FinishFields, Output, Page, PaletteField, ProvenanceMode, Settings, TokenOutput,
};
