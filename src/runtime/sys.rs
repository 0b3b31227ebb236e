//! Calls around ONNX Runtime that Rust has no safe name for: finding, probing and loading libraries; weights in foreign memory.

#![allow(unsafe_code, reason = "loading and probing shared libraries, and lending memory to ONNX Runtime")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::AsPointer;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};

use ort::value::{PrimitiveTensorElementType, Shape, Tensor, TensorRefMut};

use crate::bundle::GraphInMemory;
use crate::support::error::{Error, Result};
use crate::support::platform;

/// The folders to look beside: that of our own shared library (or of the executable that we are linked into), and
/// that of the executable. Looked up once: the loader may know our library by a relative path, which means something else
/// after the working directory has changed. Without /proc the executable is not known.
pub(crate) fn anchors() -> Vec<PathBuf> {
    static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOLDERS.get_or_init(find_anchors).clone()
}

fn find_anchors() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let paths = [platform::own_file(), std::env::current_exe().ok()];
    for path in paths.into_iter().flatten() {
        // Through links: a link to the library in /usr/lib must not hide what lies beside the file itself.
        let Some(path) = platform::canonical(&path).ok().or_else(|| path.is_absolute().then_some(path)) else {
            continue;
        };
        if let Some(folder) = path.parent()
            && !folders.iter().any(|known| known == folder)
        {
            folders.push(folder.to_owned());
        }
    }
    folders
}

/// Says no to ONNX Runtime's telemetry, in the one way that it hears in time.
#[cfg(feature = "load-runtime")]
pub(super) fn disable_telemetry() {
    // SAFETY: changing the environment while another thread reads it is a race in C. It happens once, while the
    // first model is opened, and is documented there; ONNX Runtime offers no other way that comes before its first
    // telemetry event.
    unsafe { platform::set_environment_variable("ORT_DISABLE_TELEMETRY", "1") };
}

/// The API that this build is written for: ONNX Runtime 1.24.
const LEAST_MINOR: u32 = ort::MINOR_VERSION;

/// A copy of ONNX Runtime in this process, checked.
pub(super) struct Copy {
    /// Its functions.
    api: ort::sys::OrtApi,
    /// The address that tells copies apart.
    base: usize,
    pub version: String,
}

impl Copy {
    /// Loads the library `path`, which stays loaded.
    ///
    /// # Errors
    /// [`Error::Runtime`] when the file is not a library, not ONNX Runtime, or too old.
    #[cfg(feature = "load-runtime")]
    pub fn load(path: &Path) -> Result<Self> {
        let refuse = |reason: String| Error::Runtime(format!("{}: {reason}", path.display()));
        if let Some(why) = platform::truncated_library(path) {
            return Err(refuse(why));
        }
        // SAFETY: whoever named the file, or put it where we look, vouches for it.
        let library = unsafe { platform::load_library(path) }.map_err(|error| {
            // What the system says is one level down.
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            refuse(format!("not a library that can be loaded: {error}{cause}"))
        })?;
        type GetApiBase = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
        // SAFETY: the symbol of this name has this type in every ONNX Runtime since 1.0; the pointers it gives are static.
        let copy = unsafe {
            let get = library.get::<GetApiBase>(b"OrtGetApiBase\0");
            let base = get.map_err(|_| refuse("not ONNX Runtime: it has no OrtGetApiBase".into()))?();
            Self::at(base).map_err(refuse)?
        };
        // Unloading would run its destructors.
        std::mem::forget(library);
        Ok(copy)
    }

    /// The copy whose `OrtGetApiBase` returned `base`; an error, in words, when it is too old.
    ///
    /// # Safety
    /// `base` is what `OrtGetApiBase` of an ONNX Runtime returned, or NULL, and that copy is never unloaded.
    pub unsafe fn at(base: *const ort::sys::OrtApiBase) -> std::result::Result<Self, String> {
        if base.is_null() {
            return Err("not ONNX Runtime: OrtGetApiBase returns NULL".into());
        }
        // SAFETY: the caller's promise. The functions are valid as long as the copy is loaded.
        unsafe {
            let version = CStr::from_ptr(((*base).GetVersionString)() as *const c_char).to_string_lossy().into_owned();
            // An old library prints to stderr when it is asked for a newer API, so the version is checked first.
            let new_enough = super::major_minor(&version) >= (1, LEAST_MINOR);
            let api = if new_enough { ((*base).GetApi)(LEAST_MINOR) } else { std::ptr::null() };
            match api.as_ref() {
                Some(api) => Ok(Self { api: api.clone(), base: base as usize, version }),
                None => Err(format!("ONNX Runtime {version} is too old; 1.{LEAST_MINOR} or newer is needed")),
            }
        }
    }

    /// The file that it was loaded from, where the system tells: a library, or the executable that it is linked into.
    pub fn file(&self) -> Option<PathBuf> {
        platform::file_of(self.api.CreateSession as *const c_void)
    }

    /// Whether it is the copy that was taken into use.
    pub fn is_used(&self) -> bool {
        USED.get() == Some(&self.base)
    }

    /// Takes it into use: `ort` calls its functions from now on. A process has one copy.
    ///
    /// # Errors
    /// [`Error::Runtime`] when another was taken before.
    pub fn take(self) -> Result<()> {
        if *USED.get_or_init(|| self.base) != self.base {
            return Err(Error::Runtime(
                "another copy of ONNX Runtime was taken into use before; a process has one".into(),
            ));
        }
        // False when it is the same copy once more, after an environment that could not be made.
        let _ = ort::set_api(self.api);
        Ok(())
    }
}

/// The copy in use, by its address.
static USED: OnceLock<usize> = OnceLock::new();

/// Asks the system's own search for a library and returns the absolute path of what it found.
#[cfg(feature = "load-runtime")]
pub(super) fn find_by_system(name: &str) -> Option<PathBuf> {
    // The search runs the library's initialisers when it finds one.
    disable_telemetry();
    platform::find_library(name)
}

/// Why the library `path` cannot be loaded; `None` when it can. It stays loaded, since ONNX Runtime is about to load it.
#[cfg(feature = "load-runtime")]
pub(super) fn load_failure(path: &Path) -> Option<String> {
    if let Some(why) = platform::truncated_library(path) {
        return Some(why);
    }
    // SAFETY: it lies beside the ONNX Runtime in use, or was named by the host.
    match unsafe { platform::load_library(path) } {
        Ok(library) => {
            std::mem::forget(library);
            None
        }
        // What the system says is one level down.
        Err(error) => Some(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)),
    }
}

/// Unknown: this build loads no libraries.
#[cfg(not(feature = "load-runtime"))]
pub(super) fn load_failure(_path: &Path) -> Option<String> {
    None
}

/// A tensor in memory that the CPU and a device both use without a copy. What it is bound to uses it as long as it lives.
pub(super) struct Seen<T: PrimitiveTensorElementType + Debug> {
    /// For the CPU; it has the memory.
    here: Tensor<T>,
    /// What the memory is to the device.
    there: MemoryInfo<'static>,
}

impl<T: PrimitiveTensorElementType + Debug + Clone> Seen<T> {
    /// Lets a device see `here`, which is pinned memory, or is in the device's own memory, which is `there`.
    pub fn new(here: Tensor<T>, there: MemoryInfo<'static>) -> Self {
        Self { here, there }
    }

    /// Binds it to an input of a graph on the device. It must live as long as runs of the binding.
    pub fn bind_input(&mut self, binding: &mut IoBinding, name: &str) -> ort::Result<()> {
        let shape = self.here.shape().clone();
        self.bind_part(binding, name, 0, shape)
    }

    /// Binds its values from `first` on, as a tensor of `shape`, to an input of a graph on the device. It must live as long as
    /// runs of the binding.
    pub fn bind_part(&mut self, binding: &mut IoBinding, name: &str, first: usize, shape: Shape) -> ort::Result<()> {
        let seen = self.seen(first, shape)?;
        let name = CString::new(name).map_err(|error| ort::Error::new(error.to_string()))?;
        // `ort` would bind a copy of memory that it does not own.
        // SAFETY: a binding, a name that ends with zero and a value, all alive; the binding keeps the value.
        unsafe { ort::Error::result_from_status((ort::api().BindInput)(binding.ptr_mut(), name.as_ptr(), seen.ptr())) }
    }

    /// Binds it to an output of a graph on the device. It must live as long as runs of the binding.
    pub fn bind_output(&mut self, binding: &mut IoBinding, name: &str) -> ort::Result<()> {
        let seen = self.seen(0, self.here.shape().clone())?;
        binding.bind_output(name, seen)
    }

    pub fn values(&self) -> &[T] {
        self.here.extract_tensor().1
    }

    pub fn values_mut(&mut self) -> &mut [T] {
        self.here.extract_tensor_mut().1
    }

    /// A part of the same memory, as the device's.
    fn seen(&mut self, first: usize, shape: Shape) -> ort::Result<TensorRefMut<'static, T>> {
        let values = |shape: &Shape| shape.num_elements();
        if first.saturating_add(values(&shape)) > values(self.here.shape()) {
            return Err(ort::Error::new("a part beyond the end of a tensor"));
        }
        let there = self.there.to_owned();
        // SAFETY: the part is within the memory, which is valid on the device at the same address. It is freed with `here`,
        // which lives as long as the runs that use it: the same struct has the binding.
        unsafe {
            let at = self.here.data_ptr_mut().cast::<T>().add(first);
            TensorRefMut::from_raw(there, at.cast(), shape)
        }
    }
}

/// Runs a graph whose output `name`, a tensor of `shape`, is written to `values`; no output is bound before or afterwards.
pub(super) fn run_into(
    session: &mut Session,
    binding: &mut IoBinding,
    options: &RunOptions<NoSelectedOutputs>,
    name: &str,
    shape: [usize; 2],
    values: &mut [f32],
) -> ort::Result<()> {
    let shape = Shape::new(shape.map(|length| length as i64));
    if shape.num_elements() != values.len() {
        return Err(ort::Error::new("an output of another length than its memory"));
    }
    let info = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)?;
    // SAFETY: the memory of `values`, which nothing else uses until this returns; the tensor is unbound before that.
    let output: TensorRefMut<'_, f32> = unsafe { TensorRefMut::from_raw(info, values.as_mut_ptr().cast(), shape)? };
    binding.bind_output(name, output)?;
    let ran = session.run_binding_with_options(binding, options).map(drop);
    binding.clear_outputs();
    ran
}

/// Compiles a graph with its weights from memory. ONNX Runtime copies the weights while it compiles (measured), so that they
/// are not needed afterwards.
pub(super) fn commit_from_memory(mut builder: SessionBuilder, memory: &GraphInMemory) -> ort::Result<Session> {
    for (file, content) in &memory.weights {
        #[cfg(windows)]
        let name: Vec<ort::sys::os_char> = file.encode_utf16().chain([0]).collect();
        #[cfg(not(windows))]
        let name: Vec<ort::sys::os_char> = file.bytes().chain([0]).map(|byte| byte as ort::sys::os_char).collect();
        let bytes = content.bytes();
        let (names, contents, lengths) = ([name.as_ptr()], [bytes.as_ptr().cast::<c_char>().cast_mut()], [bytes.len()]);
        // SAFETY: one name that ends with zero, one memory and its length. ONNX Runtime copies the name, reads the memory
        // and does not write it; it stays where it is until the graph is compiled, after which the builder is gone.
        unsafe {
            ort::Error::result_from_status((ort::api().AddExternalInitializersFromMemory)(
                builder.ptr_mut(),
                names.as_ptr(),
                contents.as_ptr(),
                lengths.as_ptr(),
                1,
            ))?;
        }
    }
    builder.commit_from_memory(memory.graph.bytes())
}
