//! Why a device cannot be used, in words that help.
//!
//! What can be known is checked before ONNX Runtime tries: whether the library was built with the provider, and whether the
//! provider's files are there. Whether they load is looked at only after it failed. A provider that is loaded before ONNX
//! Runtime has loaded `onnxruntime_providers_shared` and given it its host does not work afterwards either.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::name::Device;
use super::raw;
use crate::runtime::{library, sys};
use crate::support::error::{Error, Result};
use crate::support::platform;

/// The error of a device that cannot be used.
pub(in crate::runtime) fn refused(device: &Device, why: impl Display) -> Error {
    Error::Device(format!("device {device}: {}", why.to_string().trim_end()))
}

/// Whether the ONNX Runtime in use was built with all providers of `device`.
pub(super) fn is_built_in(device: &Device) -> Result<bool> {
    let built_in = raw::available_providers().map_err(|error| refused(device, error.message()))?;
    Ok(device.facts().providers.iter().all(|provider| built_in.iter().any(|name| name == provider)))
}

/// Checks that the providers of `device` are there.
///
/// # Errors
/// [`Error::Device`] that names what is missing, and where to get it.
pub(super) fn require(device: &Device) -> Result<()> {
    let facts = device.facts();
    let library = library::library()?;
    let (path, version) = (library.path.display(), &library.version);
    let built_in = raw::available_providers().map_err(|error| refused(device, error.message()))?;
    if let Some(missing) = facts.providers.iter().find(|provider| !built_in.iter().any(|name| name == *provider)) {
        let why = format!(
            "the ONNX Runtime in use, {path} ({version}), was built without {missing} (it has: {}). To fix this, get the \
             {} of {} and set ORT_DYLIB_PATH to it",
            list(&built_in),
            file_name("onnxruntime"),
            facts.package
        );
        return Err(refused(device, why));
    }
    if let Some(missing) = files(device)?.iter().find(|file| !file.is_file()) {
        let why = format!(
            "{} is missing; it must lie beside {path} and be of the same version, {version} (both are in {})",
            missing.display(),
            facts.package
        );
        return Err(refused(device, why));
    }
    Ok(())
}

/// Why ONNX Runtime refused the providers of `device`, which its `message` may not say: one of their files does not load.
pub(super) fn unusable(device: &Device, message: &str) -> Error {
    let files = files(device).unwrap_or_default();
    match files.iter().find_map(|file| sys::load_failure(file).map(|failure| (file, failure))) {
        Some((file, failure)) => {
            refused(device, format!("{} does not load: {}", file.display(), explain(device, &failure)))
        }
        None => refused(device, explain(device, message)),
    }
}

/// The files of the providers of `device`, in the order in which ONNX Runtime loads them.
fn files(device: &Device) -> Result<Vec<PathBuf>> {
    let folder = library::library()?.path.parent().unwrap_or(Path::new(""));
    let file = |part| folder.join(file_name(&format!("onnxruntime_providers_{part}")));
    Ok(device.facts().files.iter().map(file).collect())
}

/// A message of ONNX Runtime or of the loader, with the remedy where one is known.
pub(super) fn explain(device: &Device, message: &str) -> String {
    let message = message.trim();
    match remedy(device, message) {
        Some(remedy) => format!("{message} ({remedy})"),
        None => message.to_owned(),
    }
}

fn remedy(device: &Device, message: &str) -> Option<String> {
    let word = message.split([' ', ':', '"', '\'']).find(|word| word.contains(".so") || word.contains(".dll"));
    let missing = word.and_then(|word| word.rsplit(['/', '\\']).next()).and_then(owner);
    if let Some(owner) = missing {
        return Some(format!("{owner}; its folder must be in {}", platform::LIBRARY_FOLDERS));
    }
    let mut remedies = device.facts().remedies.iter();
    remedies.find(|(words, _)| message.contains(words)).map(|(_, remedy)| (*remedy).to_owned())
}

/// Which package a library file belongs to.
fn owner(file: &str) -> Option<String> {
    let version = file.rsplit(".so.").next().filter(|version| *version != file).unwrap_or_default();
    // The names under Windows have no `lib`.
    let is = |names: &[&str]| names.iter().any(|name| file.starts_with(name) || file.starts_with(&name[3..]));
    if is(&["libcuda.so"]) {
        Some("it comes with the NVIDIA driver".to_owned())
    } else if is(&["libcudnn"]) {
        Some(format!("it is part of cuDNN {version}"))
    } else if is(&["libcudart", "libcublas", "libcurand", "libcufft", "libnvrtc", "libcusparse"]) {
        Some(format!("it is part of CUDA; this ONNX Runtime needs the version that has {file}"))
    } else if is(&["libnvinfer", "libnvonnxparser"]) {
        Some(format!("it is part of TensorRT {version}"))
    } else {
        None
    }
}

/// The file name of a shared library on this platform.
pub(super) fn file_name(stem: &str) -> String {
    format!("{}{stem}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => "nothing".to_owned(),
        _ => names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_library_is_explained_with_its_package() {
        let cuda = Device::Cuda { index: 0 };
        let says = |said: &str, word: &str| {
            let explained = explain(&cuda, said);
            assert!(explained.starts_with(said) && explained.contains(word), "{explained}");
        };
        says("libcublasLt.so.13: cannot open shared object file: No such file or directory", "part of CUDA");
        says("libcudnn.so.9: cannot open shared object file", "cuDNN 9");
        says("libcuda.so.1: cannot open shared object file", "driver");
        says("libnvinfer.so.10: cannot open shared object file", "TensorRT 10");
        assert_eq!(explain(&cuda, "CUDA failure 35 "), "CUDA failure 35");
        assert_eq!(explain(&cuda, "no adapter"), "no adapter");
        assert!(explain(&Device::WebGpu, "Failed to get a WebGPU adapter").contains("libvulkan.so.1"));
    }
}
