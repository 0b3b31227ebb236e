//! Names of pictures in packs, atlases and on pages: by class and seed where these tell all pictures of a job apart, by the name of
//! the file otherwise.

use super::plan::{Picture, Plan, Seeds};

/// The longest name of an entry of a pack, in bytes.
const LONGEST: usize = 255;

/// Names the pictures of a job.
#[derive(Debug, Clone, Copy)]
pub struct PictureNames<'a> {
    classes: &'a [String],
    by_seed: bool,
}

impl<'a> PictureNames<'a> {
    /// For the pictures of `plan`; `classes` are the names of the bundle's classes.
    #[must_use]
    pub fn new(plan: &Plan, classes: &'a [String]) -> Self {
        Self { classes, by_seed: seeds_differ(plan) }
    }

    /// The name of a picture: `potion-7`, or the path of its finest file without the extension. Unique in the job.
    #[must_use]
    pub fn name(&self, picture: &Picture<'_>) -> String {
        let class = self.classes.get(picture.image.class as usize);
        let name = match (class, picture.row.levels.last()) {
            (Some(class), _) if self.by_seed => {
                format!("{}-{}", class.replace(char::is_control, "_"), picture.image.seed)
            }
            (_, Some(&level)) => {
                let path = picture.path(self.classes, level);
                let stem = path.rfind('.').filter(|&dot| !path[dot..].contains('/')).unwrap_or(path.len());
                // Files of two formats may have one stem.
                format!("{}-{}", &path[..stem], picture.number)
            }
            _ => picture.number.to_string(),
        };
        if (1..=LONGEST).contains(&name.len()) { name } else { picture.number.to_string() }
    }
}

/// Whether no two pictures have one class and one seed.
fn seeds_differ(plan: &Plan) -> bool {
    let mut ranges: Vec<(u32, u64, u64)> = Vec::new();
    for group in plan.groups() {
        match &plan.rows()[group.row as usize].seeds {
            Seeds::From { first, count: 1.. } => ranges.push((group.class, *first, first + (group.count - 1))),
            Seeds::From { .. } => {}
            Seeds::List(seeds) => ranges.extend(seeds.iter().map(|&seed| (group.class, seed, seed))),
        }
    }
    ranges.sort_unstable();
    ranges.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].2 < pair[1].1)
}
