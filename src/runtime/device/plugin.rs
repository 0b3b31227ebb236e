//! Provider libraries: execution providers that are not part of ONNX Runtime. Each is registered once for the process and
//! offers devices, of which a session takes one.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::session::builder::SessionBuilder;

use super::diagnose::{explain, list, refused};
use super::name::Device;
use super::options::DeviceOptions;
use super::raw;
use crate::runtime::{exit, sys};
use crate::support::error::Result;
use crate::support::platform;
use crate::support::sync::{MutexGuard, lock};

/// A registered library, and which of the environment's offers are its own: their numbers do not change.
struct Plugin {
    path: PathBuf,
    offers: Range<usize>,
}

/// Locked while a library is registered, which moves ONNX Runtime's list of devices, and while that list is read.
static PLUGINS: Mutex<Vec<Plugin>> = Mutex::new(Vec::new());

/// Keeps ONNX Runtime's list of devices unchanged while it lives.
pub(super) struct DeviceListLock {
    plugins: MutexGuard<'static, Vec<Plugin>>,
}

impl DeviceListLock {
    pub fn new() -> Self {
        Self { plugins: lock(&PLUGINS) }
    }

    /// The library that offer number `index` comes from, and its number among that library's offers; `None` for a
    /// provider that is built in.
    pub fn plugin_of(&self, index: usize) -> Option<(&Path, usize)> {
        let plugin = self.plugins.iter().find(|plugin| plugin.offers.contains(&index))?;
        Some((&plugin.path, index - plugin.offers.start))
    }
}

/// An offer, and its number in ONNX Runtime's list.
pub(super) type NumberedOffer = (usize, raw::Offer);

/// Registers the library `path` unless that was done before, and returns what it offers. The numbers of the offers hold as
/// long as the lock.
pub(super) fn register(
    environment: &Environment,
    device: &Device,
    path: &Path,
) -> Result<(Vec<NumberedOffer>, DeviceListLock)> {
    // A path that the caller named is used or is an error, never searched for.
    let found = platform::canonical(path).ok().filter(|path| path.is_file());
    let path = found.ok_or_else(|| refused(device, format!("{} is not a file", path.display())))?;
    let mut listed = DeviceListLock::new();
    let offers = || raw::offers(environment).map_err(|error| refused(device, error.message()));
    let known = listed.plugins.iter().find(|plugin| plugin.path == path).map(|plugin| plugin.offers.clone());
    let own = match known {
        Some(own) => own,
        None => {
            let before = offers()?.len();
            // The loader's message is clearer than ONNX Runtime's.
            if let Some(failure) = sys::load_failure(&path) {
                let why = format!("{} does not load: {}", path.display(), explain(device, &failure));
                return Err(refused(device, why));
            }
            environment.register_ep_library(format!("detailflow {}", path.display()), &path).map_err(|error| {
                let said = error.message();
                refused(device, format!("{} is no provider library for this ONNX Runtime: {said}", path.display()))
            })?;
            // Loading it has made static objects.
            exit::arm(&path);
            let own = before..offers()?.len();
            listed.plugins.push(Plugin { path, offers: own.clone() });
            own
        }
    };
    let offers = offers()?.into_iter().enumerate().filter(|(index, _)| own.contains(index)).collect();
    Ok((offers, listed))
}

/// Attaches the device `which` of the library `path`.
pub(super) fn attach(
    builder: SessionBuilder,
    environment: &Environment,
    device: &Device,
    (path, which): (&Path, Option<&str>),
    options: &DeviceOptions,
) -> Result<SessionBuilder> {
    let (offers, listed) = register(environment, device, path)?;
    let chosen = pick(&offers, which).ok_or_else(|| {
        let which = which.map(|which| format!(" \"{which}\"")).unwrap_or_default();
        refused(device, format!("the library offers no device{which} here; it offers: {}", summary(&offers)))
    })?;
    attach_offer(builder, environment, device, &offers[chosen], options.iter(), listed)
}

/// Attaches an offer, whose number is valid as long as the lock is held.
pub(super) fn attach_offer<'o>(
    builder: SessionBuilder,
    environment: &Environment,
    device: &Device,
    (index, offer): &NumberedOffer,
    options: impl Iterator<Item = (&'o str, &'o str)>,
    _listed: DeviceListLock,
) -> Result<SessionBuilder> {
    let options: Vec<_> = options.map(|(key, value)| (format!("{}.{key}", offer.provider), value.to_owned())).collect();
    builder
        .with_devices(environment.devices().nth(*index), Some(&options))
        .map_err(|error| refused(device, explain(device, error.message())))
}

/// The index of the offer that `which` selects: the first by default, else the one with that number, the first of that
/// kind, or the one with that value in its metadata.
fn pick(offers: &[NumberedOffer], which: Option<&str>) -> Option<usize> {
    let Some(which) = which else { return (!offers.is_empty()).then_some(0) };
    if let Ok(index) = which.parse::<usize>() {
        return (index < offers.len()).then_some(index);
    }
    let kind = offers.iter().position(|(_, offer)| offer.hardware.kind.to_string() == which);
    kind.or_else(|| offers.iter().position(|(_, offer)| offer.metadata.iter().any(|(_, value)| value == which)))
}

/// Offers in words, for an error.
pub(super) fn summary(offers: &[NumberedOffer]) -> String {
    let one = |(number, (_, offer)): (usize, &NumberedOffer)| {
        format!("{number} ({}, {} {})", offer.provider, offer.hardware.vendor, offer.hardware.kind)
    };
    list(&offers.iter().enumerate().map(one).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::DeviceKind;

    #[test]
    fn plugin_device_is_picked_by_number_kind_or_name() {
        let offer = |kind, name: &str| {
            let hardware = raw::Hardware { kind, vendor: "V".into(), vendor_id: 1, device_id: 2, metadata: Vec::new() };
            let metadata = vec![("ov_device".to_owned(), name.to_owned())];
            raw::Offer { provider: "P".into(), metadata, hardware }
        };
        let offers = [(4, offer(DeviceKind::Cpu, "CPU")), (5, offer(DeviceKind::Gpu, "GPU.1"))];
        for (which, index) in [
            (None, Some(0)),
            (Some("1"), Some(1)),
            (Some("2"), None),
            (Some("GPU"), Some(1)),
            (Some("GPU.1"), Some(1)),
            (Some("NPU"), None),
        ] {
            assert_eq!(pick(&offers, which), index, "{which:?}");
        }
        assert_eq!(pick(&[], None), None);
        assert_eq!(summary(&offers), "0 (P, V CPU), 1 (P, V GPU)");
        assert_eq!(summary(&[]), "nothing");
    }
}
