//! Classes on the command line: one, every one, or several mixed; and those to avoid.

use std::collections::HashMap;

use clap::Args;
use detailflow::{Bundle, Error, ImageRequest, Mix, Request};

use crate::Failure;

#[derive(Args)]
pub struct AvoidArgs {
    /// Classes to keep away from, with their strengths: plant:0.25,undead:0.5. 0 to 1000 or a curve, 1 if there is none; much
    /// more than 0.5 may leave what the model has learned
    #[arg(long, value_name = "CLASSES")]
    pub avoid: Option<String>,
}

/// The classes of a command, and the mix of each that is more than a class.
pub struct Wanted {
    /// Of a mix its main class.
    pub classes: Vec<u32>,
    mixes: HashMap<u32, Mix>,
}

impl Wanted {
    /// The class `text`; every class for `all`; or a mix such as `dragon:0.6,golem:0.4`. Each avoids what `avoid` says.
    pub fn read(bundle: &Bundle, text: &str, avoid: Option<&str>) -> Result<Self, Failure> {
        let every = text == "all" && !bundle.classes().iter().any(|class| class == "all");
        let avoid = avoid.unwrap_or_default();
        if !every {
            return Self::one(bundle, text, Some(avoid));
        }
        let avoid = bundle.avoid(avoid).map_err(Failure::Usage)?;
        let classes = 0..bundle.classes().len() as u32;
        let mixes = classes.map(|class| Mix::new(&[(class, 1.0.into())], &avoid)).collect::<Result<Vec<_>, _>>();
        Ok(Self::of(mixes.map_err(Failure::Usage)?))
    }

    /// As [`read`](Self::read), for commands of one class: `all` is the name of a class.
    pub fn one(bundle: &Bundle, text: &str, avoid: Option<&str>) -> Result<Self, Failure> {
        Ok(Self::of(vec![bundle.mix(text, avoid.unwrap_or_default()).map_err(Failure::Usage)?]))
    }

    /// These mixes, each of another main class.
    pub fn of(mixes: Vec<Mix>) -> Self {
        let classes = mixes.iter().map(Mix::main_class).collect();
        let more = mixes.into_iter().filter(|mix| mix.as_class().is_none());
        Self { classes, mixes: more.map(|mix| (mix.main_class(), mix)).collect() }
    }

    /// The mix of pictures of a class.
    pub fn mix(&self, class: u32) -> Option<&Mix> {
        self.mixes.get(&class)
    }

    /// Sets an image of a request.
    pub fn set(&self, request: &mut Request, at: usize, image: ImageRequest) -> Result<(), Error> {
        request.set_image(at, image)?;
        if let Some(mix) = self.mix(image.class) {
            request.set_image_mix(at, mix)?;
        }
        Ok(())
    }

    /// What pictures of a class are called: `potion`, `dragon+golem`.
    pub fn name(&self, bundle: &Bundle, class: u32) -> String {
        match self.mix(class) {
            Some(mix) => bundle.mix_name(mix),
            None => bundle.classes().get(class as usize).cloned().unwrap_or_default(),
        }
    }
}
