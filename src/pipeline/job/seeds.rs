//! Seeds of a row: a first and a count, a range, or a list.

use super::types::SeedField;
use crate::pipeline::plan::Seeds;

/// The most pictures of a job.
pub(super) const MOST_PICTURES: u64 = 1 << 40;

/// The seeds that `seed` and `count` say; an error names the field.
pub(super) fn seeds(seed: Option<&SeedField>, count: Option<u64>) -> Result<Seeds, (&'static str, String)> {
    let in_range = |count: u64| {
        let text = || format!("{count} pictures are out of range; allowed are 1 to {MOST_PICTURES}");
        if (1..=MOST_PICTURES).contains(&count) { Ok(count) } else { Err(("count", text())) }
    };
    // What a range or list says is what `count` says, or all that is said.
    let agrees = |there: u64| match count {
        Some(count) if count != there => {
            Err(("count", format!("the count is {count}, but `seed` lists {there} seeds; leave one of them out")))
        }
        _ => Ok(there),
    };
    let from = |first: u64| {
        let count = in_range(count.unwrap_or(1))?;
        match first.checked_add(count - 1) {
            Some(_) => Ok(Seeds::From { first, count }),
            None => Err(("seed", format!("{count} seeds from {first} on pass {}, the largest", u64::MAX))),
        }
    };
    match seed {
        None => from(0),
        Some(SeedField::First(first)) => from(*first),
        Some(SeedField::List(list)) => {
            let there = agrees(in_range(list.len() as u64).map_err(|(_, text)| ("seed", text))?)?;
            let mut sorted = list.clone();
            sorted.sort_unstable();
            if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(("seed", format!("{} is listed twice; each seed is listed once", pair[0])));
            }
            debug_assert_eq!(there, list.len() as u64);
            Ok(Seeds::List(list.as_slice().into()))
        }
        Some(SeedField::Text(text)) => {
            let refuse = || {
                let text = format!(
                    "\"{text}\" is not allowed; allowed are 0 to {}, a range such as \"100-199\", or a list",
                    u64::MAX
                );
                ("seed", text)
            };
            let number = |text: &str| {
                let text = text.trim();
                // Rust also reads a sign.
                text.parse::<u64>().ok().filter(|_| text.bytes().all(|digit| digit.is_ascii_digit())).ok_or_else(refuse)
            };
            let Some((first, last)) = text.split_once('-') else { return from(number(text)?) };
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return Err(("seed", format!("\"{text}\": the range ends before it begins")));
            }
            let length = (last - first).saturating_add(1);
            let count = agrees(in_range(length).map_err(|(_, text)| ("seed", text))?)?;
            Ok(Seeds::From { first, count })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seed: SeedField, count: Option<u64>) -> Result<Seeds, (&'static str, String)> {
        seeds(Some(&seed), count)
    }

    fn text(text: &str) -> SeedField {
        SeedField::Text(text.to_owned())
    }

    #[test]
    fn seeds_are_a_first_and_a_count_a_range_or_a_list() {
        assert_eq!(seeds(None, None), Ok(Seeds::From { first: 0, count: 1 }));
        assert_eq!(of(SeedField::First(7), Some(3)), Ok(Seeds::From { first: 7, count: 3 }));
        assert_eq!(of(text(" 100 - 199 "), None), Ok(Seeds::From { first: 100, count: 100 }));
        assert_eq!(of(text("100-199"), Some(100)), Ok(Seeds::From { first: 100, count: 100 }));
        assert_eq!(of(text("9"), Some(2)), Ok(Seeds::From { first: 9, count: 2 }));
        assert_eq!(of(SeedField::List(vec![9, 4]), None), Ok(Seeds::List([9, 4].into())));
        assert_eq!(of(SeedField::First(u64::MAX), None), Ok(Seeds::From { first: u64::MAX, count: 1 }));
    }

    #[test]
    fn seeds_that_overflow_disagree_or_repeat_are_refused() {
        for (seed, count, field, word) in [
            (SeedField::First(u64::MAX), Some(2), "seed", "the largest"),
            (SeedField::First(0), Some(0), "count", "out of range"),
            (SeedField::First(0), Some(MOST_PICTURES + 1), "count", "out of range"),
            (text("0-18446744073709551615"), None, "seed", "out of range"),
            (text("0-18446744073709551616"), None, "seed", "not allowed"),
            (text("7-6"), None, "seed", "ends before"),
            (text("1-2-3"), None, "seed", "not allowed"),
            (text("+1"), None, "seed", "not allowed"),
            (text("-1"), None, "seed", "not allowed"),
            (text(""), None, "seed", "not allowed"),
            (text("1-10"), Some(9), "count", "lists 10 seeds"),
            (SeedField::List(vec![1, 2]), Some(3), "count", "lists 2 seeds"),
            (SeedField::List(vec![1, 2, 1]), None, "seed", "1 is listed twice"),
            (SeedField::List(vec![]), None, "seed", "out of range"),
        ] {
            let (found, text) = of(seed.clone(), count).expect_err(&format!("{seed:?}"));
            assert!(found == field && text.contains(word), "{seed:?}: {found}: {text}");
        }
    }
}
