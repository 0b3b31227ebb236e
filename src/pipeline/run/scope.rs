//! Which pictures of a job a run makes: a shard of it, those that a filter takes, the first so many.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::choose::selects;
use crate::pipeline::plan::{Group, Picture, Plan};
use crate::support::error::{Error, Result};

/// One of the parts of a job that several machines share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// The most parts of a job.
    pub const MOST: u32 = 1 << 15;

    /// Part `index`, from 1, of `count`.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `1 <= index <= count <= 32768`.
    pub fn new(index: u32, count: u32) -> Result<Self> {
        if (1..=Self::MOST).contains(&count) && (1..=count).contains(&index) {
            return Ok(Self { index, count });
        }
        Err(Error::Invalid(format!("shard {index}/{count}: I/N is allowed with 1 <= I <= N <= {}", Self::MOST)))
    }

    /// The numbers of its pictures. Groups that are selected from stay together.
    fn pictures(self, plan: &Plan) -> Range<u64> {
        let cut = |part: u32| {
            let number = (u128::from(plan.pictures()) * u128::from(part) / u128::from(self.count)) as u64;
            if number >= plan.pictures() {
                return plan.pictures();
            }
            let picture = plan.picture(number);
            if selects(picture.row) { plan.groups()[picture.group].first } else { number }
        };
        cut(self.index - 1)..cut(self.index)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard-{}-of-{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = Error;

    /// Reads `I/N`.
    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        let (index, count) = numbers.ok_or_else(|| {
            Error::Invalid(format!("shard {text}: I/N is allowed, such as 2/8 for the second of eight parts"))
        })?;
        Self::new(index, count)
    }
}

/// Tells which pictures of a job a run makes.
pub type Filter<'a> = &'a (dyn Fn(&Picture<'_>) -> bool + Sync);

/// The pictures of a job that a run makes. Groups that are selected from are made whole: what is kept of them would be different
/// otherwise.
#[derive(Clone, Copy, Default)]
pub struct Scope<'a> {
    /// The part of the job; `None` is all of it.
    pub shard: Option<Shard>,
    /// Only pictures that it takes, and groups that are selected from if it takes any of theirs.
    pub filter: Option<Filter<'a>>,
    /// Only the first so many of these.
    pub limit: Option<u64>,
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("shard", &self.shard)
            .field("filter", &self.filter.is_some())
            .field("limit", &self.limit)
            .finish()
    }
}

impl<'a> Scope<'a> {
    /// The numbers of its pictures, in order.
    pub fn pictures<'b>(self, plan: &'b Plan) -> impl Iterator<Item = u64> + use<'a, 'b> {
        let all = self.shard.map_or(0..plan.pictures(), |shard| shard.pictures(plan));
        let groups = plan.groups();
        let first = groups.partition_point(|group| group.first + group.count <= all.start);
        let parts = groups[first..].iter().take_while(move |group| group.first < all.end);
        let mut taken = 0;
        let limit = self.limit.unwrap_or(u64::MAX);
        parts
            .map(move |group| {
                let whole = selects(&plan.rows()[group.row as usize]);
                let range = group.first.max(all.start)..group.end().min(all.end);
                let wanted = !whole || range.clone().any(|number| self.takes(plan, number));
                (whole, if wanted { range } else { 0..0 })
            })
            .flat_map(move |(whole, range)| range.map(move |number| (whole, number)))
            .filter(move |&(whole, number)| whole || self.takes(plan, number))
            .scan(None, move |last_group, (whole, number)| {
                // A group that is begun is made whole.
                let group = plan.picture(number).group;
                if taken >= limit && !(whole && *last_group == Some(group)) {
                    return None;
                }
                *last_group = Some(group);
                taken += 1;
                Some(number)
            })
    }

    fn takes(&self, plan: &Plan, number: u64) -> bool {
        self.filter.is_none_or(|filter| filter(&plan.picture(number)))
    }
}

impl Group {
    /// The number after its last picture.
    pub(super) fn end(&self) -> u64 {
        self.first + self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::pattern::Pattern;
    use crate::pipeline::plan::{Row, RowMix, RowSettings, Seeds, Start};
    use crate::pipeline::select::SelectSettings;
    use crate::plan::{Guidance, Level};
    use crate::sample::Sampling;
    use crate::support::sync::Arc;

    fn plan(best: Option<u32>) -> Plan {
        let row = |number, classes: &[u32], count, tags: &[&str]| Row {
            number,
            line: 1,
            classes: classes.into(),
            seeds: Seeds::From { first: 0, count },
            settings: Arc::new(RowSettings {
                mix: RowMix::default(),
                guidance: Guidance::constant(1.0),
                sampling: Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 }.into(),
                start: Start::Empty,
                levels: vec![Level { size: 32, tokens: 32 }],
                select: Some(SelectSettings { best: best.filter(|_| !tags.is_empty()), ..SelectSettings::default() }),
            }),
            output: Pattern::of_job("{class}-{seed}.png").unwrap(),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        };
        Plan::new(vec![row(0, &[0, 1], 4, &[]), row(1, &[2, 3], 3, &["chosen"])])
    }

    #[test]
    fn scope_takes_shard_filter_and_limit_and_keeps_groups_of_selection_whole() {
        let [free, chosen] = [None, Some(1)].map(plan);
        let of = |scope: Scope<'_>, plan: &Plan| scope.pictures(plan).collect::<Vec<_>>();
        let all = Scope::default();
        assert_eq!(of(all, &free), (0..14).collect::<Vec<_>>());
        let odd = |picture: &Picture<'_>| picture.image.seed % 2 == 1;
        let odd = Scope { filter: Some(&odd), ..all };
        assert_eq!(of(odd, &free), [1, 3, 5, 7, 9, 12]);
        assert_eq!(of(odd, &chosen), [1, 3, 5, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(of(Scope { limit: Some(2), ..odd }, &free), [1, 3]);
        assert_eq!(of(Scope { limit: Some(9), ..all }, &chosen), (0..11).collect::<Vec<_>>());
        assert_eq!(of(Scope { limit: Some(0), ..all }, &chosen), [0u64; 0]);
        for plan in [&free, &chosen] {
            for count in 1..20 {
                let part = |index| of(Scope { shard: Some(Shard::new(index, count).unwrap()), ..all }, plan);
                let parts: Vec<Vec<u64>> = (1..=count).map(part).collect();
                assert_eq!(parts.concat(), (0..14).collect::<Vec<_>>(), "{count}");
                let cut = |number: u64| parts.iter().any(|part| part.first() == Some(&number));
                assert!(!selects(&plan.rows()[1]) || ![9, 10, 12, 13].into_iter().any(cut));
            }
        }
    }

    #[test]
    fn shard_is_read_as_i_of_n() {
        assert_eq!("2/8".parse::<Shard>().unwrap(), Shard::new(2, 8).unwrap());
        for text in ["", "2", "0/8", "9/8", "1/0", "1/32769", "-1/2", "1/2/3"] {
            assert!(matches!(text.parse::<Shard>(), Err(Error::Invalid(_))), "{text}");
        }
    }
}
