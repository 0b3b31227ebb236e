//! A setting over the tokens of a picture: a constant, or a piecewise linear curve.

use std::fmt;
use std::str::FromStr;

use crate::support::error::{Error, Result};

/// A setting that may change from token to token: guidance, temperature, top-k, top-p.
///
/// A point `(token, value)` holds at the token with that index, counted from the first token of the picture even if a
/// prefix is given; a point at 8 is the first token after a level of 8 tokens. Between two points the value is
/// interpolated linearly; before the first and after the last it is constant.
///
/// As text: a number `1.5`, or points `VALUE@TOKEN` separated by commas, `1.0@8,3.0@64`.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// In order of tokens, at least one.
    points: Vec<(u32, f32)>,
}

impl Curve {
    /// The largest number of points.
    pub const MOST_POINTS: usize = 64;

    /// A curve through `points` `(token, value)`, in order of tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are none or more than 64 points, the tokens are not strictly increasing, or a value is
    /// NaN or infinite.
    pub fn new(points: &[(u32, f32)]) -> Result<Self> {
        if points.is_empty() || points.len() > Self::MOST_POINTS {
            return Err(Error::Invalid(format!(
                "curve: {} points are out of range: 1 to {} are allowed",
                points.len(),
                Self::MOST_POINTS
            )));
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            let (first, second) = (pair[0].0, pair[1].0);
            return Err(Error::Invalid(format!("curve: tokens must increase, but {second} follows {first}")));
        }
        if let Some((token, value)) = points.iter().find(|(_, value)| !value.is_finite()) {
            return Err(Error::Invalid(format!("curve: the value at token {token} is {value}, not a finite number")));
        }
        Ok(Self { points: points.to_vec() })
    }

    /// The value at the token with index `token`.
    #[must_use]
    pub fn at(&self, token: usize) -> f32 {
        self.mapped(token, |value| value)
    }

    /// The value at a token of the curve whose values are mapped by `map` before the interpolation.
    pub(crate) fn mapped(&self, token: usize, map: impl Fn(f32) -> f32) -> f32 {
        let after = self.points.partition_point(|&(place, _)| place as usize <= token);
        match (after.checked_sub(1).map(|before| self.points[before]), self.points.get(after)) {
            (Some((from, low)), Some(&(to, high))) => {
                let (low, high) = (map(low), map(high));
                low + (high - low) * ((token - from as usize) as f32 / (to - from) as f32)
            }
            (Some((_, last)), None) => map(last),
            (None, first) => first.map_or(0.0, |&(_, value)| map(value)),
        }
    }

    /// The points `(token, value)`, at least one.
    #[must_use]
    pub fn points(&self) -> &[(u32, f32)] {
        &self.points
    }

    /// The value, if it is the same at every token.
    #[must_use]
    pub fn constant(&self) -> Option<f32> {
        let first = self.points[0].1;
        self.points.iter().all(|&(_, value)| value == first).then_some(first)
    }

    /// Whether every value from the token with index `token` on is `wanted`.
    pub(crate) fn stays(&self, token: usize, wanted: f32) -> bool {
        self.at(token) == wanted
            && self.points.iter().filter(|&&(place, _)| place as usize > token).all(|&(_, value)| value == wanted)
    }

    /// Checks all values with `fits`; the error names `what`, the first that does not fit, and the allowed `range`.
    pub(crate) fn check(&self, fits: impl Fn(f32) -> bool, what: &str, range: &str) -> Result<(), String> {
        match self.points.iter().find(|&&(_, value)| !fits(value)) {
            Some((_, value)) => Err(format!("{what} {value} is not {range}")),
            None => Ok(()),
        }
    }
}

impl From<f32> for Curve {
    fn from(value: f32) -> Self {
        Self { points: vec![(0, value)] }
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(_, value)] = self.points[..] {
            return write!(f, "{value}");
        }
        for (at, (token, value)) in self.points.iter().enumerate() {
            write!(f, "{}{value}@{token}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Curve {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse =
            || Error::Invalid(format!("curve: \"{text}\" is neither a number nor points such as 1.0@8,3.0@64"));
        if let Ok(value) = text.trim().parse::<f32>() {
            return Self::new(&[(0, value)]);
        }
        let point = |part: &str| {
            let (value, token) = part.split_once('@')?;
            Some((token.trim().parse().ok()?, value.trim().parse().ok()?))
        };
        let points: Option<Vec<(u32, f32)>> = text.split(',').map(point).collect();
        Self::new(&points.ok_or_else(refuse)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_interpolates_between_points_and_is_constant_beyond() {
        let curve: Curve = "1.0@8, 3.0@16,3@20,0@24".parse().unwrap();
        let values = [0, 8, 12, 16, 18, 22, 24, 1000].map(|token| curve.at(token));
        assert_eq!(values, [1.0, 1.0, 2.0, 3.0, 3.0, 1.5, 0.0, 0.0]);
        assert_eq!(curve.constant(), None);
        assert!(curve.stays(24, 0.0) && curve.stays(30, 0.0) && !curve.stays(23, 0.0) && !curve.stays(16, 3.0));
        assert_eq!(Curve::from(2.0).at(77), 2.0);
        assert!(Curve::from(2.0).stays(0, 2.0));
        assert_eq!(Curve::new(&[(0, 2.0), (9, 2.0)]).unwrap().constant(), Some(2.0));
    }

    #[test]
    fn text_round_trips_and_malformed_text_is_refused() {
        for text in ["1.5", "0", "1@8,3@64"] {
            assert_eq!(text.parse::<Curve>().unwrap().to_string(), text);
        }
        for text in ["", "x", "1@", "@8", "1@8,", "1@8,2@8", "1@8,2@7", "nan", "1@1,inf@2", "1@-1", "1@8 2@9"] {
            assert!(text.parse::<Curve>().is_err(), "{text}");
        }
        let many: Vec<(u32, f32)> = (0..65).map(|token| (token, 1.0)).collect();
        assert!(Curve::new(&many).is_err() && Curve::new(&many[..64]).is_ok());
    }
}
