//! Attaches the execution provider of a device to a session. Nodes that it does not take run on the CPU.

use ort::environment::Environment;
use ort::ep::ExecutionProviderDispatch;
use ort::session::builder::SessionBuilder;

use super::diagnose::{is_built_in, refused, require, unusable};
use super::facts::{Connection, Options};
use super::name::Device;
use super::openvino;
use super::options::DeviceOptions;
use super::plugin;
use crate::runtime::session::GraphOptions;
use crate::support::error::{Error, Result};

/// The option of CUDA that records runs. It is set for the sessions that replay them, unless it is 0.
pub(crate) const RECORDS: &str = "enable_cuda_graph";

/// Makes sessions of `builder` run on the device of `options`.
///
/// # Errors
/// [`Error::Device`] when the provider cannot be used; [`Error::Invalid`] when it does not take one of the options.
pub(in crate::runtime) fn attach(
    builder: SessionBuilder,
    environment: &Environment,
    options: &GraphOptions,
    threads: usize,
) -> Result<SessionBuilder> {
    let device = &options.device;
    let options = &if device.replays() {
        options.device_options.for_session(RECORDS, options.replays)
    } else {
        options.device_options.clone()
    };
    let facts = device.facts();
    if let (Options::None, Some((key, _))) = (&facts.options, options.iter().next()) {
        return Err(Error::Invalid(format!("device {device} takes no options, but \"{key}\" is set")));
    }
    match (&facts.connection, device) {
        (Connection::Always(build), _) => register(builder, device, build(device.index(), options)),
        (Connection::BuiltIn(build), _) => {
            require(device)?;
            if let Options::Flags(known) = facts.options {
                check_flags(facts.word, known, options)?;
            }
            let builder = if facts.memory_pattern {
                builder
            } else {
                builder.with_memory_pattern(false).map_err(|error| refused(device, error.message()))?
            };
            register(builder, device, build(device.index(), options))
        }
        (Connection::OpenVino, Device::OpenVino { kind }) => {
            let config = openvino::config(*kind, options, threads)?;
            if is_built_in(device)? {
                require(device)?;
                return register(builder, device, vec![openvino::built_in(*kind, config)]);
            }
            openvino::attach_library(builder, environment, device, *kind, &config)
        }
        (Connection::Plugin, Device::Plugin { path, device: which }) => {
            plugin::attach(builder, environment, device, (path, which.as_deref()), options)
        }
        (Connection::OpenVino | Connection::Plugin | Connection::Resolved, _) => {
            Err(Error::Internal(format!("device {device} must be resolved before graphs are compiled")))
        }
    }
}

fn register(
    builder: SessionBuilder,
    device: &Device,
    providers: Vec<ExecutionProviderDispatch>,
) -> Result<SessionBuilder> {
    let providers: Vec<_> = providers.into_iter().map(ExecutionProviderDispatch::error_on_failure).collect();
    builder.with_execution_providers(providers).map_err(|error| unusable(device, error.message()))
}

/// Whether all options are known flags with the value 0 or 1.
fn check_flags(word: &str, known: &[&str], options: &DeviceOptions) -> Result<()> {
    for (key, value) in options.iter() {
        if !known.contains(&key) {
            let known = known.join(", ");
            return Err(Error::Invalid(format!("{word} has no device option \"{key}\"; it has: {known}")));
        }
        if !["0", "1"].contains(&value) {
            return Err(Error::Invalid(format!("device option {key}={value}: allowed values: 0 or 1")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::built_in::MIGRAPHX_FLAGS;
    use super::*;

    #[test]
    fn unknown_flag_or_value_is_refused() {
        let check = |key: &str, value: &str| {
            let mut options = DeviceOptions::default();
            options.set(key, value).unwrap();
            check_flags("migraphx", &MIGRAPHX_FLAGS, &options).map_err(|error| error.to_string())
        };
        assert!(check("migraphx_fp16_enable", "1").is_ok() && check("migraphx_exhaustive_tune", "0").is_ok());
        assert!(check("migraphx_fp16_enable", "yes").unwrap_err().contains("0 or 1"));
        assert!(check("fp16", "1").unwrap_err().contains("migraphx_fp16_enable"));
    }
}
