//! Options for the execution provider of a device.

use crate::support::error::{Error, Result};

/// Options that are passed to the execution provider of a device, under the provider's own names: `key=value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct DeviceOptions(Vec<(String, String)>);

impl DeviceOptions {
    /// Sets an option and replaces an earlier value of the same key. Opening a model reports keys that the provider
    /// does not know, as far as the provider tells.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `key` is empty, or when `key` or `value` contains a zero byte.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        if key.is_empty() || key.contains('\0') || value.contains('\0') {
            let text = format!(
                "device option {key:?}={value:?}: the key must not be empty, and neither may contain a zero byte"
            );
            return Err(Error::Invalid(text));
        }
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((key.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// The value of `key`, if it is set.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// All options, in the order in which they were first set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The options of one session: without `flag`, or with it as 1.
    pub(super) fn for_session(&self, flag: &str, on: bool) -> Self {
        let others = self.0.iter().filter(|(key, _)| key != flag).cloned();
        Self(others.chain(on.then(|| (flag.to_owned(), "1".to_owned()))).collect())
    }

    /// Whether no option is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_option_set_twice_keeps_the_last_value() {
        let mut options = DeviceOptions::default();
        options.set("a", "1").unwrap();
        options.set("b", "").unwrap();
        options.set("a", "2").unwrap();
        assert_eq!(options.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "")]);
        assert_eq!((options.get("a"), options.get("c")), (Some("2"), None));
        assert!(options.set("", "1").is_err() && options.set("k", "\0").is_err() && !options.is_empty());
    }
}
