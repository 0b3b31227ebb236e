//! Many pictures from a job file to files on disk: what a technical artist starts in the evening, and a studio runs on a cluster.
//!
//! The path of a picture: a job file is read and checked against a bundle (`job`), which gives a [`Plan`]: every picture of the
//! job has a number, from 0, and with it its row, class and seed. The run draws them in this order, in batches across rows,
//! selects among those of a group, encodes what is kept, writes it, and notes in its journal what is done.

pub mod output;
mod plan;
mod png_text;
pub mod provenance;
pub mod reproduce;

pub use plan::{Group, Picture, Plan, Row, Seeds, Start};
